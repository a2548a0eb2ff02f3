import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';

/** What mostly waits for other processes comes first, beside what computes: small files would come last, and be waited for. */
class WaitingFirst extends BaseSequencer {
  override async sort(...given: Parameters<BaseSequencer['sort']>) {
    const files = await super.sort(...given);
    const waits = (file: (typeof files)[number]): boolean => /test\/(cluster|pytorch)\//.test(file.moduleId);
    return [...files.filter(waits), ...files.filter((file) => !waits(file))];
  }
}

export default defineConfig({
  resolve: {
    alias: [
      { find: /^undistill$/, replacement: fileURLToPath(new URL('src/index.ts', import.meta.url)) },
      {
        find: /^undistill\/(plugin|train|synthesis|ops)$/,
        replacement: fileURLToPath(new URL('src/public/$1.ts', import.meta.url)),
      },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    sequence: { sequencer: WaitingFirst },
    // A native library that keeps state in its process: one process a file. One more than two cores are busy with, since some wait.
    pool: 'forks',
    maxWorkers: 3,
    // Several files at a time: with more threads each they would wait for one another. What is about threads says how many.
    env: { TF_NUM_INTRAOP_THREADS: '1' },
    // For what hangs: nothing is asserted about time, and a minute alone may be ten on a busy machine.
    testTimeout: 1_200_000,
    hookTimeout: 1_200_000,
  },
});
