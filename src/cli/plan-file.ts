import type { Json } from '../experiment/identity.js';
import type { CellPlan, VictimPlan, Work } from '../experiment/plan.js';
import type { Planned } from '../harness/session.js';

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
  /** Absent in what earlier versions wrote. */
  readonly victims?: readonly VictimPlan[];
  /** The files behind each hash of code in the stages' parts, with a hash each. */
  readonly code: Planned['code'];
}

export const planFile = ({ plan, code }: Planned): PlanFile => ({
  version: 1,
  experiment: plan.experiment.name,
  stages: plan.stages.map(({ id, label, work, inputs, parts }) => ({ id, label, kind: work.kind, inputs, parts })),
  cells: plan.cells,
  victims: plan.victims,
  code,
});
