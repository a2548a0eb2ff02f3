import { expect, test } from 'vitest';
import { randomOf } from '../../chaos/case.js';
import { options } from '../../chaos/options.js';

const presets = options.cases().filter(({ name }) => name.startsWith('attack ') && name.endsWith(': its presets'));

test.each(presets.map((each) => [each.name, each] as const))('%s are planned', async (name, { attempt }) => {
  expect(await attempt(randomOf(name), '')).toBeGreaterThan(0);
});
