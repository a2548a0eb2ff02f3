import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

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
    setupFiles: ['test/turns.ts'],
    // A native library that keeps state in its process: one process a file.
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2 } },
    // Two files at a time: with more threads each they would wait for one another. What is about threads says how many.
    env: { TF_NUM_INTRAOP_THREADS: '1' },
    // Generous, since machines differ and nothing is asserted about time.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
