import { join } from 'node:path';
import { orFail } from '../core/errors.js';
import { type Experiment, withData, withSeeds } from '../experiment/experiment.js';
import { withScale } from '../experiment/scale.js';
import { type Located, readExperiments } from '../harness/session.js';

/** Options that change what an experiment file says. */
export interface ExperimentOptions {
  readonly data?: string | undefined;
  readonly seed?: readonly string[] | undefined;
  /** A fraction of every schedule. */
  readonly scale?: number | undefined;
}

/** The experiments of a file, with the options of the command line. */
export const openExperiments = async (file: string, options: ExperimentOptions): Promise<readonly Located[]> =>
  (await readExperiments(file)).map((one) => ({ ...one, experiment: changed(one.experiment, options) }));

const changed = (experiment: Experiment, { data, seed, scale }: ExperimentOptions): Experiment => {
  const onData = data === undefined ? experiment : orFail(withData(experiment, data));
  const scaled = scale === undefined ? onData : orFail(withScale(onData, scale));
  return seed === undefined ? scaled : orFail(withSeeds(scaled, seed));
};

/** Where one of several experiments of a file goes: each into a folder of its own below the one given. */
export const outFolder = (out: string | undefined, { experiment }: Located, several: number): string | undefined =>
  out === undefined || several === 1 ? out : join(out, experiment.name);
