import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { key } from '../../src/core/random.js';
import { contextOf, type StageContext } from '../../src/run/context.js';
import { openStore, type StagingDir } from '../../src/run/store.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import type { FitResult } from '../../src/train/fit.js';
import type { Victim } from '../../src/train/oracle.js';
import { endOf, theftOf } from '../train/bench.js';

class Killed extends Error {}

/** What is made in a stage, of the context that it has there; in words that tell one end from another. */
type Making<End> = (context: (victim?: Victim) => StageContext) => Promise<End>;

/** What something in a folder ends with; `Killed` before the write to disk of a number, from 1 on. */
const attempted = async <End>(make: Making<End>, staging: StagingDir, killedAt: number) => {
  let writes = 0;
  const dying =
    <Given extends unknown[]>(write: (...args: Given) => Promise<void>) =>
    async (...args: Given): Promise<void> => {
      writes += 1;
      if (writes === killedAt) throw new Killed('killed');
      await write(...args);
    };
  const end = await make((victim) =>
    contextOf(
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
    ),
  );
  return { writes, end };
};

/**
 * Something that is made in a stage ends the same wherever its process is killed: before each of its writes to
 * disk (every `everyNth` of them), each time in a new folder. Gives what an undisturbed one ends with.
 */
export const expectSameWhereverKilled = async <End>(make: Making<End>, { everyNth = 1 } = {}): Promise<End> => {
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
  const whole = await inFolder((staging) => attempted(make, staging, 0));
  for (let at = 1; at <= whole.writes; at += everyNth) {
    const resumed = await inFolder(async (staging) => {
      await expect(attempted(make, staging, at), `write ${at}`).rejects.toThrow('killed');
      return attempted(make, staging, 0);
    });
    expect(resumed.end, `killed before write ${at} of ${whole.writes}`).toEqual(whole.end);
  }
  return whole.end;
};

export interface Theft {
  readonly attack: AnyAttack;
  /** A fresh victim, as every process has. */
  readonly victim: () => { readonly victim: Victim; readonly retired: () => void };
  readonly learner: BuiltLearner;
  readonly given: Pick<AttackContext, 'data' | 'normalisation' | 'fullStepsPerEpoch'>;
}

/** A theft ends with the same bits, and has counted the same, wherever its process is killed. */
export const expectToSurvive = (
  { attack, victim: fresh, learner, given }: Theft,
  options: { everyNth?: number } = {},
) =>
  expectSameWhereverKilled(async (contextOf) => {
    const { victim, retired } = fresh();
    try {
      const { footprint, ...context } = contextOf(victim);
      const end = endOf(await theftOf(attack, victim, learner, { ...context, ...given }));
      const { asked, shift, effort } = footprint();
      const pool = (await context.pool()).map(({ images, labels }) => [Buffer.from(images).toString('base64'), labels]);
      return { end: untimed(end), pool, asked, shift, steps: effort.steps };
    } finally {
      retired();
    }
  }, options);

/** What a fit ended with, but for how long it took and how it ran. */
export const untimed = <Fitted extends Omit<FitResult<never>, 'last' | 'best'>>({
  seconds: _,
  execution: __,
  history,
  ...end
}: Fitted) => ({ ...end, history: history.map(({ stepsPerSecond: _, ...record }) => record) });
