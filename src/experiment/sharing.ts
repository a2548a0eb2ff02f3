import { ownsAShare } from '../attacks/attack.js';
import type { Plan, Stage } from './plan.js';

/** Thefts that ask one victim's net about the same images, in the same batches. */
export interface Sharing {
  /** The label of the stage that trained the victim. */
  readonly victim: string;
  readonly stages: readonly Stage[];
}

/** By the stages of a plan: each of its thefts asks for them. */
const known = new WeakMap<Plan['stages'], readonly Sharing[]>();

/**
 * The thefts of a plan by what they can be seen to ask; only where several ask the same. What two of them ask in truth
 * shows when they run: a victim may be asked about images that a plugin makes of its own.
 */
export const sharings = ({ stages }: Pick<Plan, 'stages'>): readonly Sharing[] => {
  const found = known.get(stages) ?? sharingsOf(stages);
  known.set(stages, found);
  return found;
};

const sharingsOf = (stages: Plan['stages']): readonly Sharing[] => {
  const labels = new Map(stages.map(({ id, label }) => [id, label]));
  const groups = new Map<string, Stage[]>();
  for (const stage of stages) {
    const question = questionOf(stage);
    if (question === undefined) continue;
    const group = groups.get(question);
    if (group === undefined) groups.set(question, [stage]);
    else group.push(stage);
  }
  return [...groups.values()]
    .filter(({ length }) => length > 1)
    .map((group) => ({ victim: labels.get((group[0] as Stage).inputs.victim as string) ?? '', stages: group }));
};

/** What a stage asks, as far as a plan tells; undefined where it asks nobody. */
const questionOf = ({ work, inputs, parts }: Stage): string | undefined => {
  if (work.kind !== 'steal' || inputs.victim === undefined) return undefined;
  const { data, name, params } = work.attack;
  const images = ownsAShare(data) ? [data.fraction, data.how] : [parts.owned];
  // Who owns no images asks about such as the attack itself makes, for all students or for one.
  const made = inputs.pool ?? (data.kind === 'none' ? [name, params] : []);
  const { batch, augmentation } = work.student.recipe;
  return JSON.stringify([inputs.victim, parts.select, work.seed, batch, augmentation, images, made]);
};
