import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { FailureError, failure, ownFrames, showFailure, toFailure } from '../../src/core/errors.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

const trace = [
  'Error: shapes differ',
  `    at Engine.run (${root}node_modules/@tensorflow/tfjs-core/src/engine.ts:466:20)`,
  '    at scopedRun (/anywhere/tfjs-core/src/engine.ts:480:19)',
  `    at updateOn (${root}src/train/classifier.ts:160:9)`,
  '    at helper (/elsewhere/my plugins/mine.ts:22:47)',
  `    at file://${join(process.cwd(), 'attacks/mine.ts')}:9:1`,
  '    at node:internal/process/task_queues:95:5',
].join('\n');

test("of a stack the frames in the user's own files are shown, with file and line", () => {
  expect(ownFrames(trace)).toEqual(['helper (/elsewhere/my plugins/mine.ts:22:47)', 'attacks/mine.ts:9:1']);
  expect(showFailure(failure('plugin', 'shapes differ', { where: 'kd', remedy: 'Mend it.', trace }))).toBe(
    'kd: shapes differ\n  at helper (/elsewhere/my plugins/mine.ts:22:47)\n  at attacks/mine.ts:9:1\n  Mend it.',
  );
});

test('what a plugin throws keeps its whole stack, and other failures have none', () => {
  expect(toFailure('plugin')(new Error('mine')).trace).toContain('frames.test.ts');
  const refused = new FailureError(failure('plugin', 'it asks for logits'));
  expect(toFailure('store')(refused)).toMatchObject({ what: 'it asks for logits', trace: refused.stack });
  expect(toFailure('data')(new Error('disk'))).not.toHaveProperty('trace');
  const hostile = Object.defineProperty(new Error('x'), 'stack', { get: () => undefined });
  expect(toFailure('plugin')(hostile)).not.toHaveProperty('trace');
});
