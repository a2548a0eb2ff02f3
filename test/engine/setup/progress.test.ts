import { expect, test } from 'vitest';
import { showBytes } from '../../../src/core/text.js';
import { progressTo, showProgress } from '../../../src/engine/setup/progress.js';

test('sizes are written as a person would', () => {
  expect([900, 273_829_956, 3_389_000_000].map(showBytes)).toEqual(['1 kB', '274 MB', '3.4 GB']);
});

test('a line has the bar, the size and the time left', () => {
  const line = showProgress({ label: 'downloading', done: 100e6, total: 400e6, seconds: 10 }, 8);
  expect(line).toContain('██░░░░░░');
  expect(line).toContain('100 MB of 400 MB');
  expect(line).toContain('30 s left');
  expect(showProgress({ label: 'x', done: 4e8, total: 4e8, seconds: 40 })).toContain('in 40 s');
  expect(showProgress({ label: 'x', done: 0, total: 0, seconds: 0 })).toContain('0 %');
  // A label may have a name in it that somebody else gave.
  expect(showProgress({ label: 'x\u001b[2Jy', done: 0, total: 0, seconds: 0 })).not.toContain('\u001b');
});

const written = (isTTY: boolean): string => {
  let text = '';
  const stream = { isTTY, columns: 100, write: (piece: string) => (text += piece) };
  const progress = progressTo(stream as unknown as NodeJS.WriteStream);
  for (let done = 0; done <= 100; done++) progress({ label: 'unpacking', done: done * 1e6, total: 1e8, seconds: done });
  return text;
};

test('on a terminal one line is rewritten, elsewhere there is one for each quarter', () => {
  expect(written(true).split('\n')).toHaveLength(2);
  expect(written(false).trim().split('\n')).toHaveLength(5);
});
