import * as E from 'fp-ts/lib/Either.js';
import type { AnyAttack, Attack, Ownership } from '../attacks/attack.js';
import { atLeast, checked, share, wholeAtLeast } from '../core/check.js';
import { FailureError, failure, type Result, toFailure } from '../core/errors.js';
import type { DatasetPlugin } from '../data/dataset.js';
import type { Defense } from '../defenses/defense.js';
import { type Access, type AtLeast, rank } from '../defenses/victim.js';
import type { Learner } from '../train/recipe.js';
import { labelsOf } from './labels.js';

/** One seed for everything, or one for the victim (teacher, adversary, defence) and one for the thief's student. */
export type Seed = number | { readonly victim: number; readonly student: number };

/** `n/a` cells are legitimate; an attack that could work on none of the columns is a mistake, and a compile error. */
type FitsOneOf<A, Defenses extends readonly Defense[]> =
  A extends Attack<infer Need, Ownership>
    ? Extract<Defenses[number]['exposes'], AtLeast<Need>> extends never
      ? { readonly error: 'this attack needs more access than any of the defences exposes' }
      : A
    : A;

/** An attack and a defence to be tried on each other, outside the grid. */
export interface Pair {
  readonly attack: AnyAttack;
  readonly defense: Defense;
}

/** A pair outside the grid; one whose attack needs more than its defence exposes does not compile. */
export const pair = <Need extends Access, Exposes extends AtLeast<Need>>(
  attack: Attack<Need, Ownership>,
  defense: Defense<Exposes>,
): Pair => ({ attack: attack as AnyAttack, defense });

export interface ExperimentSpec<
  Defenses extends readonly Defense[] = readonly Defense[],
  Attacks extends readonly unknown[] = readonly AnyAttack[],
> {
  /** Letters, digits, dots and dashes: the name of its folder under `runs`. */
  readonly name: string;
  /** A sentence or a reference (the paper's table) for the head of the report. */
  readonly about?: string;
  readonly data: DatasetPlugin;
  /** Share of the training images that is used at all, in (0, 1]; default 1. For pilots. */
  readonly fraction?: number;
  /** Share of the training images held out for choosing checkpoints and settings, in [0, 1); default 0.1. */
  readonly validation?: number;
  /** Which images the matrix is about. `validation` leaves the test set untouched while settings are being chosen. */
  readonly report?: 'test' | 'validation';
  /** Which checkpoint counts: after the last step (default), or the best on the held-out images. Both are recorded. */
  readonly select?: 'last' | 'best';
  readonly teacher: Learner;
  /** `self`: the teacher's own net and recipe. */
  readonly students: readonly (Learner | 'self')[];
  readonly defenses: Defenses;
  readonly attacks: { readonly [I in keyof Attacks]: FitsOneOf<Attacks[I], Defenses> };
  readonly pairs?: readonly Pair[];
  readonly seeds: readonly Seed[];
}

/** An experiment with its defaults filled in and its labels made. */
export interface Experiment {
  readonly _tag: 'Experiment';
  readonly name: string;
  readonly about: string;
  readonly data: DatasetPlugin;
  readonly fraction: number;
  readonly validation: number;
  readonly report: 'test' | 'validation';
  readonly select: 'last' | 'best';
  readonly teacher: Learner;
  readonly students: readonly { readonly label: string; readonly learner: Learner }[];
  readonly defenses: readonly { readonly label: string; readonly defense: Defense }[];
  readonly attacks: readonly { readonly label: string; readonly attack: AnyAttack }[];
  /** The grid's cells and the explicit pairs: which attack meets which defence, by label. */
  readonly meetings: readonly { readonly attack: string; readonly defense: string }[];
  readonly seeds: readonly { readonly label: string; readonly victim: number; readonly student: number }[];
}

const refuse = (what: string, where: string, remedy: string): never => {
  throw new FailureError(failure('experiment', what, { where, remedy }));
};

/**
 * An experiment: every attack on every defence, by every student, with every seed.
 *
 * Throws a `FailureError` of kind `experiment` that names the field: an empty list, two rows or columns of one label, a
 * number out of range, an attack or a pair that nothing exposes enough for.
 */
export const experiment = <const Defenses extends readonly Defense[], const Attacks extends readonly unknown[]>(
  spec: ExperimentSpec<Defenses, Attacks>,
): Experiment => {
  const { name, about = '', data, fraction = 1, validation = 0.1, report = 'test', select = 'last', teacher } = spec;
  const attacks = spec.attacks as unknown as readonly AnyAttack[];
  const pairs = spec.pairs ?? [];
  if (!/^[\w][\w.-]*$/.test(name)) {
    refuse(`${JSON.stringify(name)} cannot be the name of a folder`, 'name', 'Use letters, digits, dots and dashes.');
  }
  checked(
    'experiment',
    { fraction: share, validation: { ...atLeast(0), holds: (v) => v >= 0 && v < 1 } },
    { fraction, validation },
  );
  for (const [field, list] of Object.entries({
    students: spec.students,
    defenses: spec.defenses,
    attacks,
    seeds: spec.seeds,
  })) {
    if (!Array.isArray(list) || list.length === 0)
      refuse('there are none', field, `Give at least one of the ${field}.`);
  }
  for (const [field, value] of [
    ['report', report === 'validation'],
    ['select', select === 'best'],
  ] as const) {
    if (value && validation === 0)
      refuse('no images are held out (validation is 0)', field, 'Give validation a share.');
  }
  const students = spec.students.map((student) => (student === 'self' ? teacher : student));
  for (const [where, { recipe }] of [
    ['teacher', teacher] as const,
    ...students.map((s) => [s.network.name, s] as const),
  ]) {
    checked(where, { epochs: wholeAtLeast(1), batch: wholeAtLeast(2) }, { epochs: recipe.epochs, batch: recipe.batch });
  }
  const seeds = spec.seeds.map((seed) => (typeof seed === 'number' ? { victim: seed, student: seed } : seed));
  for (const { victim, student } of seeds) {
    checked('seeds', { victim: wholeAtLeast(0), student: wholeAtLeast(0) }, { victim, student });
  }
  const allAttacks = distinct([...attacks, ...pairs.map(({ attack }) => attack)]);
  const allDefenses = distinct([...spec.defenses, ...pairs.map(({ defense }) => defense)]);
  const attackLabels = labelsOf('attacks', allAttacks);
  const defenseLabels = labelsOf('defenses', allDefenses);
  for (const { attack, defense } of pairs) {
    if (rank[defense.exposes] < rank[attack.needs]) {
      refuse(
        `${attack.name} needs ${attack.needs}, and ${defense.name} exposes ${defense.exposes}`,
        'pairs',
        'Take the pair out, or choose a defence that exposes more.',
      );
    }
  }
  for (const attack of attacks) {
    if (!spec.defenses.some((defense) => rank[defense.exposes] >= rank[attack.needs])) {
      refuse(
        `${attack.name} needs ${attack.needs}, and no defence exposes that much`,
        'attacks',
        'Take the attack out, or add a defence that exposes more (none() exposes all).',
      );
    }
  }
  const labelOf = <T>(all: readonly T[], labels: readonly string[], one: T): string =>
    labels[all.indexOf(one)] as string;
  const meetings = [
    ...attacks.flatMap((attack) => spec.defenses.map((defense) => ({ attack, defense }))),
    ...pairs,
  ].map(({ attack, defense }) => ({
    attack: labelOf(allAttacks, attackLabels, attack),
    defense: labelOf(allDefenses, defenseLabels, defense),
  }));
  const studentLabels = labelsOf(
    'students',
    students.map(({ network }, i) => ({
      ...network,
      name: spec.students[i] === 'self' ? `self (${network.name})` : network.name,
    })),
  );
  const seedLabels = seeds.map(({ victim, student }) => (victim === student ? `${victim}` : `${victim}-${student}`));
  if (new Set(seedLabels).size < seedLabels.length) refuse('a seed comes twice', 'seeds', 'Give each seed once.');
  return {
    _tag: 'Experiment',
    name,
    about,
    data,
    fraction,
    validation,
    report,
    select,
    teacher,
    students: students.map((learner, i) => ({ label: studentLabels[i] as string, learner })),
    defenses: allDefenses.map((defense, i) => ({ label: defenseLabels[i] as string, defense })),
    attacks: allAttacks.map((attack, i) => ({ label: attackLabels[i] as string, attack })),
    meetings,
    seeds: seeds.map((seed, i) => ({ ...seed, label: seedLabels[i] as string })),
  };
};

const distinct = <T>(values: readonly T[]): readonly T[] => [...new Set(values)];

export const isExperiment = (value: unknown): value is Experiment =>
  typeof value === 'object' && value !== null && (value as { _tag?: unknown })._tag === 'Experiment';

/** The same experiment with some of its seeds, another data path. */
export const withSeeds = (of: Experiment, labels: readonly string[]): Result<Experiment> => {
  const unknown = labels.find((label) => !of.seeds.some((seed) => seed.label === label));
  return unknown === undefined
    ? E.right({ ...of, seeds: of.seeds.filter(({ label }) => labels.includes(label)) })
    : E.left(
        failure('usage', `the experiment has no seed ${unknown}`, {
          where: '--seed',
          remedy: `It has: ${of.seeds.map(({ label }) => label).join(', ')}.`,
        }),
      );
};

export const withData = (of: Experiment, path: string): Result<Experiment> =>
  E.tryCatch(
    () => {
      if (of.data.from === undefined) {
        throw new FailureError(
          failure('usage', `${of.data.name} is not read from a path`, { where: '--data', remedy: 'Leave --data out.' }),
        );
      }
      return { ...of, data: of.data.from(path) };
    },
    toFailure('data', path),
  );
