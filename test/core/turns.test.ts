import { expect, test } from 'vitest';
import { turns } from '../../src/core/turns.js';

const busy = (milliseconds: number): void => {
  const until = performance.now() + milliseconds;
  while (performance.now() < until);
};

test('others have their turn once work has held the event loop for a while, and not before', async () => {
  const turn = turns();
  let had = 0;
  setImmediate(() => had++);
  await turn();
  expect(had).toBe(0);
  busy(60);
  await turn();
  expect(had).toBe(1);
});
