import { orFail } from '../core/errors.js';
import { type Experiment, withData, withSeeds } from '../harness/experiment.js';
import { readExperiment } from '../harness/session.js';

/** Options that change what an experiment file says. */
export interface ExperimentOptions {
  readonly data?: string | undefined;
  readonly seed?: readonly string[] | undefined;
}

/** The experiment of a file, with the options of the command line. */
export const openExperiment = async (file: string, { data, seed }: ExperimentOptions): Promise<Experiment> => {
  const experiment = await readExperiment(file);
  const onData = data === undefined ? experiment : orFail(withData(experiment, data));
  return seed === undefined ? onData : orFail(withSeeds(onData, seed));
};
