import * as E from 'fp-ts/lib/Either.js';
import * as v from 'valibot';
import { says, share } from '../core/check.js';
import { failure, type Result, toFailure } from '../core/errors.js';
import { percentage } from '../core/text.js';
import type { Pretrained } from '../train/pretrained.js';
import { type Learner, scaledRecipe } from '../train/recipe.js';
import { checkAttack, checkDefense, type Experiment, reducedTo } from './experiment.js';

const scaledLearner = (learner: Learner, factor: number): Learner => ({
  ...learner,
  recipe: scaledRecipe(learner.recipe, factor),
});

/** A pretrained teacher stays trained: what is scaled is the recipe of what is trained in its place. */
const scaledTeacher = (teacher: Learner | Pretrained, factor: number): Learner | Pretrained =>
  teacher.recipe === undefined ? teacher : { ...teacher, recipe: scaledRecipe(teacher.recipe, factor) };

/** The same experiment with a fraction of every schedule, for a look before the whole: its name says so. */
export const withScale = (of: Experiment, factor: number): Result<Experiment> => {
  if (!v.is(share, factor)) {
    return E.left(
      failure('usage', `a scale is ${says(share)}, not ${factor}`, {
        where: '--scale',
        remedy: 'Give, for example, 0.01 for a hundredth of the epochs.',
      }),
    );
  }
  const scaled = (): Experiment => ({
    ...of,
    name: `${of.name}-scale-${factor}`,
    about: `${of.about}${of.about === '' ? '' : '; '}at ${percentage(factor)} of its schedules`,
    ...reducedTo(of.reduced, factor === 1 ? undefined : `${percentage(factor)} of the schedules`),
    teacher: scaledTeacher(of.teacher, factor),
    students: of.students.map(({ label, learner }) => ({ label, learner: scaledLearner(learner, factor) })),
    defenses: of.defenses.map(({ label, defense }, i) => {
      const made = defense.scaled?.(factor) ?? defense;
      checkDefense(made, i);
      return { label, defense: made };
    }),
    attacks: of.attacks.map(({ label, attack }, i) => {
      const made = attack.scaled?.(factor) ?? attack;
      checkAttack(made, i);
      return { label, attack: made };
    }),
  });
  return E.tryCatch(scaled, toFailure('plugin', '--scale', 'Mend what `scaled` of the plugin does.'));
};
