import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { scratch } from '../../src/attacks/scratch.js';
import { tryLock } from '../../src/core/lock.js';
import { openOnCluster } from '../../src/harness/on-cluster.js';
import { storeLock } from '../../src/run/store.js';
import { playedCluster } from '../cluster/played.js';
import { made } from '../run/helpers.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-on-cluster-'));
afterAll(() => rmSync(root, { recursive: true }));

test('who is to look at a node says which process submits jobs of the store meanwhile', async () => {
  const store = join(root, '.store');
  const path = storeLock(store, 'submission');
  const lock = await tryLock(path);
  const stop = new AbortController();
  const said: string[] = [];
  const opened = openOnCluster({
    cluster: playedCluster(),
    setup: { file: 'none.ts', run: join(root, 'run'), store, checkpointEvery: 60, args: [] },
    experiment: made({ attacks: [scratch()] }),
    signal: stop.signal,
    say: (line) => {
      said.push(line);
      stop.abort();
      void lock?.release();
    },
  });
  await expect(opened).rejects.toThrow('stopped before anything was submitted');
  expect(said[0]).toMatch(/^Another process submits jobs of this store\. Waiting for process \d+ on /);
  expect(said[0]).toContain(`(${path})`);
});
