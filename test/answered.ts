import { beforeAll, beforeEach } from 'vitest';

declare global {
  /** What vitest has in the process of a test file. */
  var __vitest_worker__: { readonly rpc: { getCountOfFailedTests(): Promise<number> } };
}

/**
 * Asks vitest's own process something, and waits for its answer. That of an earlier message which comes while a test computes for a minute, as on a
 * busy machine it may, would count as lost: now none is on its way when a test begins.
 */
const answered = async (): Promise<void> => {
  await globalThis.__vitest_worker__.rpc.getCountOfFailedTests();
};

beforeAll(answered);
beforeEach(answered);
