import { join, relative } from 'node:path';
import * as v from 'valibot';
import { byName, text } from '../core/check.js';
import { jsonText } from '../core/text.js';
import type { CellPlan, VictimPlan } from '../experiment/plan.js';
import type { StageRecord } from '../run/record.js';
import { writeWhole } from '../run/store.js';
import type { Planned } from './session.js';

/** The plan of a run, in its folder. */
export const planName = 'plan.json';

/** A run's plan as it is kept: what `undistill plan` compares the next one with, and `undistill clean` spares the stages of. */
export interface PlanFile {
  readonly version: 1;
  readonly experiment: string;
  /** The experiment file, seen from the run's folder. Absent in what earlier versions wrote. */
  readonly file?: string;
  readonly stages: readonly Pick<StageRecord, 'id' | 'label' | 'kind' | 'inputs' | 'parts'>[];
  readonly cells: readonly CellPlan[];
  /** Absent in what earlier versions wrote. */
  readonly victims?: readonly VictimPlan[];
  /** The files behind each hash of code in the stages' parts, with a hash each. */
  readonly code: Planned['code'];
}

const planFile = ({ plan, code }: Planned, file?: string): PlanFile => ({
  version: 1,
  experiment: plan.experiment.name,
  ...(file === undefined ? {} : { file }),
  stages: plan.stages.map(({ id, label, work, inputs, parts }) => ({ id, label, kind: work.kind, inputs, parts })),
  cells: plan.cells,
  victims: plan.victims,
  code,
});

/**
 * Keeps a plan in its run's folder.
 *
 * @param file that of the experiment, where there is one
 */
export const writePlan = (run: string, planned: Planned, file: string | undefined): Promise<void> => {
  const kept = planFile(planned, file === undefined ? undefined : relative(run, file));
  return writeWhole(join(run, planName), jsonText(kept));
};

/** A stage's id, by which it is looked for in a store, is no path. */
const id = v.pipe(v.string(), v.regex(/^[\w-]+$/), v.title('the id of a stage'));
const ids = v.record(v.string(), id);
const fields = byName(v.unknown());

/** A plan.json, which may be of another version, or edited. */
export const planSchema = v.looseObject({
  version: v.literal(1),
  experiment: text,
  file: v.exactOptional(text),
  stages: v.array(v.looseObject({ id, label: text, kind: text, inputs: ids, parts: v.optional(fields, {}) })),
  cells: v.array(
    v.looseObject({
      attack: text,
      defense: text,
      student: text,
      seed: text,
      stages: v.exactOptional(
        v.looseObject({
          steal: id,
          measure: id,
          own: v.exactOptional(ids),
          baseline: id,
          baselineMeasure: id,
          images: v.exactOptional(id),
          inspect: v.exactOptional(id),
        }),
      ),
      reason: v.exactOptional(text),
    }),
  ),
  victims: v.exactOptional(
    v.array(
      v.looseObject({
        defense: text,
        seed: text,
        train: id,
        evaluate: id,
        answer: v.exactOptional(id),
        measure: id,
        own: v.exactOptional(ids),
        divergence: v.exactOptional(id),
      }),
    ),
  ),
  code: v.optional(v.record(v.string(), v.record(v.string(), v.string())), {}),
});
