import { type AnyAttack, labelled, type Ownership, ownsAShare } from '../attacks/attack.js';
import { scratch } from '../attacks/scratch.js';
import { percentage } from '../core/text.js';
import { type Defense, partsOf, wrappersOf } from '../defenses/defense.js';
import { canBeImitated } from '../defenses/imitation.js';
import { type Access, isBlackBox, rank } from '../train/oracle.js';
import type { Experiment } from './experiment.js';
import type { Facts } from './facts.js';
import { type Code, canonical, isDeclared } from './identity.js';
import { type AddStage, type Prepared, preparedInputs, recipeOf, type Stage, type Theft } from './stage.js';

/**
 * What an attack's students are compared with: what it names, or the labels of as many images as it owns. Honest
 * training is compared with itself.
 */
export const baselineOf = (attack: AnyAttack): AnyAttack => {
  const { role, baseline, data } = attack;
  if (role === 'honest') return attack;
  return baseline ?? (ownsAShare(data) ? scratch({ fraction: data.fraction, how: data.how }) : scratch());
};

/**
 * The first of several defences that answer in turn, as far as what is asked for depends on them: those that preserve it are left out, unless
 * one after them takes in what they give; and all are where a later one gives the net's own.
 */
export const changing = (answering: readonly Defense[], asked: Access): readonly Defense[] => {
  const changes = ({ preserves }: Defense): boolean => preserves === undefined || rank[asked] > rank.label;
  const last = answering.findLastIndex(changes);
  return answering.slice(last + 1).some(({ preserves }) => preserves === 'clean label')
    ? []
    : answering.slice(0, last + 1);
};

/** What an attack must know of a defence and cannot. */
const unknownTo = ({ knows }: AnyAttack, defense: Defense): string | undefined => {
  if (knows === 'inverse' && partsOf(defense).every(({ recover }) => recover === undefined)) return 'no inverse of';
  if (knows === 'chance' && partsOf(defense).every(({ answers }) => (answers?.kind ?? 'pure') === 'pure'))
    return 'no chance in the answers of';
  if (knows === 'zeros' && partsOf(defense).every(({ answers }) => answers === undefined || answers.positive))
    return 'no zeros in the answers of';
  return knows === 'answers' && !canBeImitated(defense) ? 'no way to imitate' : undefined;
};

/** Why an attack and a defence do not meet; undefined where they do. */
export const whyNot = (attack: AnyAttack, { label, defense }: Experiment['defenses'][number]): string | undefined => {
  if (rank[defense.exposes] < rank[attack.needs])
    return `${attack.name} needs ${attack.needs}; ${label} exposes ${defense.exposes}`;
  const unknown = unknownTo(attack, defense);
  return unknown === undefined ? undefined : `${unknown} ${label} is known`;
};

const sameAttack = (a: AnyAttack, b: AnyAttack, code: Code): boolean =>
  JSON.stringify(canonical(a, code)) === JSON.stringify(canonical(b, code));

/** A baseline that is no row of its own: its name with the share of the images, where that is not all. */
const baselineLabel = ({ name, data }: AnyAttack): string =>
  !ownsAShare(data) || data.fraction === labelled.fraction ? name : `${name} on ${percentage(data.fraction)}`;

/** The honest training that an attack's students are compared with, by the name it has in the matrix, if it is there. */
export const baselineFor = (attack: AnyAttack, of: Experiment, code: Code): Experiment['attacks'][number] => {
  const honest = baselineOf(attack);
  const found = of.attacks.find((each) => sameAttack(each.attack, honest, code));
  return { label: found?.label ?? baselineLabel(honest), attack: honest };
};

/** Whom an attack is on. */
export interface Target {
  readonly label: string;
  readonly defense: Defense;
  readonly teacher: Stage;
  readonly prepared: Prepared;
}

/** Adds the stages of attacks. */
export const thefts = (of: Experiment, facts: Facts, add: AddStage) => {
  const ownedBy = (owned: Ownership) =>
    owned.kind !== 'other'
      ? owned
      : {
          kind: owned.kind,
          fingerprint: facts.others.get(owned.images)?.fingerprint,
          ...(owned.labelled ? { labelled: owned.labelled } : {}),
        };

  /** The student of an attack, and before it the images of one that makes them without looking at students. */
  return (
    { label, attack }: Experiment['attacks'][number],
    student: Experiment['students'][number],
    target: Target | undefined,
    seed: Experiment['seeds'][number],
  ): Stage => {
    const { name, source, needs, data, pool: pooled } = attack;
    const where = `seed-${seed.label}`;
    const victim = needs === 'none' ? undefined : target;
    const wrappers = changing(victim === undefined ? [] : wrappersOf(victim.defense), needs);
    const limit = attack.budget ?? of.budget;
    const budget = limit === undefined || !isBlackBox(needs) ? {} : { budget: limit };
    const theft: Theft = {
      attack,
      teacher: of.teacher.network,
      wrappers,
      secret: seed.victim,
      ...budget,
      seed: seed.student,
    };
    const inputs: Readonly<Record<string, string>> =
      victim === undefined ? {} : { victim: victim.teacher.id, ...preparedInputs(wrappers, victim.prepared) };
    const asking = {
      needs,
      seed: seed.student,
      ...(victim && {
        ...budget,
        ...(wrappers.length === 0 ? {} : { wrappers, secret: seed.victim }),
        select: of.select,
      }),
    };
    const pool =
      pooled &&
      add(`${where}/${target?.label}/${label}/pool`, { kind: 'synthesise', ...theft }, inputs, {
        // Of less than the attack's parameters, so that several share it; but one that was not declared is known as a whole.
        attack: isDeclared(attack) ? { name, params: pooled.params, source } : attack,
        ...asking,
      });
    return add(
      [where, ...(victim === undefined ? [] : [victim.label]), student.label, label].join('/'),
      { kind: 'steal', student: student.learner, ...theft },
      pool === undefined ? inputs : { ...inputs, pool: pool.id },
      { attack, owned: ownedBy(data), student: recipeOf(student.learner), ...asking },
    );
  };
};
