import { relative, resolve } from 'node:path';
import type { Experiment } from '../experiment/experiment.js';
import type { Json } from '../experiment/identity.js';
import type { CellPlan, VictimPlan, Work } from '../experiment/plan.js';
import type { Located, Planned } from '../harness/session.js';
import { type ExperimentOptions, openExperiments } from './experiment-file.js';

/** A run's plan as it is kept beside its tables: what `undistill plan` compares the next one with. */
export interface PlanFile {
  readonly version: 1;
  readonly experiment: string;
  readonly stages: readonly {
    readonly id: string;
    readonly label: string;
    readonly kind: Work['kind'];
    readonly inputs: Readonly<Record<string, string>>;
    readonly parts: Readonly<Record<string, Json>>;
  }[];
  readonly cells: readonly CellPlan[];
  /** These two are absent in what earlier versions wrote. */
  readonly victims?: readonly VictimPlan[];
  readonly opened?: Opened;
  /** The files behind each hash of code in the stages' parts, with a hash each. */
  readonly code: Planned['code'];
}

/** How the experiment was read, so that it can be read again. */
export interface Opened {
  /** Relative to the run's folder, as is the data's path. */
  readonly file: string;
  readonly data?: string;
  readonly scale?: number;
  readonly seed?: readonly string[];
}

/** What a command was given, for the plan of a run in `folder`. */
export const openedFrom = (folder: string, file: string, { data, scale, seed }: ExperimentOptions): Opened => ({
  file: relative(folder, resolve(file)),
  ...(data === undefined ? {} : { data: relative(folder, resolve(data)) }),
  ...(scale === undefined ? {} : { scale }),
  ...(seed === undefined ? {} : { seed }),
});

/** The experiment of a run's plan. */
export const reopen = async (folder: string, { file, data, ...options }: Opened): Promise<Experiment> => {
  const at = { ...options, ...(data === undefined ? {} : { data: resolve(folder, data) }) };
  const [found] = await openExperiments(resolve(folder, file), at);
  return (found as Located).experiment;
};

export const planFile = ({ plan, code }: Planned, opened: Opened): PlanFile => ({
  version: 1,
  experiment: plan.experiment.name,
  stages: plan.stages.map(({ id, label, work, inputs, parts }) => ({ id, label, kind: work.kind, inputs, parts })),
  cells: plan.cells,
  victims: plan.victims,
  opened,
  code,
});
