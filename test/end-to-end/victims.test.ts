import * as tf from '@tensorflow/tfjs';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Attack } from '../../src/attacks/attack.js';
import { labelled } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd } from '../../src/attacks/kd.js';
import { noise } from '../../src/attacks/noise.js';
import { scratch } from '../../src/attacks/scratch.js';
import type { FailureError } from '../../src/core/errors.js';
import type { StoredTensor } from '../../src/core/safetensors.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { none } from '../../src/defenses/none.js';
import { loadEngine } from '../../src/engine/engine.js';
import { experiment } from '../../src/experiment/experiment.js';
import { files, readRecord } from '../../src/run/outputs.js';
import { openStore, type StageOutput } from '../../src/run/store.js';
import { classifier } from '../../src/train/classifier.js';
import { distillationKl } from '../../src/train/losses.js';
import type { Wrapper } from '../../src/train/oracle.js';
import { learner } from '../../src/train/recipe.js';
import { fresh, sticking, tiring, turning } from '../defenses/answering.js';
import { refusal } from '../failures.js';
import { data, recipe, tiny } from './fixtures/plugins.js';
import { lasting, type Ran, ran, temporaryFolder, tensorsIn } from './helpers.js';

beforeAll(async () => {
  // Fits are short here: to compile a step would take longer than all of its steps.
  await loadEngine({ execution: 'eager' });
});

const defenseOf = ({ name, answers, preserves }: Omit<Wrapper, 'prepared'>): Defense<'probabilities'> => ({
  name,
  params: {},
  source: import.meta.url,
  exposes: 'probabilities',
  answers,
  ...(preserves === undefined ? {} : { preserves }),
});

/** Labels stay; the other probabilities are moved by what was prepared: a scalar that was fitted, and one that was drawn. */
const prepared: Defense<
  'probabilities',
  { readonly fitted: tf.Tensor; readonly rest: { readonly none: readonly never[]; readonly drawn: tf.Tensor } }
> = {
  ...defenseOf(turning),
  name: 'prepared',
  preserves: 'label',
  prepare: async ({ learner: own, variables }, context) => {
    const drawn = await context.value('drawn', async () => context.key.uniform()());
    const { last } = await context.fit(
      'fitted',
      classifier({
        learner: { ...own, recipe: { ...own.recipe, epochs: 1 } },
        data: context.train,
        start: variables,
        loss: ({ logits }) => ({ loss: logits.square().mean() }),
      }),
    );
    const bias = last.params['fc.bias'] as tf.Tensor;
    const fitted = tf.tidy(() => bias.square().mean());
    tf.dispose([last.params, last.stats]);
    return { fitted, rest: { none: [], drawn: tf.scalar(drawn) } };
  },
  answers: {
    kind: 'pure',
    answer: ({ logProbabilities, prepared: { fitted, rest } }) => {
      if (!Array.isArray(rest.none)) throw new Error('an empty list was lost on the way');
      const scaled = tf.mul(logProbabilities, tf.add(tf.add(1, rest.drawn), tf.sigmoid(fitted))) as tf.Tensor2D;
      return { logProbabilities: tf.sub(scaled, tf.logSumExp(scaled, 1, true)) };
    },
  },
};

type Asking = Attack<'probabilities', typeof labelled>;
const attackOf = (name: string, steal: Asking['steal']): Asking => ({
  name,
  params: {},
  source: import.meta.url,
  needs: 'probabilities',
  data: labelled,
  steal,
});
const spec = (...[victim, student, { data: own }]: Parameters<Asking['steal']>) =>
  classifier({
    learner: student,
    data: own.train,
    victim,
    target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
    loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature: 2 }),
  });
/** One theft, written as an async function and as a fp-ts task: a student, and then the same one once more. */
const awaiting = attackOf('awaiting', async (victim, student, context) => {
  const { last } = await context.fit('first', spec(victim, student, context));
  tf.dispose([last.params, last.stats]);
  return context.fit('student', spec(victim, student, context));
});
const chaining = attackOf('chaining', (victim, student, context) =>
  TE.chain(({ last }: { readonly last: { readonly params: object; readonly stats: object } }) => {
    tf.dispose([last.params, last.stats] as never);
    return context.fit('student', spec(victim, student, context));
  })(context.fit('first', spec(victim, student, context))),
);

const small = {
  data,
  teacher: learner(tiny(), recipe()),
  students: [learner(tiny(2), recipe(2))],
  seeds: [0],
} as const;
const outputs =
  (of: Ran, root: string) =>
  async (label: string): Promise<StageOutput> => {
    const outcome = of.by[label];
    if (outcome === undefined || !('record' in outcome) || outcome.record === undefined)
      throw new Error(`${label} left nothing: ${Object.keys(of.by).join(', ')}`);
    return (await openStore(root, () => undefined).find(outcome.record.id)) as StageOutput;
  };

describe('an experiment on victims that draw, remember, prepare and are asked so often', () => {
  const of = experiment({
    ...small,
    name: 'victims',
    validation: 0.25,
    defenses: [
      none(),
      defenseOf(tiring),
      prepared,
      compose(prepared, defenseOf(turning), defenseOf(fresh), defenseOf(tiring), defenseOf(sticking)),
    ],
    attacks: [scratch(), kd(), awaiting, chaining, hardLabel(), { ...noise({ steps: 4 }), budget: 40 }],
    budget: 200,
  });
  const root = temporaryFolder();
  let first: Ran;
  let expected: Record<string, string>;
  let tensors: readonly [number, number];
  const all = 'prepared + turning + fresh + tiring + sticking';
  beforeAll(async () => {
    const before = tf.memory().numTensors;
    first = await ran(of, root);
    tensors = [before, tf.memory().numTensors];
    expected = tensorsIn(root);
  });
  const training = async (label: string) => {
    const { training: found } = await readRecord(await outputs(first, root)(`seed-0/${label}`));
    return found as NonNullable<typeof found>;
  };
  const logits = async (label: string) => (await (await outputs(first, root)(label)).tensors(files.logits)).tensors;

  test('fills its cells, and leaves no tensor', () => {
    expect(first.matrix.cells.map(({ attack, defense, status }) => `${attack} on ${defense}: ${status}`)).toEqual(
      ['scratch', 'kd', 'awaiting', 'chaining', 'hardLabel', 'noise'].flatMap((attack) =>
        ['none', 'tiring', 'prepared', all].map((defense) => `${attack} on ${defense}: done`),
      ),
    );
    expect(tensors[1]).toBe(tensors[0]);
  });

  test('counts answers, and ends where they do', async () => {
    // 54 images in two epochs are 108; twice that is more than there are.
    expect(await training(`${all}/tiny/kd`)).toMatchObject({ queries: 108, forward: 0, backward: 0, budget: 200 });
    for (const attack of ['awaiting', 'chaining'])
      expect(await training(`${all}/tiny/${attack}`)).toMatchObject({ queries: 200, images: 200, budget: 200 });
    expect(await training('tiring/tiny/noise')).toMatchObject({ queries: 32, steps: 2, budget: 40 });
    expect(await training('tiny/scratch')).toMatchObject({ queries: 0 });
    expect(await training('tiny/scratch')).not.toHaveProperty('budget');
  });

  test('tells by how much answers were changed, of those alone that were', async () => {
    const { answers } = await training(`${all}/tiny/kd`);
    expect(answers?.changed).toBeGreaterThan(0.5);
    for (const value of [answers?.l1, answers?.kl]) expect(value).toBeGreaterThan(0.1);
    expect(answers?.l1).toBeLessThanOrEqual(2);
    expect((await training('prepared/tiny/kd')).answers).toMatchObject({ changed: 0 });
    expect(await training('none/tiny/kd')).not.toHaveProperty('answers');
  });

  test('is the same theft as an async function and as a task', async () => {
    const store = outputs(first, root);
    for (const defense of ['none', 'tiring', all]) {
      const weights = async (attack: string) =>
        (await (await store(`seed-0/${defense}/tiny/${attack}`)).tensors(files.last)).tensors;
      expect(await weights('awaiting'), defense).toEqual(await weights('chaining'));
      const kdWeights = (await (await store(`seed-0/${defense}/tiny/kd`)).tensors(files.last)).tensors;
      expect(kdWeights).not.toEqual(await weights('awaiting'));
    }
  });

  test('shares the thefts of labels that a defence preserves', () => {
    const stages = (defense: string) =>
      first.matrix.cells.find((c) => c.attack === 'hardLabel' && c.defense === defense);
    expect(Object.keys(first.by)).not.toContain('seed-0/prepared/tiny/hardLabel');
    expect(stages('prepared')?.accuracy).toEqual(stages('none')?.accuracy);
    expect(Object.keys(first.by)).toContain(`seed-0/${all}/tiny/hardLabel`);
  });

  test('looks at the answers without a trace: a victim that remembers answers its owner as after its training images', async () => {
    const [looked, clean] = [await logits('seed-0/tiring/answer'), await logits('seed-0/teacher/evaluate')];
    // By how much it favours the first class over the second.
    const favours = Object.entries(looked).flatMap(([name, { data: told, shape }]) => {
      const [rows = 0, classes = 0] = shape;
      const lead = (of: ArrayLike<number>, row: number) =>
        (of[row * classes] as number) - (of[row * classes + 1] as number);
      return Array.from({ length: rows }, (_, row) => lead(told, row) - lead((clean[name] as StoredTensor).data, row));
    });
    expect(favours.length).toBeGreaterThan(20);
    // 54 images tire it by 0.54, and by how bright they are; the validation and test images that are looked at by nothing.
    const [least, most] = [Math.min(...favours), Math.max(...favours)];
    expect(least).toBeGreaterThan(0.54);
    expect(most).toBeLessThan(1.54);
    expect(most - least).toBeLessThan(1e-3);
    const composed = await logits(`seed-0/${all}/answer`);
    // Of one that preserves a label the one that is told is kept, too.
    expect(Object.keys(composed).sort()).toEqual(['last/test', 'last/validation', 'told/test', 'told/validation']);
  });

  test('is the same once more', async () => {
    const again = await ran(of, root);
    expect([...again.outcomes.values()].every(({ status }) => status === 'cached')).toBe(true);
    expect(again.matrix).toEqual(first.matrix);
  });

  test('stopped and killed anywhere ends with the same bits', async () => {
    const folder = temporaryFolder();
    let disturbed = 0;
    for (const { crash, after } of [
      { crash: true, after: 3 },
      { crash: false, after: 11 },
      { crash: true, after: 17 },
      { crash: true, after: 5 },
      { crash: false, after: 30 },
      { crash: true, after: 8 },
      { crash: true, after: 21 },
    ]) {
      const stop = new AbortController();
      let events = 0;
      const tell = ({ type }: { type: string }): void => {
        if (type !== 'stage' || ++events !== after) return;
        disturbed += 1;
        if (crash) throw new Error('crash');
        stop.abort();
      };
      await ran(of, folder, { signal: stop.signal, tell, checkpointEvery: 2 }).catch((error: unknown) => {
        expect((error as FailureError).failure.kind).toBe('interrupted');
      });
    }
    expect(disturbed).toBeGreaterThan(0);
    const end = await ran(of, folder, { checkpointEvery: 1 });
    expect(lasting(end.matrix)).toEqual(lasting(first.matrix));
    expect(tensorsIn(folder)).toEqual(expected);
  });
});

describe('defences that answer wrongly', () => {
  const wrongly = (name: string, answers: Partial<NonNullable<Defense['answers']>>): Defense<'probabilities'> =>
    defenseOf({ name, answers: { ...turning.answers, ...answers } });
  const { init: _, ...endless } = tiring.answers;
  const answering = (of: (logProbabilities: tf.Tensor2D) => tf.Tensor) => ({
    answer: ({ logProbabilities }: { logProbabilities: tf.Tensor2D }) => ({
      logProbabilities: of(logProbabilities) as tf.Tensor2D,
    }),
  });
  const defenses: readonly (readonly [Defense<'probabilities'>, string | RegExp])[] = [
    [
      wrongly(
        'notANumber',
        answering((p) => tf.log(tf.neg(tf.exp(p)))),
      ),
      /^\d+ of its answers.* are no distribution; the first, to image 0 of its batch \(from 0\): what it gives class 0 is NaN/,
    ],
    [
      wrongly(
        'notSumming',
        answering((p) => tf.mul(p, 2)),
      ),
      /^\d+ of its answers.* are no distribution; .* its probabilities sum to 0\.\d+$/,
    ],
    [
      wrongly(
        'otherShape',
        answering((p) => tf.sum(p, 1)),
      ),
      'its answer is float32 [16], not float32 [16,3]',
    ],
    [
      wrongly('remembering', {
        answer: ({ logProbabilities }) => ({ logProbabilities, state: { seen: tf.scalar(1) } }),
      }),
      'its answers are pure, and one came with a state',
    ],
    [
      wrongly('throwing', {
        answer: () => {
          throw new Error('out of answers');
        },
      }),
      'out of answers',
    ],
    [
      { ...prepared, name: 'unprepared', prepare: () => Promise.reject(new Error('nothing to prepare')) },
      /unprepared\/prepare failed$/,
    ],
  ];

  test('are refused before anything is trained where that can be known: a stateful one without a beginning', () => {
    const defenses = [none(), wrongly('endless', endless)];
    expect(refusal(() => experiment({ ...small, name: 'endless', defenses, attacks: [kd()] }))).toMatchObject({
      kind: 'experiment',
      where: 'defenses',
      what: 'endless says that it is stateful, and keeps no state',
      remedy: 'Give answers.init, or another kind.',
    });
  });

  test('are failed cells with their sentences; the others are done, and no tensor stays behind', async () => {
    const root = temporaryFolder();
    const before = tf.memory().numTensors;
    const { matrix, by } = await ran(
      experiment({
        ...small,
        name: 'wrong-answers',
        defenses: [none(), ...defenses.map(([defense]) => defense)],
        attacks: [scratch(), kd()],
      }),
      root,
    );
    expect(tf.memory().numTensors).toBe(before);
    const seed = (attack: string, defense: string) =>
      matrix.cells.find((cell) => cell.attack === attack && cell.defense === defense)?.seeds[0];
    expect(seed('kd', 'none')?.status).toBe('done');
    for (const [{ name }, sentence] of defenses) {
      expect(seed('scratch', name)?.status, name).toBe('done');
      const found = seed('kd', name);
      expect(found?.status, name).toBe(name === 'unprepared' ? 'skipped' : 'failed');
      expect(found?.reason, name).toMatch(
        typeof sentence === 'string' ? new RegExp(`^${escaped(sentence)}$`) : sentence,
      );
      const theft = by[`seed-0/${name}/tiny/kd`];
      if (theft?.status !== 'failed') continue;
      expect(theft.failure.kind).toBe('plugin');
      if (!['throwing'].includes(name)) {
        expect(theft.failure.where).toBe(name);
        expect(theft.failure.remedy).toBeTruthy();
      }
    }
  });
});

const escaped = (text: string): string => text.replace(/[[\]().*+?^$]/g, '\\$&');

test('an attack that asks nothing by mistake is warned of, and one that asks is not', async () => {
  const silent = { ...kd(), name: 'silent', steal: scratch().steal as never };
  const of = experiment({
    name: 'silent',
    data,
    teacher: learner(tiny(), recipe()),
    students: [learner(tiny(), recipe())],
    defenses: [none()],
    attacks: [scratch(), kd(), silent],
    seeds: [0],
  });
  const { matrix } = await ran(of, temporaryFolder());
  const warnings = Object.fromEntries(matrix.cells.map(({ attack, seeds }) => [attack, seeds[0]?.warnings]));
  expect(warnings).toEqual({
    scratch: [],
    kd: [],
    silent: [expect.stringContaining('it asked the victim nothing, and declares that it needs probabilities')],
  });
});
