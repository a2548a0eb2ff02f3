import { join } from 'node:path';
import { orFail, refusal } from '../core/errors.js';
import { type Experiment, havingSeeds, withData } from '../experiment/experiment.js';
import type { Plan } from '../experiment/plan.js';
import { withScale } from '../experiment/scale.js';
import { ofSeeds, selected } from '../experiment/select.js';
import { type Located, readExperiments } from '../harness/session.js';

/** Options that change what an experiment file says. */
export interface ExperimentOptions {
  readonly data?: string | undefined;
  /** Those that are run; the others keep what is there of them. */
  readonly seed?: readonly string[] | undefined;
  /** A fraction of every schedule. */
  readonly scale?: number | undefined;
}

/** The experiments of a file, with the options of the command line. */
export const openExperiments = async (file: string, options: ExperimentOptions): Promise<readonly Located[]> =>
  (await readExperiments(file)).map((one) => ({ ...one, experiment: changed(one.experiment, options) }));

/** The one experiment of a file. Rejects with a failure of kind `usage` where it has several. */
export const openExperiment = async (file: string, options: ExperimentOptions): Promise<Located> => {
  const [one, ...others] = (await openExperiments(file, options)) as [Located, ...Located[]];
  return others.length === 0
    ? one
    : refusal('usage')('the file has several experiments', file, `Say which: ${file}#NAME.`);
};

const changed = (experiment: Experiment, { data, seed, scale }: ExperimentOptions): Experiment => {
  const onData = data === undefined ? experiment : orFail(withData(experiment, data));
  const scaled = scale === undefined ? onData : orFail(withScale(onData, scale));
  return seed === undefined ? scaled : orFail(havingSeeds(scaled, seed));
};

/** The stages of a plan that the options ask for: of some seeds, and of what matches a pattern. The cells are all of them. */
export const chosenOf = (
  plan: Plan,
  { seed, only }: { readonly seed?: readonly string[] | undefined; readonly only?: readonly string[] | undefined },
): Plan => {
  const ofThese = seed === undefined ? plan : ofSeeds(plan, seed);
  if (only === undefined) return ofThese;
  const ids = new Set(ofThese.stages.map(({ id }) => id));
  const matching = selected(plan, only, '--only');
  return { ...matching, stages: matching.stages.filter(({ id }) => ids.has(id)) };
};

/** The stages that `--force` has made anew: all that are chosen, or what matches its pattern. */
export const forcedOf = (plan: Plan, chosen: Plan, force: string | true): readonly string[] =>
  (force === true ? chosen : selected(plan, [force], '--force', 'only themselves')).stages.map(({ id }) => id);

/** Where one of several experiments of a file goes: each into a folder of its own below the one given. */
export const outFolder = (out: string | undefined, { experiment }: Located, several: number): string | undefined =>
  out === undefined || several === 1 ? out : join(out, experiment.name);
