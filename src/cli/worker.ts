import { version } from '../core/version.js';
import { loadEngine } from '../engine/engine.js';
import { type Located, prepare } from '../harness/session.js';
import { alteredFile, openStore } from '../run/store.js';
import { serveStages } from '../run/workers.js';
import { openExperiments } from './experiment-file.js';

/** A worker of `run --jobs`: serves its parent until that goes away. */
export const workerCommand = (): Promise<void> =>
  serveStages(
    async (
      { file, data, scale, store, threads, execution, precision, checkpointEvery, answers, git },
      signal,
      warn,
    ) => {
      const [{ experiment }] = (await openExperiments(file, { data, scale })) as [Located];
      // What is to be said of the engine its parent has said.
      await loadEngine({ threads, execution, precision, say: () => undefined });
      const prepared = await prepare(experiment);
      return {
        ...prepared,
        store: openStore(store, (_, file) => warn(alteredFile(file))),
        version: await version(),
        signal,
        checkpointEvery,
        answers,
        git,
      };
    },
  );
