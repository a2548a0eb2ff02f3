import { defineConfig, mergeConfig } from 'vitest/config';
import everything from './vitest.config.js';

// What needs no engine, no process of its own and no browser: formats, plans, tables, words. One module graph for all files.
export default mergeConfig(
  { ...everything, test: { ...everything.test, include: [] } },
  defineConfig({
    test: {
      include: [
        'test/core/{errors,lists,plugin,text}.test.ts',
        'test/data/{pixels,published,snappy,thrift}.test.ts',
        'test/engine/setup/{choice,progress}.test.ts',
        'test/experiment/{plan,scale,select,sweep}.test.ts',
        'test/metrics/{answers,metrics}.test.ts',
        'test/report/{diagnostics,table,tensorboard,tex}.test.ts',
        'test/report/html/model.test.ts',
        'test/results/{columns,matrix,spread}.test.ts',
        'test/train/schedules.test.ts',
      ],
      env: { UNDISTILL_ENGINE: 'tfjs-cpu' },
      isolate: false,
      maxWorkers: 1,
    },
  }),
);
