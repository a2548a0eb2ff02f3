import { type AnyAttack, ownsAShare } from '../attacks/attack.js';
import { isToldRecorded, type Recordable, type Wrapper } from '../train/oracle.js';
import type { Plan } from './plan.js';
import { type Stage, stageLabels } from './stage.js';

/** Thefts that ask one victim's net, or one slow defence, about the same images, in the same batches. */
export interface Sharing {
  /** The label of the stage that trained the victim, and the slow defences that it is asked behind. */
  readonly victim: string;
  /** What is recorded. */
  readonly of: Recordable['of'];
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
  const labels = stageLabels({ stages });
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
    .map((group) => {
      const [{ inputs, work }] = group as [Stage];
      const victim = labels.get(inputs.victim as string) ?? '';
      const slow = slowIn(work);
      return slow.length === 0
        ? { victim, of: 'logits', stages: group }
        : { victim: `${victim} behind ${slow.map(({ name }) => name).join(' + ')}`, of: 'told', stages: group };
    });
};

/** A theft's defences, where what they tell is recorded. */
const slowIn = (work: Stage['work']): readonly Pick<Wrapper, 'name'>[] => {
  const wrappers = work.kind === 'steal' ? work.wrappers : [];
  return isToldRecorded(wrappers) ? wrappers : [];
};

/**
 * Whether a student has a part in what its victim is asked, as far as an attack's declaration tells: it keeps images that it makes while
 * the student learns, or sees the labels of other images, which are of use for the choice of the next one alone.
 */
const asksByStudent = ({ synthesises, pool, data }: AnyAttack): boolean =>
  (synthesises === true && pool === undefined) || (data.kind === 'other' && data.labelled === true);

/** What a stage asks, as far as a plan tells; undefined where it asks nobody, or what no other student asks. */
const questionOf = ({ work, inputs, parts }: Stage): string | undefined => {
  if (work.kind !== 'steal' || inputs.victim === undefined || asksByStudent(work.attack)) return undefined;
  const { data, name, params, questions } = work.attack;
  const images = ownsAShare(data) ? [data.fraction, data.how] : [parts.owned];
  // Who owns no images asks about such as are made for all students, or are drawn as noise is; who asks more than once, in its own way.
  const made = inputs.pool ?? (data.kind === 'none' || questions !== undefined ? [name, params] : []);
  const { batch, augmentation } = work.student.recipe;
  const told = slowIn(work).length > 0 ? parts.wrappers : undefined;
  return JSON.stringify([inputs.victim, parts.select, work.seed, batch, augmentation, images, made, told]);
};
