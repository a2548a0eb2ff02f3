import { adversaryFor, type Defense, partsOf, wrappersOf } from '../defenses/defense.js';
import { isPretrained, type Pretrained, retrainable } from '../train/pretrained.js';
import type { Learner } from '../train/recipe.js';
import type { Experiment } from './experiment.js';
import type { Facts } from './facts.js';
import { checkLearner } from './fits.js';
import { isDeclared } from './identity.js';
import type { Trained } from './measuring.js';
import type { Weights } from './pretrained.js';
import { type AddStage, type Prepared, preparedInputs, recipeOf, type Stage } from './stage.js';

/** A teacher, and whom it was trained to differ from. */
export interface ProtectedTeacher {
  readonly teacher: Stage;
  /** Absent where no defence trains one. */
  readonly adversary?: Trained;
}

/** Where a defence is set up: of which seed, at which labels, and beside which undefended teacher. */
export interface Setting {
  readonly seed: number;
  readonly where: string;
  readonly baseline: Stage;
}

/** Adds the stages that train teachers and make victims of them. */
export const victims = (of: Experiment, facts: Facts, add: AddStage) => {
  const trained = (learner: Learner, seed: number, label: string): Stage =>
    add(label, { kind: 'teacher', learner, seed }, {}, { learner: recipeOf(learner), seed });

  const imported = (teacher: Pretrained, { sha256 }: Weights): Stage =>
    add('teacher', { kind: 'import', teacher, sha256 }, {}, { network: teacher.network, weights: sha256 });

  /** A net of the defence's own choice, trained normally, or the undefended teacher. */
  const adversaryOf = (defense: Defense, { seed, where, baseline }: Setting): Trained => {
    const teacher = retrainable(of.teacher);
    const adversary = adversaryFor(defense, teacher);
    if (adversary === undefined) return { stage: baseline, network: teacher.network };
    const { network } = adversary;
    checkLearner(`${defense.name}: adversary`, adversary, of, facts);
    return { stage: trained(adversary, seed, `${where}/${network.name} (adversary)`), network };
  };

  /** What a defence's own work depends on: of out-of-distribution images, too. */
  const owing = ({ outliers }: Defense, seed: number) => ({
    learner: recipeOf(retrainable(of.teacher)),
    ...(outliers && { outliers: facts.others.get(outliers)?.fingerprint }),
    seed,
    select: of.select,
  });

  /** The teacher after each part of a defence that trains one. */
  const protectedTeacher = (defense: Defense, label: string, setting: Setting): ProtectedTeacher => {
    let last: ProtectedTeacher = { teacher: setting.baseline };
    for (const part of partsOf(defense)) {
      if (part.protect === undefined) continue;
      const adversary = adversaryOf(part, setting);
      const { seed } = setting;
      const teacher = add(
        `${setting.where}/${label}/teacher`,
        { kind: 'protect', defense: part, learner: retrainable(of.teacher), seed },
        { teacher: last.teacher.id, adversary: adversary.stage.id },
        { defense: part, ...owing(part, seed) },
      );
      last = { teacher, adversary };
    }
    return last;
  };

  /** A stage for each part of a defence that prepares something. */
  const preparations = (defense: Defense, label: string, teacher: Stage, setting: Setting): Prepared =>
    new Map(
      partsOf(defense)
        .filter(({ prepare }) => prepare !== undefined)
        .map((part) => {
          const { name, source, preparedBy } = part;
          const { seed } = setting;
          const stage = add(
            `${setting.where}/${label}/prepare`,
            { kind: 'prepare', defense: part, learner: retrainable(of.teacher), seed },
            { teacher: teacher.id, adversary: adversaryOf(part, setting).stage.id },
            {
              // Of less than its parameters, so that several share it; but one that was not declared is known as a whole.
              defense: preparedBy !== undefined && isDeclared(part) ? { name, params: preparedBy, source } : part,
              ...owing(part, seed),
            },
          );
          return [part, stage] as const;
        }),
    );

  return {
    /** The undefended teacher of a seed. */
    undefended: ({ victim, label }: Experiment['seeds'][number]): Stage =>
      isPretrained(of.teacher)
        ? imported(of.teacher, facts.weights as Weights)
        : trained(of.teacher, victim, `seed-${label}/teacher`),

    protectedTeacher,
    preparations,

    /** What a victim answers to the images of the report; undefined where no defence changes that. */
    answered: (
      defense: Defense,
      label: string,
      [teacher, prepared]: readonly [Stage, Prepared],
      { seed, where }: Setting,
    ): Stage | undefined => {
      const wrappers = wrappersOf(defense);
      if (wrappers.length === 0) return undefined;
      const { network } = of.teacher;
      return add(
        `${where}/${label}/answer`,
        { kind: 'answer', network, wrappers, secret: seed },
        { model: teacher.id, ...preparedInputs(wrappers, prepared) },
        { network, wrappers, secret: seed, select: of.select, report: of.report },
      );
    },
  };
};
