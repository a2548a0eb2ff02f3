import { hostname } from 'node:os';
import { FailureError, failure } from '../core/errors.js';
import { thisJob } from '../core/job.js';
import { version } from '../core/version.js';
import { arithmeticOf, type Engine, loadEngine } from '../engine/engine.js';
import { type Located, prepare } from '../harness/session.js';
import { alteredFile, openStore, untilShown } from '../run/store.js';
import { serveStages } from '../run/workers.js';
import { openExperiments } from './experiment-file.js';

/** A worker of `run --jobs`: serves its parent until that goes away. */
export const workerCommand = (): Promise<void> =>
  serveStages(
    async (
      { file, data, scale, store, threads, execution, precision, arithmetic, checkpointEvery, answers, recorded, git },
      signal,
      warn,
    ) => {
      const [{ experiment }] = (await openExperiments(file, { data, scale })) as [Located];
      // What is to be said of the engine its parent has said.
      const engine = await loadEngine({ threads, execution, precision, say: () => undefined });
      refuseOtherArithmetic(engine, arithmetic);
      const prepared = await prepare(experiment);
      return {
        ...prepared,
        // Jobs are made on machines that share the folder.
        store: openStore(store, (_, file) => warn(alteredFile(file)), {
          patience: thisJob() === undefined ? 0 : untilShown,
        }),
        version: await version(),
        signal,
        checkpointEvery,
        answers,
        recorded,
        git,
      };
    },
  );

/** Throws a `FailureError` of kind `engine` where stages were planned for another arithmetic: what came of them would be other bits. */
const refuseOtherArithmetic = (engine: Engine, planned: string | undefined): void => {
  const own = arithmeticOf(engine);
  if (planned === undefined || planned === own) return;
  throw new FailureError(
    failure('engine', `this node computes as ${own}, planned for ${planned}`, {
      where: hostname(),
      remedy: 'Have all jobs run on nodes of one kind: give --constraint, --partition or --gres after --.',
    }),
  );
};
