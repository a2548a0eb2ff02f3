import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { key } from '../../src/core/random.js';
import { contextOf } from '../../src/run/context.js';
import { openStore, type StagingDir } from '../../src/run/store.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import type { Victim } from '../../src/train/oracle.js';
import { endOf, theftOf } from '../train/bench.js';

export interface Theft {
  readonly attack: AnyAttack;
  /** A fresh victim, as every process has. */
  readonly victim: () => { readonly victim: Victim; readonly retired: () => void };
  readonly learner: BuiltLearner;
  readonly given: Pick<AttackContext, 'data' | 'normalisation' | 'fullStepsPerEpoch'>;
}

class Killed extends Error {}

/** What a theft in a folder ends with; `Killed` before the write to disk of a number, from 1 on. */
const attempted = async ({ attack, victim: fresh, learner, given }: Theft, staging: StagingDir, killedAt: number) => {
  let writes = 0;
  const dying =
    <Given extends unknown[]>(write: (...args: Given) => Promise<void>) =>
    async (...args: Given): Promise<void> => {
      writes += 1;
      if (writes === killedAt) throw new Killed('killed');
      await write(...args);
    };
  const { victim, retired } = fresh();
  const { footprint, ...context } = contextOf(
    {
      stage: 'a',
      staging: {
        ...staging,
        writeTensors: dying(staging.writeTensors),
        writeJson: dying(staging.writeJson),
        writeText: dying(staging.writeText),
        writeBytes: dying(staging.writeBytes),
      },
      checkpointEvery: 2,
      emit: () => undefined,
      warn: () => undefined,
    },
    key('stage'),
    { victim },
  );
  try {
    const {
      seconds: _,
      execution: __,
      history,
      ...end
    } = endOf(await theftOf(attack, victim, learner, { ...context, ...given }));
    const { asked, shift, effort } = footprint();
    const pool = (await context.pool()).map(({ images, labels }) => [Buffer.from(images).toString('base64'), labels]);
    return {
      writes,
      end: { ...end, history: history.map(({ stepsPerSecond: _, ...record }) => record) },
      pool,
      asked,
      shift,
      steps: effort.steps,
    };
  } finally {
    retired();
  }
};

/**
 * A theft ends with the same bits, and has counted the same, wherever its process is killed: before each of its writes to
 * disk (every `everyNth` of them), each time in a new folder. Gives what an undisturbed one ends with.
 */
export const expectToSurvive = async (theft: Theft, { everyNth = 1 } = {}) => {
  const inFolder = async <A>(use: (staging: StagingDir) => Promise<A>): Promise<A> => {
    const root = mkdtempSync(join(tmpdir(), 'undistill-killing-'));
    const staging = (await openStore(root, () => undefined).begin('a')) as StagingDir;
    try {
      return await use(staging);
    } finally {
      await staging.release();
      rmSync(root, { recursive: true, force: true });
    }
  };
  const { writes, ...whole } = await inFolder((staging) => attempted(theft, staging, 0));
  for (let at = 1; at <= writes; at += everyNth) {
    const { writes: _, ...resumed } = await inFolder(async (staging) => {
      await expect(attempted(theft, staging, at), `write ${at}`).rejects.toThrow('killed');
      return attempted(theft, staging, 0);
    });
    expect(resumed, `killed before write ${at} of ${writes}`).toEqual(whole);
  }
  return { writes, ...whole };
};
