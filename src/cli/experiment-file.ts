import { orFail } from '../core/errors.js';
import { type Experiment, withData, withSeeds } from '../harness/experiment.js';
import { withScale } from '../harness/scale.js';
import { readExperiment } from '../harness/session.js';

/** Options that change what an experiment file says. */
export interface ExperimentOptions {
  readonly data?: string | undefined;
  readonly seed?: readonly string[] | undefined;
  /** A fraction of every schedule. */
  readonly scale?: number | undefined;
}

/** The experiment of a file, with the options of the command line. */
export const openExperiment = async (file: string, { data, seed, scale }: ExperimentOptions): Promise<Experiment> => {
  const experiment = await readExperiment(file);
  const onData = data === undefined ? experiment : orFail(withData(experiment, data));
  const scaled = scale === undefined ? onData : orFail(withScale(onData, scale));
  return seed === undefined ? scaled : orFail(withSeeds(scaled, seed));
};
