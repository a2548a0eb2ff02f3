import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { askingAgain } from '../../src/attacks/asking-again.js';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { completedKd } from '../../src/attacks/completed-kd.js';
import { dist } from '../../src/attacks/dist.js';
import { fitNet } from '../../src/attacks/fit-net.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { inverseKd } from '../../src/attacks/inverse-kd.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { knockoff } from '../../src/attacks/knockoff.js';
import { bayesKd } from '../../src/attacks/recovery.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import { skeptical } from '../../src/attacks/skeptical.js';
import { transfer } from '../../src/attacks/transfer.js';
import { adaptiveMisinformation } from '../../src/defenses/adaptive-misinformation.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import { antidistillation } from '../../src/defenses/antidistillation.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { defineDefense } from '../../src/defenses/define.js';
import { gaussianNoise } from '../../src/defenses/gaussian-noise.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { keepArgmax } from '../../src/defenses/keep-argmax.js';
import { misleader } from '../../src/defenses/misleader.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { reversedLogits } from '../../src/defenses/stingy.js';
import type { Facts } from '../../src/experiment/facts.js';
import { type Code, type Source, sourcesIn } from '../../src/experiment/identity.js';
import { type Plan, plan, plannedValues } from '../../src/experiment/plan.js';
import { ofSeeds, selected } from '../../src/experiment/select.js';
import { makesNetwork, type Stage, trains } from '../../src/experiment/stage.js';
import { whyStale } from '../../src/experiment/stale.js';
import { leNet5 } from '../../src/models/lenet.js';
import type { NetworkPlugin } from '../../src/models/network.js';
import { adam, type Optimizer, sgd } from '../../src/train/optimizers.js';
import type { Answers } from '../../src/train/oracle.js';
import type { Recipe } from '../../src/train/recipe.js';
import { constant, cosine, multiStep, type Schedule } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { dataOf, learnerOf, made, recipe, thirds, tiny } from '../run/helpers.js';

/** Each module's code is known by its name, but for those that are said to have been edited. */
const code = (edited: Readonly<Record<string, string>> = {}): Code => ({
  modules: {
    ...new Map<string, Source>(),
    get: (url: string) => {
      const name = url.slice(url.lastIndexOf('/') + 1);
      return { hash: edited[name] ?? name, files: {} };
    },
  },
});

const facts: Facts = {
  data: thirds(),
  others: new Map(),
  code: code(),
  harness: { training: 'training 1', measuring: 'measuring 1' },
  engine: 'tensorflow-cpu',
};

const base = {
  defenses: [none(), nasty(), labelOnly(), compose(nasty(), rounding(2))],
  attacks: [scratch(), kd(), partialKd({ fraction: 0.5 }), hardLabel()],
};
const planOf = (changes: Parameters<typeof made>[0] = {}, world: Partial<Facts> = {}): Plan =>
  plan(made({ ...base, ...changes }), { ...facts, ...world });

test('an attack is not tried where it needs chance, an inverse or a way to imitate, and there is none', () => {
  const { cells } = planOf({
    defenses: [none(), rounding(2), gaussianNoise(), reversedLogits()],
    attacks: [scratch(), askingAgain(), inverseKd(), bayesKd()],
  });
  const tried = (attack: string) => cells.filter((cell) => cell.attack === attack && cell.stages).map((c) => c.defense);
  expect(tried('askingAgain')).toEqual(['gaussianNoise']);
  expect(tried('inverseKd')).toEqual(['reversedLogits']);
  expect(tried('bayesKd')).toEqual(['rounding', 'gaussianNoise', 'reversedLogits']);
  expect(cells.find(({ attack, defense }) => attack === 'askingAgain' && defense === 'rounding')?.reason).toBe(
    'no chance in the answers of rounding is known',
  );
});

test('none among several defences changes nothing: every stage is the one without it', () => {
  const alone = [nasty(), rounding(2), compose(nasty(), rounding(2))];
  const composed = alone.map((defense, i) => (i % 2 === 0 ? compose(none(), defense) : compose(defense, none())));
  const attacks = [scratch(), kd(), hardLabel()];
  const stagesOf = ({ cells, victims }: Plan) =>
    JSON.stringify([
      cells.map(({ stages }) => stages),
      victims.map(({ train, answer, measure }) => [train, answer, measure]),
    ]);
  expect(stagesOf(planOf({ defenses: composed, attacks }))).toBe(stagesOf(planOf({ defenses: alone, attacks })));
});

test('two functions of the same text are refused where they would be one stage', () => {
  const mine = (temperature: number, label: string) => ({
    ...kd(),
    label,
    steal: (...[victim, learner, context]: Parameters<ReturnType<typeof kd>['steal']>) =>
      kd({ temperature }).steal(victim, learner, context),
  });
  expect(refusal(() => planOf({ attacks: [scratch(), mine(1, 'cool'), mine(20, 'hot')] }))).toMatchObject({
    what: expect.stringContaining('two functions of the same text'),
    where: 'kd: steal',
  });
  // One function is one, wherever it is used, and so are two whose parameters tell them apart.
  const cool = mine(1, 'cool');
  const told = (temperature: number) => ({ ...mine(temperature, `at ${temperature}`), params: { temperature } });
  const { stages } = planOf({ attacks: [scratch(), cool, { ...cool, label: 'again' }, told(1), told(20)] });
  const labels = stages.filter(steals('kd')).map(({ label }) => label);
  for (const each of ['cool', 'at 1', 'at 20']) expect(labels).toContainEqual(expect.stringContaining(`/${each}`));
  expect(labels).not.toContainEqual(expect.stringContaining('/again'));
});

test('declarations of the same text are refused where they would be one stage', () => {
  const rounded = (digits: number) =>
    defineDefense({
      ...{ name: 'rounded', source: import.meta.url, about: 'Forgets to say by an option what it was given.' },
      exposes: 'probabilities',
      make: () => ({
        answers: { kind: 'pure', answer: (query) => (rounding(digits).answers as Answers).answer(query) },
      }),
    });
  const coarse = rounded(1);
  expect(
    refusal(() => planOf({ defenses: [none(), coarse({ label: 'coarse' }), rounded(3)({ label: 'fine' })] })),
  ).toMatchObject({ what: expect.stringContaining('two functions of the same text'), where: 'rounded: make' });
  const { stages } = planOf({ defenses: [none(), coarse({ label: 'coarse' }), coarse({ label: 'again' })] });
  expect(stages.filter(steals('kd'))).toHaveLength(2);
});

describe('functions of the same text in what stages are made of', () => {
  /** Nets, schedules and optimisers that forgot to say by a parameter what they were given. */
  const net = (hidden: number): NetworkPlugin => ({
    ...{ name: 'mine', params: {}, source: import.meta.url },
    build: (input, classes) => tiny(hidden).build(input, classes),
  });
  const rate = (value: number): Schedule => ({ ...constant(0.1), at: () => value });
  const rule = (decay: number): Optimizer => ({
    ...sgd(),
    init: (variables) => sgd({ weightDecay: decay }).init(variables),
  });
  const labelled = (network: NetworkPlugin, label: string, changes: Partial<Recipe> = {}) => ({
    ...learnerOf(network, changes),
    label,
  });
  const one = net(3);
  const other = kd({ temperature: 20 });
  const mine = (temperature: number) => ({
    ...kd(),
    steal: (...[victim, learner, context]: Parameters<typeof other.steal>) =>
      kd({ temperature }).steal(victim, learner, context),
  });

  test.each([
    ['two students', { students: [labelled(net(3), 'a'), labelled(net(5), 'b')] }, 'mine: build'],
    [
      'two schedules',
      { students: [labelled(one, 'a', { schedule: rate(0.1) }), labelled(one, 'b', { schedule: rate(0.2) })] },
      'constant: at',
    ],
    [
      'two optimisers',
      { students: [labelled(one, 'a', { optimizer: rule(0) }), labelled(one, 'b', { optimizer: rule(0.1) })] },
      'sgd: init',
    ],
    [
      'two adversaries',
      {
        defenses: [
          { ...nasty({ adversary: net(3) }), label: 'a' },
          { ...nasty({ adversary: net(5) }), label: 'b' },
        ],
        attacks: [scratch()],
      },
      'mine: build',
    ],
  ])('are refused: of %s', (_, changes, where) => {
    expect(refusal(() => planOf(changes))).toMatchObject({
      what: expect.stringContaining('two functions of the same text'),
      where,
    });
  });

  test('are another plugin’s where a pair names one of the grid', () => {
    const grid = mine(1);
    const pairOf = (attack: AnyAttack) => planOf({ attacks: [scratch(), grid], pairs: [{ attack, defense: nasty() }] });
    expect(() => pairOf(grid)).not.toThrow();
    expect(refusal(() => pairOf(mine(20)))).toMatchObject({ what: expect.stringContaining('called kd') });
  });
});

test('a bound function is refused, of which there is no text', () => {
  const bound = { ...kd(), steal: kd().steal.bind(undefined) };
  expect(refusal(() => planOf({ attacks: [scratch(), bound] }))).toMatchObject({
    what: expect.stringContaining('bound'),
    where: 'steal',
  });
});

const labelsOf = (stages: readonly Stage[]): string[] => stages.map(({ label }) => label).sort();
const idsOf = ({ stages }: Plan): string[] => stages.map(({ id }) => id).sort();
const stage = ({ stages }: Plan, label: string): Stage => {
  const found = stages.find((each) => each.label === label);
  if (found === undefined) throw new Error(`no stage ${label} among ${labelsOf(stages).join('\n')}`);
  return found;
};
const cell = ({ cells }: Plan, attack: string, defense: string) =>
  cells.find((each) => each.attack === attack && each.defense === defense);

/** The stages that hold of a plan, and all that take from them. */
const dependents = ({ stages }: Plan, holds: (stage: Stage) => boolean): Stage[] => {
  const ids = new Set<string>();
  for (const each of stages) if (holds(each) || Object.values(each.inputs).some((id) => ids.has(id))) ids.add(each.id);
  return stages.filter(({ id }) => ids.has(id));
};

const steals = (name: string) => (each: Stage) => each.work.kind === 'steal' && each.work.attack.name === name;
/** Stages that ask a victim through what changes its answers. */
const wrapped = ({ work }: Stage): boolean =>
  (work.kind === 'steal' && work.wrappers.length > 0) || work.kind === 'answer';
const is =
  (...kinds: readonly Stage['work']['kind'][]) =>
  (each: Stage) =>
    kinds.includes(each.work.kind);

describe('kinds of stages', () => {
  const kinds = [
    'teacher',
    'import',
    'protect',
    'prepare',
    'steal',
    'answer',
    'evaluate',
    'inspect',
    'measure',
  ] as const;
  const those = (are: typeof trains) => kinds.filter((kind) => are({ kind }));

  test('that train a network leave one, and so does the import of a pretrained one', () => {
    expect(those(trains)).toEqual(['teacher', 'protect', 'steal']);
    expect(those(makesNetwork)).toEqual(['teacher', 'import', 'protect', 'steal']);
  });
});

describe('the stages of an experiment', () => {
  test('those of equal content are one: an honest student for all columns, a nasty teacher for two', () => {
    expect(labelsOf(planOf().stages)).toEqual([
      'seed-0/nasty + rounding/answer',
      'seed-0/nasty + rounding/measure',
      'seed-0/nasty + rounding/tiny/kd',
      'seed-0/nasty + rounding/tiny/kd/evaluate',
      'seed-0/nasty + rounding/tiny/kd/measure',
      'seed-0/nasty + rounding/tiny/partialKd',
      'seed-0/nasty + rounding/tiny/partialKd/evaluate',
      'seed-0/nasty + rounding/tiny/partialKd/measure',
      'seed-0/nasty/teacher',
      'seed-0/nasty/teacher/divergence',
      'seed-0/nasty/teacher/evaluate',
      'seed-0/nasty/teacher/measure',
      'seed-0/nasty/tiny/hardLabel',
      'seed-0/nasty/tiny/hardLabel/evaluate',
      'seed-0/nasty/tiny/hardLabel/measure',
      'seed-0/nasty/tiny/kd',
      'seed-0/nasty/tiny/kd/evaluate',
      'seed-0/nasty/tiny/kd/measure',
      'seed-0/nasty/tiny/partialKd',
      'seed-0/nasty/tiny/partialKd/evaluate',
      'seed-0/nasty/tiny/partialKd/measure',
      'seed-0/none/tiny/hardLabel',
      'seed-0/none/tiny/hardLabel/evaluate',
      'seed-0/none/tiny/hardLabel/measure',
      'seed-0/none/tiny/kd',
      'seed-0/none/tiny/kd/evaluate',
      'seed-0/none/tiny/kd/measure',
      'seed-0/none/tiny/partialKd',
      'seed-0/none/tiny/partialKd/evaluate',
      'seed-0/none/tiny/partialKd/measure',
      'seed-0/teacher',
      'seed-0/teacher/evaluate',
      'seed-0/teacher/measure',
      'seed-0/tiny/scratch',
      'seed-0/tiny/scratch on 50 %',
      'seed-0/tiny/scratch on 50 %/evaluate',
      'seed-0/tiny/scratch on 50 %/measure',
      'seed-0/tiny/scratch/evaluate',
      'seed-0/tiny/scratch/measure',
    ]);
  });

  test('what asks for labels only steals the same from labels alone, and through wrappers that leave them', () => {
    const of = planOf();
    expect(cell(of, 'hardLabel', 'labelOnly')?.stages).toEqual(cell(of, 'hardLabel', 'none')?.stages);
    expect(cell(of, 'hardLabel', 'nasty + rounding')?.stages).toEqual(cell(of, 'hardLabel', 'nasty')?.stages);
    expect(cell(of, 'kd', 'nasty + rounding')?.stages).not.toEqual(cell(of, 'kd', 'nasty')?.stages);
  });

  test('a wrapper that changes labels counts for those who ask for labels', () => {
    const { preserves: _, ...shuffling } = { ...rounding(2), name: 'shuffling' };
    const of = planOf({ defenses: [none(), shuffling] });
    expect(cell(of, 'hardLabel', 'shuffling')?.stages?.steal).not.toBe(cell(of, 'hardLabel', 'none')?.stages?.steal);
  });

  test('whatever changes labels counts for nobody who asks for them where they are given back', () => {
    const { preserves: _, ...shuffling } = { ...rounding(3), name: 'shuffling' };
    const kept = [
      keepArgmax({ defense: shuffling }),
      keepArgmax({ defense: compose(shuffling, rounding(1)) }),
      compose(keepArgmax({ defense: shuffling }), rounding(1)),
    ];
    const of = planOf({ defenses: [none(), ...kept, compose(keepArgmax({ defense: rounding(1) }), shuffling)] });
    const stolen = of.cells.filter(({ attack }) => attack === 'hardLabel').map(({ stages }) => stages?.steal);
    expect(stolen.slice(0, 4)).toEqual(Array(4).fill(stolen[0]));
    expect(stolen[4]).not.toBe(stolen[0]);
  });

  test('a wrapper that leaves labels counts for them where another one takes in what it gives', () => {
    const { preserves: _, ...shuffling } = { ...rounding(3), name: 'shuffling' };
    const wrappers = (...parts: [Defense, ...Defense[]]) => {
      const { work } = stage(
        planOf({ defenses: [compose(...parts)] }),
        `seed-0/${parts.map(({ name }) => name).join(' + ')}/tiny/hardLabel`,
      );
      return work.kind === 'steal' ? work.wrappers.map(({ name }) => name) : [];
    };
    expect(wrappers(topK(2), shuffling, rounding(2))).toEqual(['topK', 'shuffling']);
    expect(wrappers(shuffling, topK(2), rounding(2))).toEqual(['shuffling']);
  });

  test('what a defence prepares is a stage on its teacher, which the thefts and the answers take', () => {
    const preparing = {
      ...rounding(2),
      name: 'preparing',
      prepare: () => Promise.reject(new Error('it is only planned')),
    };
    const of = planOf({ defenses: [none(), compose(nasty(), topK(2), preparing)], attacks: [kd(), hardLabel()] });
    const where = 'seed-0/nasty + topK + preparing';
    const prepared = stage(of, `${where}/prepare`);
    expect(prepared.work.kind).toBe('prepare');
    expect(prepared.inputs).toEqual({
      teacher: stage(of, 'seed-0/nasty + topK + preparing/teacher').id,
      adversary: stage(of, 'seed-0/teacher').id,
    });
    expect(stage(of, `${where}/tiny/kd`).inputs).toMatchObject({ 'prepared 2': prepared.id });
    expect(stage(of, `${where}/answer`).inputs).toMatchObject({ 'prepared 2': prepared.id });
    // It leaves labels as they are.
    expect(stage(of, `${where}/tiny/hardLabel`).inputs).not.toHaveProperty('prepared 2');
  });

  test('a budget is of those who ask a black box, and of those alone; an attack’s own counts first', () => {
    const of = (changes: Parameters<typeof made>[0]) =>
      planOf({ defenses: [none()], attacks: [scratch(), kd(), hardLabel()], ...changes });
    const budgets = (plan: Plan) =>
      ['none/tiny/kd', 'none/tiny/hardLabel', 'tiny/scratch'].map((label) => {
        const { work } = stage(plan, `seed-0/${label}`);
        return work.kind === 'steal' ? work.budget : undefined;
      });
    expect(budgets(of({}))).toEqual([undefined, undefined, undefined]);
    expect(budgets(of({ budget: 100 }))).toEqual([100, 100, undefined]);
    const own = [scratch(), { ...kd(), budget: 7 }, hardLabel()];
    expect(budgets(of({ budget: 100, attacks: own }))).toEqual([7, 100, undefined]);
    const [without, with100] = [of({}), of({ budget: 100 })];
    const kept = new Set(idsOf(without));
    expect(labelsOf(with100.stages.filter(({ id }) => !kept.has(id)))).toEqual(
      ['hardLabel', 'kd'].flatMap((attack) =>
        ['', '/evaluate', '/measure'].map((what) => `seed-0/none/tiny/${attack}${what}`),
      ),
    );
  });

  test('planning makes no tensor', () => {
    const before = tf.engine().state.numTensors;
    planOf();
    expect(tf.engine().state.numTensors).toBe(before);
  });

  test('a cell whose attack needs more than its defence exposes says so, and adds no stage', () => {
    const of = planOf();
    expect(cell(of, 'kd', 'labelOnly')).toEqual({
      attack: 'kd',
      defense: 'labelOnly',
      student: 'tiny',
      seed: '0',
      reason: 'kd needs probabilities; labelOnly exposes label',
    });
    expect(of.stages.some(({ label }) => label.includes('labelOnly'))).toBe(false);
  });

  test('two nasty teachers on each other have two labels', () => {
    const of = planOf({ defenses: [compose(nasty(), nasty({ omega: 0.1 }))] });
    const [first, second] = [stage(of, 'seed-0/nasty + nasty/teacher'), stage(of, 'seed-0/nasty + nasty/teacher (2)')];
    expect(second.inputs.teacher).toBe(first.id);
    expect(new Set(labelsOf(of.stages)).size).toBe(of.stages.length);
  });

  test('an adversary that is another net is trained as a teacher is', () => {
    const of = planOf({ defenses: [nasty({ adversary: tiny(3) })] });
    const adversary = stage(of, 'seed-0/tiny (adversary)');
    expect(adversary.work).toMatchObject({ kind: 'teacher', seed: 0, learner: { network: { params: { hidden: 3 } } } });
    expect(stage(of, 'seed-0/nasty/teacher').inputs).toEqual({
      teacher: stage(of, 'seed-0/teacher').id,
      adversary: adversary.id,
    });
    // How far two normal nets are apart is known without a second seed: the adversary is one of them.
    expect(stage(of, 'seed-0/nasty/teacher/divergence').inputs).toMatchObject({
      normal: stage(of, 'seed-0/teacher/evaluate').id,
      otherNormal: stage(of, 'seed-0/tiny (adversary)/evaluate').id,
    });
    const same = learnerOf();
    expect(idsOf(planOf({ teacher: same, defenses: [nasty({ adversary: same.network })] })).length).toBe(
      idsOf(planOf({ defenses: [nasty()] })).length,
    );
  });

  test("an adversary may have a recipe of its own, and then is one of its own even of the teacher's net", () => {
    const adversaryRecipe = recipe({ epochs: 7 });
    const of = planOf({ defenses: [nasty({ adversary: tiny(3), adversaryRecipe })] });
    expect(stage(of, 'seed-0/tiny (adversary)').work).toMatchObject({
      learner: { network: { params: { hidden: 3 } }, recipe: { epochs: 7 } },
    });
    expect(stage(of, 'seed-0/nasty/teacher').work).toMatchObject({ learner: { recipe: { epochs: 2 } } });
    const same = planOf({ defenses: [nasty({ adversaryRecipe })] });
    expect(stage(same, 'seed-0/tiny (adversary)').work).toMatchObject({ learner: { recipe: { epochs: 7 } } });
    expect(stage(same, 'seed-0/nasty/teacher').inputs.adversary).toBe(stage(same, 'seed-0/tiny (adversary)').id);
    const broken = { ...nasty(), adversaryRecipe: { ...adversaryRecipe, epochs: 0 } };
    expect(refusal(() => planOf({ defenses: [broken] }))).toMatchObject({
      where: 'defenses: number 1: adversaryRecipe',
      what: expect.stringContaining('epochs'),
    });
  });

  test('a retrained teacher is held against the adversary, and a normal one against that of another seed', () => {
    const divergence = (seeds: unknown) => stage(planOf({ seeds }), 'seed-0/nasty/teacher/divergence').inputs;
    expect(Object.keys(divergence([0]))).toEqual(['model', 'adversary']);
    const of = planOf({ seeds: [0, 1] });
    expect(divergence([0, 1])).toEqual({
      model: stage(of, 'seed-0/nasty/teacher/evaluate').id,
      adversary: stage(of, 'seed-0/teacher/evaluate').id,
      normal: stage(of, 'seed-0/teacher/evaluate').id,
      otherNormal: stage(of, 'seed-1/teacher/evaluate').id,
    });
    // One victim and two attackers are no two normal teachers.
    const attackers = planOf({
      seeds: [
        { victim: 0, student: 0 },
        { victim: 0, student: 1 },
      ],
    });
    expect(Object.keys(stage(attackers, 'seed-0/nasty/teacher/divergence').inputs)).toEqual(['model', 'adversary']);
  });

  test('what completes answers is tried where they may have zeros alone', () => {
    const defenses = [none(), nasty(), reversedLogits(), antidistillation(), topK(2), grad2()];
    const reasonOf = (attack: AnyAttack) =>
      planOf({ defenses, attacks: [scratch(), attack], seeds: [0] })
        .cells.filter((each) => each.attack !== 'scratch')
        .map(({ reason }) => reason);
    const no = (defense: string) => `no zeros in the answers of ${defense} is known`;
    expect(reasonOf(completedKd())).toEqual([
      ...['none', 'nasty', 'reversedLogits', 'antidistillation'].map(no),
      ...[undefined, undefined],
    ]);
    // Of the largest alone more is made than is told.
    expect(reasonOf(completedKd({ k: 2 }))).toEqual(Array(6).fill(undefined));
  });

  test('what is prepared by the same parameters is prepared once', () => {
    const prepared = (...defenses: Defense[]) =>
      planOf({ defenses, seeds: [0] }).stages.filter(({ work }) => work.kind === 'prepare').length;
    const [a, b] = [grad2({ epsilon: 0.2 }), grad2({ epsilon: 1 })];
    expect(prepared(a, b, keepArgmax({ defense: b }))).toBe(1);
    expect(prepared(a, grad2({ shift: 0.1 }))).toBe(2);
    expect(prepared(antidistillation({ lambda: 0.1 }), antidistillation({ variant: 'cts' }))).toBe(1);
    expect(prepared(antidistillation(), antidistillation({ images: 10 }), a)).toBe(3);
    expect(prepared(adaptiveMisinformation(), adaptiveMisinformation({ threshold: 0.4 }))).toBe(1);
    // Of one that was written anew nobody knows what it depends on.
    expect(prepared(a, { ...b, prepare: async () => ({}) })).toBe(2);
    // On another teacher.
    expect(prepared(a, compose(nasty(), b))).toBe(2);
  });

  test('a net that does not fit the images is refused by whose net it is', () => {
    const text = ({ what, where, remedy }: ReturnType<typeof refusal>) => `${where} ${what} ${remedy}`;
    expect(text(refusal(() => planOf({ teacher: learnerOf(leNet5()) })))).toMatch(/^teacher: .*32×32/);
    expect(text(refusal(() => planOf({ students: [learnerOf(leNet5())] })))).toMatch(/^students: leNet5: /);
    expect(text(refusal(() => planOf({ defenses: [nasty({ adversary: leNet5() })] })))).toMatch(/^nasty: adversary: /);
  });

  test('a surrogate that does not fit the images is refused before anything is trained, also within others', () => {
    const surrogate = leNet5();
    const mine = { lambda: 0.1, temperature: 4, alpha: 0.5 };
    for (const defense of [
      grad2({ surrogate }),
      keepArgmax({ defense: grad2({ surrogate }) }),
      compose(none(), grad2({ surrogate }), rounding(2)),
      misleader({ surrogate }),
      misleader({ members: [mine, { ...mine, network: surrogate }] }),
    ]) {
      const { where, what } = refusal(() => planOf({ defenses: [{ ...defense, label: 'mine' }] }));
      expect(where).toMatch(/^defenses: mine: leNet5/);
      expect(what).toMatch(/32×32/);
    }
    expect(planOf({ defenses: [grad2({ surrogate: tiny(3) })] }).cells.length).toBeGreaterThan(0);
  });

  test('a net that its build gives for other images or classes is refused', () => {
    const shaped = (side: number, classes: number) => ({
      ...tiny(3),
      build: () => tiny(3).build({ height: side, width: side, channels: 1 }, classes),
    });
    const said = (network: ReturnType<typeof shaped>) =>
      refusal(() => planOf({ defenses: [grad2({ surrogate: network })] })).what;
    expect(said(shaped(4, 5))).toBe(
      'what its build gives is a net for 5 classes of images of 4×4×1, not for 3 classes of images of 4×4×1',
    );
    expect(said(shaped(8, 3))).toMatch(/images of 8×8×1, not for 3 classes of images of 4×4×1$/);
    expect(refusal(() => planOf({ students: [learnerOf(shaped(4, 2))] })).where).toMatch(/^students: /);
  });
});

test('more images a step than there are, and a held-out share that is no image, are refused', () => {
  // 96 images, of which 9 are held out.
  expect(refusal(() => planOf({ teacher: learnerOf(tiny(), { batch: 88 }) }))).toMatchObject({
    kind: 'experiment',
    what: 'batch is 88, and there are 87 training images',
    where: 'teacher',
    remedy: 'Give a smaller batch, or a larger fraction of the images.',
  });
  expect(refusal(() => planOf({ students: [learnerOf(tiny(), { batch: 64 })], fraction: 0.5 }))).toMatchObject({
    what: 'batch is 64, and there are 44 training images',
    where: 'students: tiny',
  });
  // An attacker with half of the 87.
  const half = { attacks: [partialKd({ fraction: 0.5 })] };
  expect(refusal(() => planOf({ ...half, students: [learnerOf(tiny(), { batch: 44 })] }))).toMatchObject({
    what: 'batch is 44, and there are 43 training images in its share',
    where: expect.stringMatching(/^attacks: partialKd.*, students: tiny$/),
  });
  expect(planOf({ ...half, students: [learnerOf(tiny(), { batch: 43 })] }).cells.length).toBeGreaterThan(0);
  expect(refusal(() => planOf({ validation: 0.01 }))).toMatchObject({
    what: 'a share of 0.01 of 96 images is no image',
    where: 'validation',
  });
  expect(planOf({ teacher: learnerOf(tiny(), { batch: 87 }) }).cells.length).toBeGreaterThan(0);
});

describe('the honest training that an attack is compared with', () => {
  const compared = (of: Plan, attack: string) => {
    const stages = cell(of, attack, 'none')?.stages;
    const { work } = of.stages.find(({ id }) => id === stages?.baseline) as Stage;
    return { itself: stages?.baseline === stages?.steal, params: work.kind === 'steal' && work.attack.params };
  };
  const none1 = { defenses: [none()] };

  test('is on the same images, for the same number of steps', () => {
    const of = planOf({ ...none1, attacks: [kd(), partialKd({ fraction: 0.3, how: 'shuffled', steps: 'same' })] });
    expect(compared(of, 'kd')).toEqual({ itself: false, params: { fraction: 1, how: 'stratified', steps: 'epochs' } });
    expect(compared(of, 'partialKd')).toEqual({
      itself: false,
      params: { fraction: 0.3, how: 'shuffled', steps: 'same' },
    });
  });

  test.each(['constructor', '__proto__'])('has a row called %s', (label) => {
    const { baselines } = planOf({ ...none1, attacks: [scratch(), kd({ label })] });
    expect(Object.entries(baselines)).toEqual([
      ['scratch', 'scratch'],
      [label, 'scratch'],
    ]);
    expect(planOf({ ...none1, attacks: [scratch()] }).baselines[label]).toBe(undefined);
  });

  test('is a row of the matrix where there is such a row', () => {
    const attacks = [scratch({ fraction: 0.5, label: 'half' }), scratch(), kd(), partialKd({ fraction: 0.5 })];
    expect(planOf({ ...none1, attacks }).baselines).toEqual({
      half: 'half',
      scratch: 'scratch',
      kd: 'scratch',
      partialKd: 'half',
    });
    expect(planOf({ ...none1, attacks: [partialKd({ fraction: 0.25 })] }).baselines).toEqual({
      partialKd: 'scratch on 25 %',
    });
  });

  test('is itself for honest training, and that of as many labels for smoothed ones', () => {
    const of = planOf({
      ...none1,
      attacks: [
        scratch({ fraction: 0.5, label: 'half' }),
        labelSmoothing({ fraction: 0.5, steps: 'same', label: 'smooth' }),
      ],
    });
    expect(compared(of, 'half').itself).toBe(true);
    expect(compared(of, 'smooth')).toEqual({
      itself: false,
      params: { fraction: 0.5, how: 'stratified', steps: 'same' },
    });
  });

  test("is on the share that a user's attack owns, and on everything for one that owns nothing", () => {
    const { baseline: _, ...own } = {
      ...kd(),
      name: 'own',
      data: { kind: 'labelled', fraction: 0.2, how: 'shuffled' },
    };
    const dataFree = { ...own, name: 'dataFree', data: { kind: 'none' } };
    const of = planOf({ ...none1, attacks: [own, dataFree] });
    expect(compared(of, 'own').params).toEqual({ fraction: 0.2, how: 'shuffled', steps: 'epochs' });
    expect(compared(of, 'dataFree').params).toEqual({ fraction: 1, how: 'stratified', steps: 'epochs' });
  });
});

describe('identities', () => {
  const attack = fc.oneof(
    fc.constant(scratch()),
    fc.constant(hardLabel()),
    fc
      .record({ temperature: fc.integer({ min: 1, max: 20 }), alpha: fc.double({ min: 0, max: 1, noNaN: true }) })
      .map(kd),
    fc.integer({ min: 20, max: 99 }).map((percent) => partialKd({ fraction: percent / 100 })),
  );
  const defense: fc.Arbitrary<Defense> = fc.oneof(
    fc.constant(none()),
    fc.constant(labelOnly()),
    fc.integer({ min: 0, max: 6 }).map(rounding),
    fc.integer({ min: 1, max: 3 }).map(topK),
    fc.integer({ min: 0, max: 9 }).map((n) => nasty({ omega: n / 100 })),
    fc.integer({ min: 0, max: 9 }).map((n) => compose(nasty({ omega: n / 100 }), rounding(2))),
  );
  const content = ({ name, params }: AnyAttack | Defense) => JSON.stringify([name, params]);
  const grid = fc.record({
    attacks: fc.uniqueArray(attack, { minLength: 1, maxLength: 4, selector: content }),
    defenses: fc.uniqueArray(defense, { minLength: 1, maxLength: 4, selector: content }),
    seeds: fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1, maxLength: 2 }),
  });
  /** The last column is one that every attack fits. */
  const planned = ({ attacks, defenses, seeds }: { attacks: AnyAttack[]; defenses: Defense[]; seeds: number[] }) =>
    planOf({ attacks, defenses: [...defenses.filter(({ name }) => name !== 'none'), none()], seeds });

  test('of one experiment are the same each time, one for each stage, and a stage follows its inputs', () => {
    fc.assert(
      fc.property(grid, (of) => {
        const { stages, cells, victims } = planned(of);
        expect(stages.map(({ id }) => id)).toEqual(planned(of).stages.map(({ id }) => id));
        expect(new Set(stages.map(({ id }) => id)).size).toBe(stages.length);
        expect(new Set(stages.map(({ label }) => label)).size).toBe(stages.length);
        const there = new Set<string>();
        for (const { id, inputs } of stages) {
          for (const input of Object.values(inputs)) expect(there).toContain(input);
          there.add(id);
        }
        for (const { stages: own, reason } of cells) {
          expect(own === undefined).toBe(reason !== undefined);
          for (const id of Object.values(own ?? {})) expect(there).toContain(id);
        }
        for (const { train, evaluate, measure } of victims)
          for (const id of [train, evaluate, measure]) expect(there).toContain(id);
      }),
      { numRuns: 50 },
    );
  });

  test('of nothing but their own measures depend on a user’s own metrics: their names, parameters and code', () => {
    const metric = {
      name: 'own',
      unit: 'number',
      better: 'neither',
      describe: 'A number.',
      source: 'file:///own.js',
      of: () => 1,
    };
    const without = planOf();
    const ids = (of: Plan, kinds: (stage: Stage) => boolean) => of.stages.filter(kinds).map(({ id }) => id);
    const measures = ({ label }: Stage) => /\/measure\/\w+$/.test(label);
    const differing = (a: Plan, b: Plan) => {
      expect(ids(b, (each) => !measures(each))).toEqual(ids(a, (each) => !measures(each)));
      const before = new Set(ids(a, measures));
      return ids(b, measures).filter((id) => !before.has(id)).length;
    };
    const withOne = planOf({ metrics: [metric] });
    const all = new Set(
      [...withOne.cells.flatMap((each) => each.stages ?? []), ...withOne.victims].map(({ measure }) => measure),
    ).size;
    expect(differing(without, withOne)).toBe(all);
    expect(differing(withOne, planOf({ metrics: [{ ...metric, params: { bins: 5 } }] }))).toBe(all);
    expect(differing(withOne, planOf({ metrics: [metric] }, { code: code({ 'own.js': 'edited' }) }))).toBe(all);
    expect(differing(withOne, planOf({ metrics: [{ ...metric, of: () => 2 }] }))).toBe(all);
    expect(differing(withOne, planOf({ metrics: [{ ...metric }] }))).toBe(0);
    expect(differing(withOne, planOf({ metrics: [metric, { ...metric, name: 'other' }] }))).toBe(all);
    const seed = withOne.experiment.seeds[0]?.label as string;
    for (const part of [ofSeeds(withOne, [seed]), selected(withOne, ['kd'], '--only')])
      expect(part.stages.filter(measures).length).toBeGreaterThan(0);
    expect(sourcesIn(plannedValues(withOne.experiment))).toContain('file:///own.js');
    expect(refusal(() => planOf({ metrics: [{ ...metric, params: { of: () => 1 } }] })).what).toContain(
      'of is neither',
    );
  });

  test('do not depend on the order of rows and columns, on names or on labels', () => {
    fc.assert(
      fc.property(grid, (of) => {
        const turned = { attacks: [...of.attacks].reverse(), defenses: [...of.defenses].reverse(), seeds: of.seeds };
        expect(idsOf(planned(turned))).toEqual(idsOf(planned(of)));
        const attacks = turned.attacks.map((each, i) => ({ ...each, label: `attack ${i}` }));
        const defenses = turned.defenses.map((each, i) => ({ ...each, label: `defence ${i}` }));
        expect(idsOf(planned({ attacks, defenses, seeds: of.seeds }))).toEqual(idsOf(planned(of)));
      }),
      { numRuns: 50 },
    );
    const same = { name: 'other', about: 'something else', students: [{ ...learnerOf(tiny(4)), label: 'mine' }] };
    expect(idsOf(planOf(same))).toEqual(idsOf(planOf()));
  });

  test('of a part of an experiment are those it has in the whole', () => {
    fc.assert(
      fc.property(grid, (of) => {
        const whole = new Set(idsOf(planned(of)));
        for (const each of of.attacks)
          for (const id of idsOf(planned({ ...of, attacks: [each] }))) expect(whole).toContain(id);
      }),
      { numRuns: 30 },
    );
  });

  type Change = readonly [string, Parameters<typeof made>[0], Partial<Facts>, (stage: Stage) => boolean];
  const everything = () => true;
  const teachers = is('teacher');
  const asksVictim = (each: Stage) => 'victim' in each.inputs && each.work.kind === 'steal';
  const attacksWith = (i: number, other: AnyAttack) => ({ attacks: base.attacks.map((a, j) => (i === j ? other : a)) });
  const teacher = (changes: Parameters<typeof learnerOf>[1], net = tiny()) => ({ teacher: learnerOf(net, changes) });
  const adversary = (net: ReturnType<typeof tiny>, changes = {}) => ({
    defenses: [nasty({ adversary: net, ...changes })],
  });
  const half = (each: Stage) =>
    each.work.kind === 'steal' && 'fraction' in each.work.attack.data && each.work.attack.data.fraction === 0.5;

  test.each<Change>([
    ["an attack's temperature", attacksWith(1, kd({ temperature: 5 })), {}, steals('kd')],
    ["an attack's alpha", attacksWith(1, kd({ alpha: 0.8 })), {}, steals('kd')],
    ["an attack's fraction", attacksWith(2, partialKd({ fraction: 0.4 })), {}, half],
    ["an attack's way of choosing", attacksWith(2, partialKd({ fraction: 0.5, how: 'shuffled' })), {}, half],
    ['what an attack is handed', attacksWith(3, { ...hardLabel(), needs: 'probabilities' }), {}, steals('hardLabel')],
    [
      "a defence's omega",
      { defenses: [none(), nasty({ omega: 0.05 }), labelOnly(), compose(nasty({ omega: 0.05 }), rounding(2))] },
      {},
      is('protect'),
    ],
    ['a wrapper', { defenses: [none(), nasty(), labelOnly(), compose(nasty(), rounding(3))] }, {}, wrapped],
    ['the fraction of the images', { fraction: 0.5 }, {}, everything],
    ['the held-out share', { validation: 0.2 }, {}, everything],
    [
      'the checkpoint that counts',
      { select: 'best' },
      {},
      (each) => is('protect', 'answer', 'measure')(each) || asksVictim(each),
    ],
    ['the images reported on', { report: 'validation' }, {}, is('evaluate', 'answer')],
    ['the seed', { seeds: [1] }, {}, everything],
    ["the victim's seed", { seeds: [{ victim: 1, student: 0 }] }, {}, teachers],
    ["the attacker's seed", { seeds: [{ victim: 0, student: 1 }] }, {}, is('steal')],
    ["the teacher's epochs", teacher({ epochs: 3 }), {}, teachers],
    ["the teacher's batch", teacher({ batch: 8 }), {}, teachers],
    ["the teacher's momentum", teacher({ optimizer: sgd({ momentum: 0.8 }) }), {}, teachers],
    ["the teacher's optimiser", teacher({ optimizer: adam() }), {}, teachers],
    ["the teacher's schedule", teacher({ schedule: cosine({ rate: 0.1 }) }), {}, teachers],
    ["the teacher's net", teacher({}, tiny(7)), {}, teachers],
    ["the student's epochs", { students: [learnerOf(tiny(4), { epochs: 3 })] }, {}, is('steal')],
    [
      "the student's milestones",
      { students: [learnerOf(tiny(4), { schedule: multiStep({ rate: 0.1, milestones: [1], gamma: 0.1 }) })] },
      {},
      is('steal'),
    ],
    ["the student's net", { students: [learnerOf(tiny(5))] }, {}, is('steal')],
    ['the data', {}, { data: { ...facts.data, fingerprint: 'other' } }, everything],
    ['the engine', {}, { engine: 'tensorflow-cuda' }, everything],
    ["the processor's vector extensions", {}, { engine: 'tensorflow-cpu+avx2' }, everything],
    ['the training loop', {}, { harness: { ...facts.harness, training: 'training 2' } }, everything],
    ['the measuring', {}, { harness: { ...facts.harness, measuring: 'measuring 2' } }, is('measure')],
    [
      "an attack's code",
      {},
      { code: code({ 'kd.ts': 'edited' }) },
      (each) => steals('kd')(each) || steals('partialKd')(each),
    ],
    ["a defence's code", {}, { code: code({ 'nasty.ts': 'edited' }) }, is('protect')],
    ["a wrapper's code", {}, { code: code({ 'answers.ts': 'edited' }) }, wrapped],
    ["a net's code", {}, { code: code({ 'helpers.ts': 'edited' }) }, everything],
  ])('%s: a change changes what depends on it, and nothing else', (_, changes, world, holds) => {
    const [before, after] = [planOf(), planOf(changes, world)];
    const kept = new Set(idsOf(after));
    const lost = before.stages.filter(({ id }) => !kept.has(id));
    expect(labelsOf(lost)).toEqual(labelsOf(dependents(before, holds)));
    expect(lost.length).toBeGreaterThan(0);
  });

  test.each<readonly [string, Parameters<typeof made>[0]]>([
    ['its net', adversary(tiny(5))],
    ['the weight', adversary(tiny(3), { omega: 0.01 })],
  ])('an adversary: %s changes the nasty teacher and not the normal one', (what, changes) => {
    const [before, after] = [planOf(adversary(tiny(3))), planOf(changes)];
    const kept = new Set(idsOf(after));
    const lost = before.stages.filter(({ id }) => !kept.has(id));
    const trained = (each: Stage) => what === 'its net' && each.label === 'seed-0/tiny (adversary)';
    expect(labelsOf(lost)).toEqual(labelsOf(dependents(before, (each) => is('protect')(each) || trained(each))));
  });

  test("a user's optimiser is known by its code when it names it", () => {
    const mine = (source?: string) => ({ ...sgd(), name: 'mine', ...(source === undefined ? {} : { source }) });
    const before = planOf(teacher({ optimizer: mine('file:///mine.ts') }));
    const edited = planOf(teacher({ optimizer: mine('file:///mine.ts') }), {
      code: code({ 'mine.ts': 'edited' }),
    });
    expect(stage(edited, 'seed-0/teacher').id).not.toBe(stage(before, 'seed-0/teacher').id);
  });

  test('know what was changed in an attack or a defence after its declaration, and what file one made by hand is in', () => {
    const part = (name: string, changes: Parameters<typeof planOf>[0], world?: Partial<Facts>): string =>
      JSON.stringify(planOf(changes, world).stages.find(({ parts }) => name in parts)?.parts[name]);
    const file = (hash: string): Partial<Facts> => ({ code: { ...code(), experiment: { hash, files: {} } } });
    const steal: AnyAttack['steal'] = () => Promise.reject(new Error('mine'));
    const theft = (attack: AnyAttack, world?: Partial<Facts>) =>
      part('attack', { attacks: [attack], defenses: [none()] }, world);
    expect(theft({ ...kd() })).toBe(theft(kd()));
    expect(theft(kd(), file('1'))).toBe(theft(kd(), file('2')));
    expect(theft({ ...kd(), steal } as AnyAttack)).not.toBe(theft(kd()));
    const mine = { ...kd(), params: {}, steal } as AnyAttack;
    expect(theft(mine, file('1'))).not.toBe(theft(mine, file('2')));

    const wrappers = (defense: Defense) => part('wrappers', { attacks: [kd()], defenses: [defense] });
    expect(wrappers({ ...topK(2) })).toBe(wrappers(topK(2)));
    expect(wrappers({ ...topK(2), answers: rounding(1).answers } as Defense)).not.toBe(wrappers(topK(2)));
    const protection = (defense: Defense) => part('defense', { attacks: [kd()], defenses: [defense] });
    expect(protection({ ...nasty() })).toBe(protection(nasty()));
    expect(protection({ ...nasty(), protect: () => Promise.reject(new Error('mine')) })).not.toBe(protection(nasty()));
  });

  test('are drawn apart by every temperature, down to the last bit', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
        fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
        (a, b) => {
          const id = (temperature: number) =>
            stage(planOf({ attacks: [kd({ temperature })], defenses: [none()] }), 'seed-0/none/tiny/kd').id;
          expect(id(a) === id(b)).toBe(a === b);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('the stages of some seeds', () => {
  const both = planOf({ seeds: [0, 1] });

  test('are those of a plan of all seeds, with which the others stay comparable', () => {
    const one = ofSeeds(both, ['0']);
    expect(one.cells).toEqual(both.cells);
    const rest = both.stages.filter(({ id }) => !idsOf(one).includes(id));
    expect(labelsOf(one.stages).every((label) => label.startsWith('seed-0/'))).toBe(true);
    // Beside those of the other seed, only what compares teachers of two seeds is left for later.
    expect(labelsOf(rest).filter((label) => label.startsWith('seed-0/'))).toEqual(
      labelsOf(both.stages).filter((label) => /^seed-0\/.*divergence$/.test(label)),
    );
    expect(idsOf(ofSeeds(both, ['0', '1']))).toEqual(idsOf(both));
  });
});

describe('why a stage is stale', () => {
  const why = (label: string, changes: Parameters<typeof made>[0], world: Partial<Facts> = {}) =>
    whyStale(stage(planOf(), label).parts, stage(planOf(changes, world), label).parts);

  test('is said in words', () => {
    expect(why('seed-0/none/tiny/kd', {})).toEqual([]);
    expect(why('seed-0/none/tiny/kd', {}, { code: code({ 'kd.ts': 'edited' }) })).toEqual([
      'the code of attack changed',
    ]);
    expect(why('seed-0/none/tiny/kd', { attacks: [kd({ temperature: 20 })] })).toEqual([
      'attack.params.temperature: 4 → 20',
    ]);
    expect(why('seed-0/none/tiny/kd', { teacher: learnerOf(tiny(), { epochs: 3 }) })).toEqual(['its victim changed']);
    expect(why('seed-0/teacher', { teacher: learnerOf(tiny(), { epochs: 3 }) })).toEqual([
      'learner.recipe.epochs: 2 → 3',
    ]);
    expect(why('seed-0/teacher', {}, { data: { ...facts.data, fingerprint: 'other' } })).toEqual(['the data changed']);
    expect(why('seed-0/teacher', { fraction: 0.5 })).toEqual(['data.fraction: 1 → 0.5']);
    const harness = { training: 'training 2', measuring: 'measuring 2' };
    expect(why('seed-0/teacher', {}, { harness })).toEqual(['the training loop changed']);
    expect(why('seed-0/teacher/measure', {}, { harness })).toEqual(['its model changed', 'the measuring changed']);
    expect(why('seed-0/teacher', { teacher: learnerOf(tiny(), { optimizer: adam() }) })).toContain(
      'learner.recipe.optimizer.name: "sgd" → "adam"',
    );
  });
});

describe('before anything is trained', () => {
  const images = dataOf({ ...thirds({ train: 30 }), name: 'others', fingerprint: 'others' });
  const worldOf = (classes: readonly string[]): Partial<Facts> => ({
    others: new Map([[images, { ...thirds({ train: 30 }), fingerprint: 'others', classes }]]),
  });

  test('an attack’s objection is said with what mends it', () => {
    const two = { ...base, students: [learnerOf(tiny(), { batch: 2 })] };
    expect(refusal(() => planOf({ ...two, attacks: [scratch(), dist()] }))).toMatchObject({
      kind: 'experiment',
      what: 'over a batch of two images every correlation is 1 or −1',
      where: 'attacks: dist, students: tiny',
      remedy: 'Give the student a larger batch, or gamma 0.',
    });
    expect(refusal(() => planOf({ attacks: [scratch(), skeptical()] }))).toMatchObject({
      what: 'tiny has no activation for an auxiliary head',
      remedy: 'Choose another network or data set, or take the attack out.',
    });
  });

  test('a budget of one answer is no step of any attack on a black box', () => {
    for (const attack of [kd(), hardLabel(), transfer({ images })])
      expect(refusal(() => planOf({ attacks: [scratch(), attack], budget: 1 }, worldOf(['cow'])))).toMatchObject({
        what: 'a budget of 1 is less than a step asks for, which is of 2 images or more',
        remedy: 'Give a larger budget.',
      });
    expect(() => planOf({ attacks: [scratch(), fitNet()], students: ['self'], budget: 1 })).toThrow(/no activations/);
    expect(planOf({ attacks: [scratch(), kd()], budget: 2 }).cells.length).toBeGreaterThan(0);
  });

  test('what an attack warns of is said once, and that its images may be of the victim’s classes', () => {
    const said = (classes: readonly string[], attacks: readonly AnyAttack[], students = 1) =>
      planOf(
        {
          attacks: [scratch(), ...attacks],
          students: Array.from({ length: students }, (_, i) => ({ ...learnerOf(tiny(3 + i)), label: `student ${i}` })),
        },
        worldOf(classes),
      ).warnings;
    expect(said(['cow', 'sheep'], [transfer({ images }), knockoff({ images })])).toEqual([]);
    expect(said(['cow', 'very_top'], [transfer({ images })], 2)).toEqual([
      "attacks: transfer: its images may be of the victim's classes: very_top",
    ]);
    expect(said(['cow'], [knockoff({ images, budget: 31 })], 2)).toEqual([
      'attacks: knockoff: it asks about 30 images, and its budget is of 31',
    ]);
  });
});
