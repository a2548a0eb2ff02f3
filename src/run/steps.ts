import { ownsAShare } from '../attacks/attack.js';
import type { Dataset } from '../data/dataset.js';
import { allImages, ownedImages, stepsPerPass } from '../experiment/data-access.js';
import type { Plan, Stage } from '../experiment/plan.js';

/** Steps of a training stage; undefined where its plugin decides. */
export const stepsOf = ({ work }: Stage, plan: Plan, data: Dataset): number | undefined => {
  const of = { data, experiment: plan.experiment };
  if (work.kind === 'teacher' || work.kind === 'protect') {
    return work.learner.recipe.epochs * stepsPerPass(allImages(of).train, work.learner);
  }
  if (work.kind !== 'steal' || !ownsAShare(work.attack.data)) return undefined;
  const images = work.attack.params.steps === 'same' ? allImages(of) : ownedImages(of, work.attack.data, work.seed);
  return work.student.recipe.epochs * stepsPerPass(images.train, work.student);
};

/** Images about which a theft asks its victim, at most, where a plan tells; else 0. */
export const imagesAsked = (stage: Stage, plan: Plan, data: Dataset): number =>
  stage.work.kind === 'steal' ? (stepsOf(stage, plan, data) ?? 0) * stage.work.student.recipe.batch : 0;
