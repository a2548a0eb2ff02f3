import type { StageRecord } from '../../src/run/record.js';

/** What a stage's record has at least. */
export const aRecord: StageRecord = {
  ...{ id: 'a', label: 'a', kind: 'measure', inputs: {}, parts: {}, warnings: [], seconds: 1 },
  provenance: {
    ...{ undistill: '0.1.0', engine: 'tensorflow-cpu', engineVersion: '2.9.1', threads: 1, gpus: [] },
    ...{ node: 'v20.6.0', platform: 'linux', finished: '2026-01-01T00:00:00.000Z' },
  },
};
