import { describe, expect, test } from 'vitest';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { jbda } from '../../src/attacks/jbda.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import { synthetic } from '../../src/data/synthetic.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { ini } from '../../src/defenses/ini.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { havingSeeds, isExperiment, pair } from '../../src/experiment/experiment.js';
import {
  describePublished,
  type Published,
  publishedStudent,
  publishedTeacher,
} from '../../src/experiment/published.js';
import { adam } from '../../src/train/optimizers.js';
import { constant } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { learnerOf, made as madeWith, tiny } from '../run/helpers.js';

const made: typeof madeWith = (changes = {}) => madeWith({ attacks: [scratch()], ...changes });

const metric = {
  unit: 'number',
  better: 'neither',
  describe: 'A number.',
  source: import.meta.url,
  of: () => 1,
};

/** What is said of a value: its kind, and all of its text. */
const said = (run: () => unknown): string => {
  const { kind, what, where, remedy } = refusal(run);
  expect(kind).toBe('experiment');
  expect(remedy, 'a remedy').toBeTruthy();
  return `${where}: ${what}. ${remedy}`;
};

test('an experiment in order has its defaults filled in', () => {
  const of = made();
  expect(isExperiment(of)).toBe(true);
  expect(of).toMatchObject({ fraction: 1, validation: 0.1, report: 'test', select: 'last', about: '' });
  expect(of.pairings).toEqual([{ attack: 'scratch', defense: 'none' }]);
  expect(of.seeds).toEqual([{ label: '0', victim: 0, student: 0 }]);
});

describe('refused, with the field, the value and what to do', () => {
  test.each(['attacks', 'defenses', 'students', 'seeds'] as const)('no %s', (field) => {
    expect(said(() => made({ [field]: [] }))).toMatch(new RegExp(`^${field}: there are none.*Give at least one`));
    expect(said(() => made({ [field]: undefined }))).toMatch(new RegExp(`^${field}: there are none`));
    expect(said(() => made({ [field]: 3 }))).toMatch(new RegExp(`^${field}: it is 3, not a list.*Give a list`));
  });

  test.each([
    ['fraction', 0, 'above 0 and at most 1'],
    ['fraction', 1.5, 'above 0 and at most 1'],
    ['fraction', Number.NaN, 'above 0 and at most 1'],
    ['fraction', '0.5', 'above 0 and at most 1'],
    ['validation', 1, 'at least 0 and below 1'],
    ['validation', -0.1, 'at least 0 and below 1'],
    ['validation', Number.POSITIVE_INFINITY, 'at least 0 and below 1'],
    ['validation', '0.1', 'at least 0 and below 1'],
    ['report', 'tests', 'test or validation'],
    ['select', 'first', 'last or best'],
  ])('%s %s', (field, value, remedy) => {
    const text = said(() => made({ [field]: value }));
    expect(text).toContain(`${field} is ${typeof value === 'string' ? JSON.stringify(value) : value}`);
    expect(text).toContain(remedy);
  });

  test.each([
    [{ teachers: { nasty: 95 } }, 'no nasty among its defenses. It has: none'],
    [{ teachers: { none: 950 } }, '950 is no percentage'],
    [{ students: { huge: {} } }, 'no huge among its students. It has: tiny'],
    [{ students: { tiny: { kd: 90 } } }, 'no kd among its attacks. It has: scratch'],
    [{ students: { tiny: { scratch: { nasty: 90 } } } }, 'no nasty among its defenses'],
    [{ students: { tiny: { scratch: Number.NaN } } }, 'NaN is no percentage'],
    [{ source: '' }, 'it has no source'],
    [{ tolerance: -1 }, 'tolerance is -1'],
    [{ tolerance: '1' }, 'tolerance is "1"'],
    [{ provenance: 'checked' }, 'provenance is "checked"'],
  ])('published numbers of what is not there: %j', (wrong, says) => {
    const published = { source: 'a table', provenance: 'read', ...wrong } as Published;
    expect(said(() => made({ published }))).toMatch(new RegExp(`^published: .*${says}`));
  });

  test.each(['a/b', '../x', '', '.hidden', 'a b', undefined, 7])('the name %s', (name) => {
    expect(said(() => made({ name }))).toMatch(/^name: .*cannot be the name of a folder.*letters, digits/);
  });

  test.each([
    [{ batch: 1 }, 'batch is 1', 'at least 2'],
    [{ batch: '64' as never }, 'batch is "64"', 'at least 2'],
    [{ epochs: 0 }, 'epochs is 0', 'at least 1'],
    [{ epochs: 1.5 }, 'epochs is 1.5', 'at least 1'],
    [{ epochs: Number.NaN }, 'epochs is NaN', 'at least 1'],
    [{ epoch: 5 } as never, 'epoch is none of its options', 'Correct the name'],
    [{ optimizer: { ...adam(), source: undefined } as never }, 'source is undefined', 'import.meta.url'],
    [{ optimizer: { ...adam(), params: null } as never }, 'params is null', 'a record'],
    [{ optimizer: undefined as never }, 'this is no optimiser', 'adam()'],
    [{ schedule: adam as never }, 'this is no schedule', 'constant(1e-3)'],
  ])('a recipe with %o', (changes, what, remedy) => {
    const teacher = said(() => made({ teacher: learnerOf(tiny(), changes) }));
    expect(teacher).toMatch(/^teacher: /);
    expect(teacher).toContain(what);
    expect(teacher).toContain(remedy);
    expect(said(() => made({ students: [learnerOf(tiny(), changes)] }))).toMatch(/^students: tiny: /);
  });

  test.each([
    ['an attack', (source: unknown) => ({ attacks: [scratch(), { ...kd(), source }] })],
    ['a defence', (source: unknown) => ({ defenses: [{ ...nasty(), source }] })],
    ['a network', (source: unknown) => ({ teacher: learnerOf({ ...tiny(), source } as never) })],
    ["a student's network", (source: unknown) => ({ students: [learnerOf({ ...tiny(), source } as never)] })],
    [
      'an optimiser',
      (source: unknown) => ({ teacher: learnerOf(tiny(), { optimizer: { ...adam(), source } as never }) }),
    ],
    [
      'a schedule',
      (source: unknown) => ({ teacher: learnerOf(tiny(), { schedule: { ...constant(1), source } as never }) }),
    ],
    ['a data set', (source: unknown) => ({ data: { ...synthetic(), source } })],
    [
      "an attack's optimiser",
      (source: unknown) => ({ attacks: [scratch(), jbda({ optimizer: { ...adam(), source } as never })] }),
    ],
    [
      "an attack's schedule",
      (source: unknown) => ({ attacks: [scratch(), jbda({ schedule: { ...constant(1), source } as never })] }),
    ],
    [
      "a defence's network",
      (source: unknown) => ({ defenses: [none(), grad2({ surrogate: { ...tiny(), source } as never })] }),
    ],
    [
      "a defence's images",
      (source: unknown) => ({ defenses: [none(), ini({ outliers: { ...synthetic(), source } as never })] }),
    ],
    [
      'a defence within another',
      (source: unknown) => ({ defenses: [none(), compose({ ...nasty(), source } as never, rounding(2))] }),
    ],
  ])('%s without its module, by which results of an older version are known', (_, changes) => {
    for (const source of [undefined, 7])
      expect(said(() => made(changes(source) as never))).toContain('import.meta.url');
  });

  test.each([[-1], [0.5], ['0'], [Number.NaN], [{ victim: 0 }], [null]])('the seed %o', (seed) => {
    expect(said(() => made({ seeds: [0, seed] }))).toMatch(/^seeds: (victim|student) is .*whole number of at least 0/);
  });

  test('a seed that comes twice', () => {
    expect(said(() => made({ seeds: [1, { victim: 1, student: 1 }] }))).toMatch(/^seeds: a seed comes twice/);
    expect(made({ seeds: [1, { victim: 1, student: 2 }] }).seeds.map(({ label }) => label)).toEqual(['1', '1-2']);
  });

  test('numbers and words of attacks', () => {
    expect(said(() => kd({ temperature: 0 }))).toBe('kd: temperature is 0. Give a number above 0.');
    expect(said(() => kd({ temperature: Number.NaN }))).toContain('temperature is NaN');
    expect(said(() => kd({ temperature: '4' as never }))).toContain('temperature is "4"');
    expect(said(() => kd({ alpha: 1.01 }))).toBe('kd: alpha is 1.01. Give a number from 0 to 1.');
    expect(said(() => kd({ alpha: -0.1 }))).toContain('alpha is -0.1');
    expect(said(() => partialKd({ fraction: 0 }))).toBe(
      'partialKd: fraction is 0. Give a number above 0 and at most 1.',
    );
    expect(said(() => partialKd({ fraction: 2, alpha: 0.5 }))).toContain('fraction is 2');
    expect(said(() => partialKd({} as never))).toContain('fraction is undefined');
    expect(said(() => partialKd({ fraction: 0.5, steps: 'equal' as never }))).toContain('steps is "equal"');
    expect(said(() => scratch({ how: 'random' as never }))).toContain('how is "random"');
    expect(said(() => labelSmoothing({ epsilon: 0 }))).toContain('epsilon is 0');
  });

  test('numbers and words of defences', () => {
    expect(said(() => nasty({ omega: -0.01 }))).toBe('nasty: omega is -0.01. Give a number of at least 0.');
    expect(said(() => nasty({ omega: Number.NaN }))).toContain('omega is NaN');
    expect(said(() => nasty({ temperature: 0 }))).toContain('temperature is 0');
    expect(said(() => nasty({ clipNorm: 0 }))).toContain('clipNorm is 0');
    expect(said(() => nasty({ warmUpEpochs: -1 }))).toContain('warmUpEpochs is -1');
    expect(said(() => nasty({ initFrom: 'zero' as never }))).toContain('initFrom is "zero"');
    expect(said(() => rounding(1.5))).toContain('digits is 1.5');
    expect(said(() => topK(0))).toContain('k is 0');
  });

  test('an option that nobody reads: the file runs without a type check', () => {
    expect(said(() => kd({ temprature: 20 } as never))).toMatch(
      /^kd: temprature is none of its options\. Correct the name, or take it out: it has temperature, alpha, /,
    );
    expect(said(() => partialKd({ fraction: 0.5, step: 'same' } as never))).toContain('step is none');
    expect(said(() => scratch({ fractoin: 0.5 } as never))).toContain('fractoin is none');
    expect(said(() => labelSmoothing({ eps: 0.1 } as never))).toContain('eps is none');
    expect(said(() => nasty({ omgea: 0.1 } as never))).toContain('omgea is none');
    expect(said(() => made({ other: 0 }))).toMatch(
      /^experiment: other is none of its options.*: it has name, .*, attacks, /,
    );
  });

  test('a plugin without its brackets, and what is none at all', () => {
    expect(said(() => made({ attacks: [scratch(), kd] }))).toMatch(/^attacks: number 2 is no attack.*brackets/);
    expect(said(() => made({ attacks: [null] }))).toContain('number 1 is no attack');
    expect(said(() => made({ defenses: [nasty] }))).toMatch(/^defenses: number 1 is no defence.*brackets/);
    expect(said(() => made({ teacher: tiny() }))).toMatch(/^teacher: this is no network with a recipe/);
    expect(said(() => made({ students: ['selfie'] }))).toMatch(/^students: number 1: this is no network/);
    expect(said(() => made({ data: 'mnist' }))).toMatch(/^data: this is no data set/);
  });

  test('choosing by held-out images where none are held out', () => {
    expect(said(() => made({ validation: 0, select: 'best' }))).toMatch(/^select: no images are held out/);
    expect(said(() => made({ validation: 0, report: 'validation' }))).toMatch(/^report: no images are held out/);
  });

  test('an attack that no column exposes enough for', () => {
    expect(said(() => made({ attacks: [hardLabel(), kd()], defenses: [labelOnly()] }))).toBe(
      'attacks: kd needs probabilities, and no defence exposes that much. Take the attack out, or add a defence that exposes more (none() exposes all).',
    );
  });

  test('an explicit pair whose attack needs more than its defence exposes', () => {
    const pairs = [{ attack: kd(), defense: labelOnly() }];
    expect(said(() => made({ pairs }))).toMatch(/^pairs: kd needs probabilities, and labelOnly exposes label/);
  });

  test('a wrapper that says it exposes weights', () => {
    const leaky = { ...rounding(2), name: 'leaky', exposes: 'weights' };
    expect(said(() => made({ defenses: [leaky] }))).toMatch(/^defenses: leaky changes answers.*exposes weights/);
  });

  test('metrics that are none, and two of one name', () => {
    const own = { ...metric, name: 'own' };
    const refused = (...metrics: readonly unknown[]) => said(() => made({ metrics }));
    expect(made({ metrics: [own] }).metrics).toEqual([{ ...own, params: {} }]);
    expect(made().metrics).toEqual([]);
    expect(refused(own, own)).toMatch(/^metrics: a number of the name own is there already.*name of its own/);
    expect(refused({ ...own, name: 'accuracy' })).toContain('a number of the name accuracy is there already');
    expect(refused({ ...own, name: 'queries' })).toContain('a number of the name queries is there already');
    expect(refused({ ...own, of: 0.5 })).toMatch(/^metrics: own: its `of` is no function/);
    expect(refused({ ...own, unit: 'inches' })).toMatch(/^metrics: own: unit is "inches".*share/);
    expect(refused({ ...own, better: undefined })).toMatch(/^metrics: own: better is undefined.*higher/);
    expect(refused({ ...own, only: 'teacher' })).toMatch(/^metrics: own: only is "teacher"/);
    expect(refused({ ...own, describe: ' ' })).toMatch(/^metrics: own: it has no describe/);
    expect(refused({ ...own, source: undefined })).toMatch(/^metrics: own: .*in which file.*import\.meta\.url/);
    expect(refused({ ...own, name: 'my metric' })).toMatch(/^metrics: number 1 has no name of letters/);
    expect(refused(null)).toMatch(/^metrics: number 1 has no name/);
    expect(said(() => made({ metrics: own }))).toMatch(/^metrics: it is no list/);
  });

  test('an attack that lies about its role', () => {
    const attack = (changes: object) => said(() => made({ attacks: [scratch(), { ...kd(), ...changes }] }));
    expect(attack({ needs: 'none' })).toMatch(/^attacks: kd: it says that it is an attack, and needs none\..*'honest'/);
    expect(attack({ role: 'honest' })).toMatch(/^attacks: kd: .*honest training, and needs probabilities/);
    expect(attack({ role: 'reference' })).toMatch(/^attacks: kd: .*a reference, and needs probabilities/);
    expect(attack({ role: 'thief' })).toMatch(/^attacks: kd: role is "thief".*attack, honest or reference/);
    expect(attack({ baseline: hardLabel() })).toMatch(/^attacks: kd: its baseline, hardLabel, is an attack itself/);
    expect(made({ attacks: [{ ...kd(), role: 'attack' }] }).attacks).toHaveLength(1);
  });

  test('a defence that lies about its role', () => {
    const role = 'identity';
    expect(said(() => made({ defenses: [{ ...nasty(), role }] }))).toMatch(
      /^defenses: nasty: it says that it defends nothing, and trains a teacher/,
    );
    expect(said(() => made({ defenses: [{ ...rounding(2), role }] }))).toMatch(
      /^defenses: rounding: .*changes answers/,
    );
    expect(said(() => made({ defenses: [{ ...compose(nasty(), rounding(2)), role }] }))).toContain('trains a teacher');
    expect(said(() => made({ defenses: [{ ...nasty(), role: 'none' }] }))).toMatch(/^defenses: nasty: role is "none"/);
    expect(made({ defenses: [{ ...none(), name: 'nothing', params: {} }, nasty()] }).defenses).toHaveLength(2);
  });
});

describe('labels', () => {
  const attacks = (...all: readonly AnyAttack[]) => made({ attacks: all }).attacks.map(({ label }) => label);
  const defenses = (...all: readonly Defense[]) => made({ defenses: all }).defenses.map(({ label }) => label);

  test('are the name, and the parameters that differ', () => {
    expect(attacks(scratch(), kd())).toEqual(['scratch', 'kd']);
    expect(attacks(kd(), kd({ temperature: 20 }))).toEqual(['kd(temperature 4)', 'kd(temperature 20)']);
    expect(attacks(kd(), kd({ alpha: 0.5 }), kd({ temperature: 20 }))).toEqual([
      'kd(temperature 4, alpha 0.9)',
      'kd(temperature 4, alpha 0.5)',
      'kd(temperature 20, alpha 0.9)',
    ]);
    expect(defenses(nasty(), nasty({ adversary: tiny(3) }))).toEqual(['nasty', 'nasty(adversary tiny, hidden 3)']);
    expect(defenses(compose(nasty(), rounding(2)), compose(nasty(), rounding(3)))).toEqual([
      'nasty + rounding(digits 2)',
      'nasty + rounding(digits 3)',
    ]);
  });

  test('may be given', () => {
    expect(attacks(kd({ label: 'mine' }), kd())).toEqual(['mine', 'kd']);
    expect(attacks({ ...hardLabel(), label: 'hard' })).toEqual(['hard']);
  });

  test.each(['a\x1b[31mb', 'two\nlines', '\u202eright to left'])('%j is refused: it steers a terminal', (label) => {
    expect(said(() => made({ attacks: [scratch(), kd({ label })] }))).toMatch(
      /^attacks: the label .*(\\x1b|\\n|\\u202e)/,
    );
  });

  test('students differ by their nets, by their recipes, or by the labels given', () => {
    const students = (...all: readonly unknown[]) => made({ students: all }).students.map(({ label }) => label);
    expect(students(learnerOf(tiny(3)), learnerOf(tiny(4)))).toEqual(['tiny(hidden 3)', 'tiny(hidden 4)']);
    expect(students(learnerOf(tiny(), { epochs: 2 }), learnerOf(tiny(), { epochs: 3 }))).toEqual([
      'tiny(epochs 2)',
      'tiny(epochs 3)',
    ]);
    expect(students('self', learnerOf())).toEqual(['self (tiny)', 'tiny']);
    expect(students({ ...learnerOf(), label: 'one' }, learnerOf())).toEqual(['one', 'tiny']);
  });

  test.each([
    ['attacks', [kd(), kd()]],
    ['attacks', [kd({ label: 'a' }), hardLabel(), scratch({ label: 'a' })]],
    ['defenses', [none(), none()]],
    ['students', [learnerOf(), learnerOf()]],
    ['students', ['self', 'self']],
  ])('two %s of one label are refused', (field, all) => {
    expect(said(() => made({ [field]: all }))).toMatch(
      new RegExp(`^${field}: two of them are called .*give each a label`),
    );
  });

  test('labels that differ in capitals alone are refused: on some disks they are one folder', () => {
    expect(said(() => made({ attacks: [kd({ label: 'Mine' }), hardLabel({ label: 'mine' })] }))).toMatch(
      /^attacks: Mine and mine differ only in capitals/,
    );
  });
});

describe('pairs', () => {
  test('add their rows and columns beside the grid', () => {
    const of = made({ pairs: [pair(kd(), rounding(2))] });
    expect(of.attacks.map(({ label }) => label)).toEqual(['scratch', 'kd']);
    expect(of.defenses.map(({ label }) => label)).toEqual(['none', 'rounding']);
    expect(of.pairings).toEqual([
      { attack: 'scratch', defense: 'none' },
      { attack: 'kd', defense: 'rounding' },
    ]);
  });

  test('that name a row or a column of the grid again mean that one, and no cell comes twice', () => {
    const of = made({ defenses: [none(), nasty()], pairs: [pair(kd(), nasty()), pair(scratch(), none())] });
    expect(of.defenses.map(({ label }) => label)).toEqual(['none', 'nasty']);
    expect(of.pairings).toEqual([
      { attack: 'scratch', defense: 'none' },
      { attack: 'scratch', defense: 'nasty' },
      { attack: 'kd', defense: 'nasty' },
    ]);
  });

  test('that name another of the same name and parameters, with other functions, need a label for it', () => {
    const steal = () => Promise.reject(new Error('never'));
    const other = { ...kd(), steal } as never as ReturnType<typeof kd>;
    const paired = (attack: typeof other) => made({ attacks: [kd()], pairs: [pair(attack, nasty())] });
    expect(said(() => paired(other))).toMatch(/^attacks: two of them are called kd\. .*a label of its own/);
    expect(paired({ ...other, label: 'mine' }).pairings).toEqual([
      { attack: 'kd', defense: 'none' },
      { attack: 'mine', defense: 'nasty' },
    ]);
    // Made once it is one. Made twice, what each of them was given shows nowhere.
    const mine = () =>
      ({ ...kd(), name: 'mine', steal: () => Promise.reject(new Error('never')) }) as never as typeof other;
    const one = mine();
    expect(made({ attacks: [one], pairs: [pair(one, nasty())] }).attacks).toHaveLength(1);
    expect(said(() => made({ attacks: [one], pairs: [pair(mine(), nasty())] }))).toMatch(/two of them are called mine/);
  });
});

test('seeds that it has, and one that it has not', () => {
  const of = made({ seeds: [0, 1, { victim: 1, student: 2 }] });
  expect(havingSeeds(of, ['1-2'])).toEqual({ _tag: 'Right', right: of });
  expect(havingSeeds(of, ['7'])).toMatchObject({
    _tag: 'Left',
    left: { what: 'the experiment has no seed 7', remedy: 'It has: 0, 1, 1-2.' },
  });
});

test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty'])('%s is a label like any other', (label) => {
  const published: Published = { source: 'Table 1', provenance: 'read', teachers: {}, students: { tiny: {} } };
  expect(publishedTeacher(published, label)).toBe(undefined);
  for (const [attack, student] of [
    ['kd', label],
    [label, 'tiny'],
  ] as const)
    expect(publishedStudent(published, { student, attack, defense: 'none' })).toBe(undefined);
  expect(said(() => made({ attacks: [{ ...kd(), needs: label }] }))).toMatch(/^attacks: number 1 is no attack/);
  expect(said(() => made({ defenses: [{ ...none(), exposes: label }] }))).toMatch(/^defenses: number 1 is no defence/);
});

test('published numbers are found by their labels, and their provenance is said', () => {
  const published: Published = {
    source: 'Table 1',
    provenance: 'recalled',
    teachers: { none: 95 },
    students: { tiny: { scratch: 90.5, kd: { none: 92 } } },
  };
  const at = (attack: string, defense: string) => publishedStudent(published, { student: 'tiny', attack, defense });
  expect([at('scratch', 'none'), at('scratch', 'nasty'), at('kd', 'none'), at('kd', 'nasty')]).toEqual([
    0.905,
    0.905,
    0.92,
    undefined,
  ]);
  expect(describePublished(published)).toBe('Table 1; quoted from memory, unverified');
  expect(describePublished({ ...published, provenance: 'read', note: 'one seed' })).toBe('Table 1; one seed');
});
