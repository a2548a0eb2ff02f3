import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Unreachable } from '../../src/cluster/cluster.js';
import { slurmCluster } from '../../src/cluster/slurm.js';

/** Slurm's own sentences, from its library and a controller that was killed in many ways. */
const silences = [
  'slurm_load_jobs error: Unable to contact slurm controller (connect failure)',
  'slurm_load_jobs error: Zero Bytes were transmitted or received',
  'slurm_load_jobs error: Message receive failure',
  'slurm_load_jobs error: Communication connection failure',
  'slurm_load_jobs error: Socket timed out on send/recv operation',
  'slurm_load_jobs error: Slurm backup controller in standby mode',
  'slurm_load_jobs error: Connection reset by peer',
  'slurm_load_jobs error: Header lengths are longer than data received',
];
const refusals = [
  'Invalid user id',
  'slurm_load_jobs error: Invalid partition name specified',
  'Access/permission denied',
];

describe('what Slurm says where it fails', () => {
  const path = process.env.PATH;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'undistill-slurm-words-'));
    await writeFile(join(folder, 'squeue'), '#!/bin/sh\necho "$SAYS" >&2\nexit 1\n');
    await chmod(join(folder, 'squeue'), 0o755);
    process.env.PATH = `${folder}:${path}`;
  });
  afterAll(async () => {
    process.env.PATH = path;
    delete process.env.SAYS;
    await rm(folder, { recursive: true });
  });

  const asked = async (says: string): Promise<unknown> => {
    process.env.SAYS = says;
    return slurmCluster()
      .jobs()
      .catch((error: unknown) => error);
  };

  test.each(silences)('is waited for: %s', async (says) => {
    expect(await asked(says)).toBeInstanceOf(Unreachable);
  });

  test.each(refusals)('is no silence: %s', async (says) => {
    const error = await asked(says);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(Unreachable);
  });
});
