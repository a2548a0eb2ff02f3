import * as E from 'fp-ts/lib/Either.js';
import * as v from 'valibot';
import { type AnyAttack, type Attack, type Ownership, type Role, roleOf } from '../attacks/attack.js';
import {
  aFunction,
  belowOne,
  checked,
  choice,
  nothingElse,
  parsed,
  share,
  shown,
  text,
  wholeAtLeast,
  yesOrNo,
} from '../core/check.js';
import { FailureError, failure, type Refusal, type Result, refusal, toFailure } from '../core/errors.js';
import { repeated } from '../core/lists.js';
import { anyPlugin } from '../core/plugin.js';
import { percentage } from '../core/text.js';
import { anyDataset, type DatasetPlugin } from '../data/dataset.js';
import { type Defense, partsOf, wrappersOf } from '../defenses/defense.js';
import { metrics as builtIn, type Metric, otherColumns } from '../metrics/metric.js';
import { betters, units } from '../metrics/quantity.js';
import { anyNetwork } from '../models/define.js';
import { type Access, type Answers, type AtLeast, isBlackBox, rank } from '../train/oracle.js';
import { isPretrained, type Pretrained, retrainable } from '../train/pretrained.js';
import { anyRecipe, type Learner, type Recipe } from '../train/recipe.js';
import { labelsOf, samePlugin } from './labels.js';
import { checkPublished, type Published } from './published.js';

/** One seed for everything, or one for the victim (teacher, adversary, defence) and one for the attacker's student. */
export type Seed = number | { readonly victim: number; readonly student: number };

/** `n/a` cells are legitimate; an attack that could work on none of the columns is a mistake, and a compile error. */
type FitsOneOf<A, Defenses extends readonly Defense[]> =
  A extends Attack<infer Need, Ownership>
    ? Extract<Defenses[number]['exposes'], AtLeast<Need>> extends never
      ? { readonly error: 'this attack needs more access than any of the defences exposes' }
      : A
    : AnyAttack;

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
  /** What stands above the report. Default: the name. */
  readonly title?: string;
  /** A sentence or a reference (the paper's table) for the head of the report. */
  readonly about?: string;
  readonly data: DatasetPlugin;
  /** Share of the training images that is used at all, in (0, 1]; default 1. For pilots. */
  readonly fraction?: number;
  /** Share of the training images held out for choosing checkpoints and settings, in [0, 1); default 0.1. */
  readonly validation?: number;
  /**
   * Which images the matrix is about. `validation` leaves the test set untouched while settings are being chosen; with
   * `select: 'best'` its numbers flatter, since the same images chose the checkpoints.
   */
  readonly report?: 'test' | 'validation';
  /** Which checkpoint counts: after the last step (default), or the best on the held-out images. Both are recorded. */
  readonly select?: 'last' | 'best';
  readonly teacher: Learner | Pretrained;
  /** `self`: the teacher's own net and recipe. */
  readonly students: readonly (Learner | 'self')[];
  readonly defenses: Defenses;
  readonly attacks: { readonly [I in keyof Attacks]: FitsOneOf<Attacks[I], Defenses> };
  readonly pairs?: readonly Pair[];
  readonly seeds: readonly Seed[];
  /** Answers that each theft may ask of its victim, unless its attack names a number. Default: as many as it likes. */
  readonly budget?: number;
  /** Numbers of one's own beside the built-in ones, of every student and victim; adding one trains nothing again. */
  readonly metrics?: readonly Metric[];
  /** What a paper reports, shown beside the numbers of the run. */
  readonly published?: Published;
  /**
   * Why its numbers cannot be the paper's: `fewer epochs, a smaller net`. A fraction of the images and a scale of the
   * schedules are said without being named here.
   */
  readonly reduced?: string;
}

/** An experiment with its defaults filled in and its labels made. */
export interface Experiment {
  readonly name: string;
  readonly title?: string;
  readonly about: string;
  readonly data: DatasetPlugin;
  readonly fraction: number;
  readonly validation: number;
  readonly report: 'test' | 'validation';
  readonly select: 'last' | 'best';
  readonly teacher: Learner | Pretrained;
  readonly students: readonly { readonly label: string; readonly learner: Learner }[];
  readonly defenses: readonly { readonly label: string; readonly defense: Defense }[];
  readonly attacks: readonly { readonly label: string; readonly attack: AnyAttack }[];
  /** The grid's cells and the explicit pairs: which attack meets which defence, by label. */
  readonly pairings: readonly { readonly attack: string; readonly defense: string }[];
  readonly seeds: readonly { readonly label: string; readonly victim: number; readonly student: number }[];
  readonly budget?: number;
  /** Those of the user's own. */
  readonly metrics: readonly Metric[];
  readonly published?: Published;
  /** Every reason why its numbers cannot be a paper's. */
  readonly reduced?: string;
  /** The path of the file that it was read from. */
  readonly file?: string;
}

const refuse: Refusal = refusal('experiment');

const fields = Object.keys({
  ...{ name: true, title: true, about: true, data: true, fraction: true, validation: true, report: true, select: true },
  ...{ teacher: true, students: true, defenses: true, attacks: true, pairs: true, seeds: true, budget: true },
  ...{ metrics: true, published: true, reduced: true },
} satisfies Readonly<Record<keyof ExperimentSpec, true>>);

/**
 * An experiment: every attack on every defence, by every student, with every seed.
 *
 * Throws a `FailureError` of kind `experiment` that names the field: an empty list, two rows or columns of one label, a
 * number out of range, an attack or a pair that nothing exposes enough for, a published number of what is not there.
 */
export const experiment = <const Defenses extends readonly Defense[], const Attacks extends readonly unknown[]>(
  spec: ExperimentSpec<Defenses, Attacks>,
): Experiment => {
  const given = withDefaults(spec as ExperimentSpec);
  nothingElse('experiment', spec, fields);
  checkSpec(given);
  const made = madeOf(given);
  checkedOnes.add(made);
  return made;
};

const withDefaults = (spec: ExperimentSpec) => {
  const {
    about = '',
    fraction = 1,
    validation = 0.1,
    report = 'test',
    select = 'last',
    pairs = [],
    metrics = [],
  } = spec;
  return { ...spec, about, fraction, validation, report, select, pairs, metrics };
};

/** What is asked, its defaults filled in. */
type Given = ReturnType<typeof withDefaults>;

/** All attacks: those of the grid, then those of the pairs, each as often as it is named. */
const attacksIn = ({ attacks, pairs }: Given): readonly AnyAttack[] => [
  ...attacks,
  ...pairs.map(({ attack }) => attack),
];

/** All defences, likewise. */
const defensesIn = ({ defenses, pairs }: Given): readonly Defense[] => [
  ...defenses,
  ...pairs.map(({ defense }) => defense),
];

const studentsIn = ({ students, teacher }: Given): readonly Learner[] =>
  students.map((student) => (student === 'self' ? retrainable(teacher) : student));

const seedsIn = ({ seeds }: Given): readonly { readonly victim: number; readonly student: number }[] =>
  seeds.map((seed) => (typeof seed === 'object' && seed !== null ? seed : { victim: seed, student: seed }));

const seedLabel = ({ victim, student }: ReturnType<typeof seedsIn>[number]): string =>
  victim === student ? `${victim}` : `${victim}-${student}`;

/** An experiment of what was checked. Throws where two of its parts would be of one label, or a published number is of none. */
const madeOf = (given: Given): Experiment => {
  const { name, title, about, data, fraction, validation, report, select, teacher } = given;
  const { budget, metrics, published, reduced } = given;
  const attacks = eachOnce(attacksIn(given), given.attacks.length);
  const defenses = eachOnce(defensesIn(given), given.defenses.length);
  const students = studentsIn(given);
  const attackLabels = labelsOf('attacks', attacks);
  const defenseLabels = labelsOf('defenses', defenses);
  const studentLabels = labelsOf(
    'students',
    students.map(({ network, recipe, label }, i) => ({
      name: given.students[i] === 'self' ? `self (${network.name})` : network.name,
      params: { ...network.params, ...recipe },
      ...(label === undefined ? {} : { label }),
    })),
  );
  if (published !== undefined)
    checkPublished(published, { students: studentLabels, attacks: attackLabels, defenses: defenseLabels });
  const labelOf = <T extends AnyAttack | Defense>(all: readonly T[], labels: readonly string[], one: T): string =>
    labels[all.findIndex((each) => samePlugin(each, one))] as string;
  const grid = given.attacks.flatMap((attack) => given.defenses.map((defense) => ({ attack, defense })));
  const pairings = [...grid, ...given.pairs].map(({ attack, defense }) => ({
    attack: labelOf(attacks, attackLabels, attack),
    defense: labelOf(defenses, defenseLabels, defense),
  }));
  return {
    name,
    ...(title === undefined ? {} : { title }),
    about,
    data,
    fraction,
    validation,
    report,
    select,
    teacher,
    students: students.map((learner, i) => ({ label: studentLabels[i] as string, learner })),
    defenses: defenses.map((defense, i) => ({ label: defenseLabels[i] as string, defense })),
    attacks: attacks.map((attack, i) => ({ label: attackLabels[i] as string, attack })),
    pairings: pairings.filter(
      ({ attack, defense }, i) => i === pairings.findIndex((m) => m.attack === attack && m.defense === defense),
    ),
    seeds: seedsIn(given).map((seed) => ({ ...seed, label: seedLabel(seed) })),
    ...(budget === undefined ? {} : { budget }),
    metrics: metrics.map((metric) => ({ ...metric, params: metric.params ?? {} })),
    ...(published === undefined ? {} : { published }),
    ...reducedTo(reduced, fraction === 1 ? undefined : `${percentage(fraction)} of the training images`),
  };
};

/** What `experiment` made, and so has looked at. */
const checkedOnes = new WeakSet<object>();

/** The reasons for which a setting is reduced, as a field of an experiment; no field where there are none. */
export const reducedTo = (...reasons: readonly (string | undefined)[]): Pick<Experiment, 'reduced'> => {
  const given = reasons.filter((reason) => reason !== undefined && reason !== '');
  return given.length === 0 ? {} : { reduced: given.join('; ') };
};

/** The grid's rows or columns, which come first and are so many, and of the others those that are not among them. */
const eachOnce = <T extends AnyAttack | Defense>(all: readonly T[], ofGrid: number): readonly T[] =>
  all.filter((one, i) => i < ofGrid || i === all.findIndex((each) => samePlugin(each, one)));

const maybe = v.optional;

// Experiment files run without a type check, so that what the types say is looked at here as well.

/** Throws for the first field that is not as it should be. */
const checkSpec = (given: Given): void => {
  checkSettings(given);
  checkData('data', given.data);
  checkLists(given);
  checkMetrics(given.metrics);
  attacksIn(given).forEach(checkAttack);
  const defenses = defensesIn(given);
  defenses.forEach(checkDefense);
  checkTeacher(given.teacher, given.students, defenses);
  studentsIn(given).forEach((student, i) => {
    const name: unknown = student?.network?.name;
    checkLearner(`students: ${typeof name === 'string' ? name : `number ${i + 1}`}`, student);
  });
  checkAccess(given);
  checkSeeds(seedsIn(given));
};

const checkSettings = (given: Given): void => {
  const { name, title, about, data, fraction, validation, report, select, budget, reduced } = given;
  if (typeof name !== 'string' || !/^\w[\w.-]*$/.test(name)) {
    refuse(`${shown(name)} cannot be the name of a folder`, 'name', 'Use letters, digits, dots and dashes.');
  }
  checked(
    'experiment',
    {
      fraction: share,
      validation: belowOne,
      report: choice('test', 'validation'),
      select: choice('last', 'best'),
    },
    { fraction, validation, report, select },
  );
  for (const [field, value] of [
    ['report', report === 'validation'],
    ['select', select === 'best'],
  ] as const) {
    if (value && validation === 0)
      refuse('no images are held out (validation is 0)', field, 'Give validation a share.');
  }
  if (budget !== undefined) checked('experiment', { budget: wholeAtLeast(1) }, { budget });
  if (reduced !== undefined && typeof reduced !== 'string')
    refuse('it is no text', 'reduced', 'Say in what the setting is reduced.');
  checked('experiment', { about: text, title: text }, { about, title: title ?? name });
  if (typeof data?.load !== 'function') refuse('this is no data set', 'data', 'Give one, such as mnist().');
};

const checkLists = ({ students, defenses, attacks, seeds, pairs }: Given): void => {
  for (const [field, list] of Object.entries({ students, defenses, attacks, seeds })) {
    if (list !== undefined && list !== null && !Array.isArray(list))
      refuse(`it is ${shown(list)}, not a list`, field, `Give a list: [${field === 'seeds' ? '0, 1, 2' : ' … '}].`);
    if (list === undefined || list === null || list.length === 0)
      refuse('there are none', field, `Give at least one of the ${field}.`);
  }
  if (!Array.isArray(pairs as unknown) || pairs.some((each) => typeof each !== 'object' || each === null))
    refuse('it is no list of pairs', 'pairs', 'Give a list: [pair(attack, defense)].');
};

/** Whether each attack has a defence that exposes enough for it. */
const checkAccess = ({ attacks, defenses, pairs }: Given): void => {
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
    if (!defenses.some((defense) => rank[defense.exposes] >= rank[attack.needs])) {
      refuse(
        `${attack.name} needs ${attack.needs}, and no defence exposes that much`,
        'attacks',
        'Take the attack out, or add a defence that exposes more (none() exposes all).',
      );
    }
  }
};

const checkSeeds = (seeds: ReturnType<typeof seedsIn>): void => {
  for (const { victim, student } of seeds) {
    checked('seeds', { victim: wholeAtLeast(0), student: wholeAtLeast(0) }, { victim, student });
  }
  if (repeated(seeds.map(seedLabel)) !== undefined) refuse('a seed comes twice', 'seeds', 'Give each seed once.');
};

const checkLearner = (where: string, learner: Learner): void => {
  if (typeof learner?.network?.build !== 'function' || typeof learner.recipe !== 'object')
    refuse('this is no network with a recipe', where, 'Give learner(network, { epochs, batch, optimizer, schedule }).');
  checkPlugin(`${where}: network`, learner.network);
  if (learner.label !== undefined) checked(where, { label: text }, learner as { label: unknown });
  if (isPretrained(learner)) refuse('only the teacher can be pretrained', where, 'Give learner(network, recipe).');
  checkRecipe(where, learner.recipe);
};

/** A teacher, and whether it has the recipe that is asked of it. */
const checkTeacher = (
  teacher: Learner | Pretrained,
  students: readonly (Learner | 'self')[],
  defenses: readonly Defense[],
): void => {
  if (typeof teacher !== 'object' || teacher === null || !isPretrained(teacher)) {
    checkLearner('teacher', teacher);
    return;
  }
  if (typeof teacher.network?.build !== 'function')
    refuse('this is no network', 'teacher', 'Give pretrained(file, network), such as resNet(18).');
  checkPlugin('teacher: network', teacher.network);
  if (teacher.recipe !== undefined) {
    checkRecipe('teacher', teacher.recipe);
    return;
  }
  const defense = defenses.find((each) =>
    partsOf(each).some(({ protect, prepare }) => protect !== undefined || prepare !== undefined),
  );
  const asking = defense?.name ?? (students.includes('self') ? 'the student self' : undefined);
  if (asking !== undefined)
    refuse(
      `${asking} is trained by the teacher's recipe, and the pretrained teacher has none`,
      'teacher',
      'Give one: pretrained(file, network, { epochs, batch, optimizer, schedule }).',
    );
};

const checkRecipe = (where: string, recipe: Recipe): void => {
  parsed(where, anyRecipe, recipe);
  checked(`${where}: optimizer`, { init: aFunction }, recipe.optimizer as { init: unknown });
  checked(`${where}: schedule`, { scaled: maybe(aFunction) }, recipe.schedule as { scaled: unknown });
};

const checkData = (where: string, data: unknown): void => {
  checkPlugin(where, data);
  checked(where, { from: maybe(aFunction) }, data as { from: unknown });
};

/** What all plugins say of themselves. */
const checkPlugin = (where: string, plugin: unknown): void => {
  parsed(where, anyPlugin, plugin);
};

const roles: Readonly<Record<Role, string>> = {
  attack: 'an attack',
  honest: 'honest training',
  reference: 'a reference',
};

const isAttack = (attack: unknown): attack is AnyAttack =>
  typeof (attack as AnyAttack | undefined)?.steal === 'function' && hasOwn(rank, (attack as AnyAttack).needs);

/** Whether a value is one of a record's names. */
const hasOwn = (of: object, name: unknown): boolean => typeof name === 'string' && Object.hasOwn(of, name);

/** An attack's fields beside those that every plugin has. */
const attackFields = {
  data: v.pipe(
    v.variant('kind', [
      v.looseObject({ kind: v.literal('none') }),
      v.looseObject({ kind: v.literal('other'), images: anyDataset, labelled: maybe(yesOrNo) }),
      v.looseObject({
        kind: choice('unlabelled', 'labelled') as v.PicklistSchema<['unlabelled', 'labelled'], undefined>,
        fraction: share,
        how: choice('stratified', 'shuffled'),
      }),
    ]),
    v.title('labelled, unlabelled, or another ownership'),
  ),
  role: maybe(choice(...Object.keys(roles))),
  baseline: maybe(v.pipe(v.custom<AnyAttack>(isAttack), v.title('an attack, such as scratch()'))),
  synthesises: maybe(yesOrNo),
  questions: maybe(wholeAtLeast(1)),
  knows: maybe(choice('inverse', 'answers', 'chance', 'zeros')),
  pool: maybe(
    v.pipe(v.looseObject({ params: v.record(v.string(), v.unknown()), make: aFunction }), v.title('{ params, make }')),
  ),
  refuses: maybe(aFunction),
  warns: maybe(aFunction),
  scaled: maybe(aFunction),
};

export const checkAttack = (attack: AnyAttack, i: number): void => {
  if (!isAttack(attack))
    refuse(`number ${i + 1} is no attack`, 'attacks', 'Give a value such as kd(), with its brackets.');
  checkPlugin(`attacks: number ${i + 1}`, attack);
  const { name, needs, baseline } = attack;
  const role = roleOf(attack);
  const where = `attacks: ${name}`;
  checked(where, attackFields, attack as never);
  if (attack.data.kind === 'other') checkData(`${where}: images`, attack.data.images);
  if (baseline !== undefined) checkAttack(baseline, i);
  if ((role === 'attack') === (needs === 'none'))
    refuse(
      `it says that it is ${roles[role]}, and needs ${needs}`,
      where,
      "What is trained without a victim has the role 'honest' or 'reference', and nothing else has.",
    );
  if (baseline !== undefined && roleOf(baseline) === 'attack')
    refuse(`its baseline, ${baseline.name}, is an attack itself`, where, 'Give honest training, such as scratch().');
  if (attack.budget === undefined) return;
  checked(where, { budget: wholeAtLeast(1) }, { budget: attack.budget });
  if (!isBlackBox(needs))
    refuse(`it needs ${needs}, asks no queries, and has a budget of them`, where, 'Take the budget out.');
};

const isDefense = (defense: unknown): defense is Defense =>
  typeof defense === 'object' && defense !== null && hasOwn(rank, (defense as Defense).exposes);

/** A defence's fields beside those that every plugin has, and the answers, which have rules of their own. */
const defenseFields = {
  parts: maybe(v.pipe(v.array(v.custom<Defense>(isDefense)), v.minLength(1), v.title('a list of defences'))),
  adversary: maybe(anyNetwork),
  adversaryRecipe: maybe(anyRecipe),
  outliers: maybe(anyDataset),
  protect: maybe(aFunction),
  prepare: maybe(aFunction),
  preparedBy: maybe(v.pipe(v.looseObject({}), v.title('parameters'))),
  answers: maybe(v.pipe(v.looseObject({}), v.title('{ kind, answer }'))),
  preserves: maybe(choice('label', 'clean label')),
  recover: maybe(aFunction),
  scaled: maybe(aFunction),
};

export const checkDefense = (defense: Defense, i: number): void => {
  if (!isDefense(defense))
    refuse(`number ${i + 1} is no defence`, 'defenses', 'Give a value such as nasty(), with its brackets.');
  const place = `defenses: number ${i + 1}`;
  checked(place, defenseFields, defense as never);
  for (const part of [defense, ...partsOf(defense)]) {
    checkPlugin(place, part);
    checked(place, defenseFields, part as never);
    if (part.adversary !== undefined) checkPlugin(`${place}: adversary`, part.adversary);
    if (part.adversaryRecipe !== undefined) checkRecipe(`${place}: adversaryRecipe`, part.adversaryRecipe);
    if (part.outliers !== undefined) checkData(`${place}: outliers`, part.outliers);
  }
  if (defense.role !== undefined) {
    const where = `defenses: ${defense.name}`;
    checked(where, { role: choice('identity') }, { role: defense.role });
    const does = partsOf(defense).find(
      ({ protect, prepare, answers }) => protect !== undefined || prepare !== undefined || answers !== undefined,
    );
    if (does !== undefined)
      refuse(
        `it says that it defends nothing, and ${does.protect === undefined ? 'changes answers' : 'trains a teacher'}`,
        where,
        "Leave role: 'identity' to what hands the teacher on as it is.",
      );
  }
  for (const { name, answers, prepare } of partsOf(defense)) checkAnswers(name, answers, prepare);
  if (wrappersOf(defense).length > 0 && rank[defense.exposes] > rank.probabilities) {
    refuse(
      `${defense.name} changes answers and says that it exposes ${defense.exposes}`,
      'defenses',
      'What changes answers exposes probabilities or labels.',
    );
  }
};

/** Whether a defence keeps what it says of its answers. */
const checkAnswers = (name: string, answers: Answers | undefined, prepare: unknown): void => {
  if (answers === undefined) {
    if (prepare !== undefined)
      refuse(`${name} prepares for answers that it does not give`, 'defenses', 'Give it answers, or take prepare out.');
    return;
  }
  if (typeof answers.answer !== 'function' || !answerKinds.includes(answers.kind))
    refuse(`the answers of ${name} are none`, 'defenses', `Give { kind: ${answerKinds.join(' | ')}, answer }.`);
  if (answers.kind === 'stateful' && answers.init === undefined)
    refuse(`${name} says that it is stateful, and keeps no state`, 'defenses', 'Give answers.init, or another kind.');
  if (answers.kind !== 'stateful' && answers.init !== undefined)
    refuse(`${name} says that it is ${answers.kind}, and keeps a state`, 'defenses', "Declare kind: 'stateful'.");
};

const answerKinds: readonly string[] = ['pure', 'random', 'stateful'];

const checkMetrics = (own: readonly Metric[]): void => {
  if (!Array.isArray(own)) refuse('it is no list', 'metrics', 'Give a list of metrics: [ … ].');
  const taken = [...builtIn.map(({ name }) => name), ...otherColumns];
  own.forEach((metric, i) => {
    const { name, title, unit, better, describe, only, wants, source, of } = (metric ?? {}) as Partial<Metric>;
    if (typeof name !== 'string' || !/^[a-z][a-zA-Z0-9]*$/.test(name))
      refuse(`number ${i + 1} has no name of letters and digits`, 'metrics', 'Give one such as brierScore.');
    const where = `metrics: ${name}`;
    if (typeof of !== 'function')
      refuse('its `of` is no function', where, 'Give one: of: ({ logits, labels }) => a number.');
    checked(where, { unit: choice(...units), better: choice(...betters) }, { unit, better });
    if (only !== undefined) checked(where, { only: choice('student', 'victim') }, { only });
    if (wants !== undefined) checked(where, { wants: choice('views') }, { wants });
    for (const [field, text] of Object.entries({ describe, title: title ?? name }))
      if (typeof text !== 'string' || text.trim() === '')
        refuse(`it has no ${field}`, where, 'Say in a sentence what it tells, and how to read it.');
    if (typeof source !== 'string')
      refuse('it does not say in which file it is', where, 'Give source: import.meta.url.');
    if (taken.includes(name as string))
      refuse(`a number of the name ${name} is there already`, 'metrics', 'Give each metric a name of its own.');
    taken.push(name as string);
  });
};

/** The label of the column that defends nothing, where the experiment has one. */
export const undefendedOf = ({ defenses }: Pick<Experiment, 'defenses'>): string | undefined =>
  defenses.find(({ defense }) => defense.role === 'identity')?.label;

/** Whether `experiment` made a value. One made by hand, or a copy with other fields, nobody has looked at. */
export const isExperiment = (value: unknown): value is Experiment =>
  typeof value === 'object' && value !== null && checkedOnes.has(value);

/** The experiment, if it has all of some seeds. */
export const havingSeeds = (of: Experiment, labels: readonly string[]): Result<Experiment> => {
  const unknown = labels.find((label) => !of.seeds.some((seed) => seed.label === label));
  return unknown === undefined
    ? E.right(of)
    : E.left(
        failure('usage', `the experiment has no seed ${unknown}`, {
          where: '--seed',
          remedy: `It has: ${of.seeds.map(({ label }) => label).join(', ')}.`,
        }),
      );
};

/** The same experiment with another data path. */
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
