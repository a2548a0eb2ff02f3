import { expect, it } from 'vitest';
import { isDeclaredOnce } from '../../src/core/declared-once.js';

it('what a function declares that code without a file calls, such as Array.map, may be another each time', () => {
  expect([0].map(() => isDeclaredOnce('mine', import.meta.url))).toEqual([false]);
});
