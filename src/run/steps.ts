import { ownsAShare, synthesises } from '../attacks/attack.js';
import { batchesPerEpoch } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { shareOf } from '../data/subset.js';
import { countInUse } from '../experiment/data-access.js';
import type { Plan } from '../experiment/plan.js';
import type { Stage } from '../experiment/stage.js';
import type { Learner } from '../train/recipe.js';

/** Steps of a training stage; undefined where its plugin decides. */
export const stepsOf = ({ work }: Stage, plan: Plan, data: Dataset): number | undefined => {
  // Counted, not chosen: every stage asks it of all that ask a victim the same.
  const { train } = countInUse(data.train.count, plan.experiment);
  const stepsOn = (images: number, { recipe: { epochs, batch } }: Learner) => epochs * batchesPerEpoch(images, batch);
  if (work.kind === 'teacher' || work.kind === 'protect') return stepsOn(train, work.learner);
  if (work.kind !== 'steal') return undefined;
  const { data: owned, params } = work.attack;
  if (!ownsAShare(owned) || synthesises(work.attack)) return undefined;
  return stepsOn(params.steps === 'same' ? train : shareOf(owned.fraction, train), work.student);
};

/** Images about which a theft asks its victim, at most, where a plan tells; else 0. */
export const imagesAsked = (stage: Stage, plan: Plan, data: Dataset): number => {
  if (stage.work.kind !== 'steal') return 0;
  const { attack, student } = stage.work;
  return (stepsOf(stage, plan, data) ?? 0) * student.recipe.batch * (attack.questions ?? 1);
};
