import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type FailureError, ownFrames } from '../../src/core/errors.js';
import { type Key, key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Named } from '../../src/models/network.js';
import {
  type Checkpoint,
  type FitHost,
  type FitProgress,
  type FitResult,
  type FitSpec,
  fit,
} from '../../src/train/fit.js';
import type { EpochRecord } from '../../src/train/fit-log.js';
import { constant, cosine } from '../../src/train/schedules.js';
import type { Source } from '../../src/train/source.js';
import { failureOf } from '../failures.js';
import { values } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

type State = { readonly weights: { readonly w: tf.Tensor }; readonly count: tf.Tensor };
type Batch = { readonly x: tf.Tensor };
type Kept = State['weights'];
type Spec = FitSpec<Record<string, never>, State, Batch, Kept>;

const stepsInPass = 5;

/** Batches of four numbers, of three at the end of a pass, drawn from the key and the step. */
const numbers = (from: Key): Source<Batch> => ({
  data: {},
  steps: stepsInPass,
  at: (step) => {
    const next = from.split(step).uniform();
    const images = step % stepsInPass === stepsInPass - 1 ? 3 : 4;
    return { batch: { x: tf.tensor1d(Array.from({ length: images }, next)) }, images };
  },
});

/** What is asked of the weights after an epoch: the first of them, by a step beside the training. */
const judged =
  (judge: (first: number) => number): Spec['validate'] =>
  (also) => {
    const look = also<Record<string, never>, Kept>((_, state) => ({ state, metrics: { w: state.weights.w } }));
    return () => {
      const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([0, 0], 'int32') };
      const metrics = look([{ batch: {}, inputs }]);
      const [first] = metrics.flatMap(({ w }) => values(w));
      dispose([inputs, metrics]);
      return judge(first as number);
    };
  };

/** A fit whose every number depends on all that came before: weights, batches, learning rates and seeds. */
const specOf = (changes: Partial<Spec> = {}): Spec => ({
  step: (_, { weights: { w }, count }, { x }, { learningRate, seed }) => {
    const noise = tf.mod(seed, 97).cast('float32').sum().div(1000);
    const next = w.mul(0.9).add(x.mean().mul(learningRate)).add(noise);
    const metrics = { loss: next.square().sum(), accuracy: tf.scalar(0.5) };
    return { state: { weights: { w: next }, count: count.add(tf.scalar(1, 'int32')) }, metrics };
  },
  frozen: {},
  init: (from) => ({
    weights: { w: tf.tensor1d(Array.from({ length: 3 }, from.uniform())) },
    count: tf.scalar(0, 'int32'),
  }),
  source: numbers,
  epochs: 4,
  schedule: cosine({ rate: 0.5 }),
  keep: ({ weights }) => weights,
  // Up and down, so that the best epoch is not always the last.
  validate: judged((first) => Math.abs(Math.sin(50 * first))),
  ...changes,
});

interface Memory extends FitHost {
  saved: Checkpoint | undefined;
  readonly saves: number[];
  readonly histories: (readonly EpochRecord[])[];
  readonly told: FitProgress[];
  readonly warnings: string[];
}

/** A host that keeps a checkpoint as files do: as a copy, with its numbers as JSON. */
const hostOf = (changes: Partial<FitHost> = {}): Memory => {
  const host: Memory = {
    key: key('fit'),
    checkpointEvery: 3,
    saved: undefined,
    saves: [],
    histories: [],
    told: [],
    warnings: [],
    load: async () => host.saved,
    save: async (checkpoint) => {
      host.saved = { tensors: structuredClone(checkpoint.tensors), meta: JSON.parse(JSON.stringify(checkpoint.meta)) };
      host.saves.push(checkpoint.meta.step);
    },
    epoch: async (history) => void host.histories.push(history),
    progress: (progress) => void host.told.push(progress),
    warn: (message) => void host.warnings.push(message),
    ...changes,
  };
  return host;
};

const withoutSpeed = (history: readonly EpochRecord[]) => history.map(({ stepsPerSecond: _, ...record }) => record);

/** All of a result but how long it took; its tensors are read and disposed of. */
const read = ({ last, best, seconds: _, history, ...rest }: FitResult<Kept>) => {
  const result = {
    ...rest,
    history: withoutSpeed(history),
    last: values(last.w),
    best: best && { ...best, kept: values(best.kept.w) },
  };
  dispose(best === undefined ? last : [last, best.kept]);
  return result;
};

class Killed extends Error {}

/** The fit's batches, where something happens before a step. */
const disturbed = (spec: Spec, at: number, happens: () => void): Spec => ({
  ...spec,
  source: (from) => {
    const source = spec.source(from);
    return {
      ...source,
      at: (step, atMost) => {
        if (step === at) happens();
        return source.at(step, atMost);
      },
    };
  },
});

/** Runs a fit that is stopped or killed before some steps, each time going on from what is left; to the end at last. */
const interrupted = async (
  spec: Spec,
  stops: readonly { readonly how: 'stop' | 'kill'; readonly at: number }[],
  checkpointEvery: number,
) => {
  const host = hostOf({ checkpointEvery });
  let stageRuns = 0;
  for (const { how, at } of stops) {
    const stop = new AbortController();
    const happens = () => {
      if (how === 'stop') return stop.abort();
      throw new Killed();
    };
    const ended = await fit(disturbed(spec, at, happens), { ...host, signal: stop.signal }).then(
      (fitted) => {
        read(fitted);
        return 'finished';
      },
      (error) => (error instanceof Killed ? 'killed' : (error as FailureError).failure.kind),
    );
    if (ended !== 'finished') expect(ended).toBe(how === 'stop' ? 'interrupted' : 'killed');
    if (ended !== 'finished') stageRuns += 1;
  }
  return { result: read(await fit(spec, host)), stageRuns, host };
};

describe('a fit that goes on', () => {
  const steps = 4 * stepsInPass;
  const stops = fc.array(
    fc.record({ how: fc.constantFrom('stop' as const, 'kill' as const), at: fc.nat({ max: steps - 1 }) }),
    { minLength: 1, maxLength: 4 },
  );

  test('after any stops and kills ends with the same bits as one that was never stopped', async () => {
    const whole = read(await fit(specOf(), hostOf()));
    await fc.assert(
      fc.asyncProperty(stops, fc.integer({ min: 1, max: 30 }), async (at, every) => {
        const before = tf.memory().numTensors;
        expect((await interrupted(specOf(), at, every)).result).toEqual(whole);
        expect(tf.memory().numTensors).toBe(before);
      }),
      { numRuns: 40 },
    );
  });

  test('is really stopped in these tests, and what changes a batch, a rate or a seed would be seen', async () => {
    const whole = read(await fit(specOf(), hostOf()));
    const at = [
      { how: 'kill', at: 8 },
      { how: 'stop', at: 12 },
    ] as const;
    const { result, stageRuns, host } = await interrupted(specOf(), at, 3);
    expect([result, stageRuns]).toEqual([whole, 2]);
    // Killed before step 8 it had step 6; stopped in step 12 it saves what step 12 made.
    expect(host.saves).toEqual([3, 6, 9, 12, 13, 15, 18]);

    const resumed = async (changes: Partial<Spec>, of: Partial<FitHost> = {}) => {
      const host = hostOf();
      await fit(
        disturbed(specOf(), 10, () => {
          throw new Killed();
        }),
        host,
      ).catch(() => undefined);
      return read(await fit(specOf(changes), { ...host, ...of })).last;
    };
    expect(await resumed({})).toEqual(whole.last);
    expect(await resumed({ source: (from) => numbers(from.split('other')) })).not.toEqual(whole.last);
    expect(await resumed({ schedule: constant(0.5) })).not.toEqual(whole.last);
    expect(await resumed({}, { key: key('other') })).not.toEqual(whole.last);
  });

  test('from a checkpoint of another net is refused', async () => {
    const host = hostOf();
    await fit(
      disturbed(specOf(), 10, () => {
        throw new Killed();
      }),
      host,
    ).catch(() => undefined);
    const wider = specOf({ init: () => ({ weights: { w: tf.zeros([4]) }, count: tf.scalar(0, 'int32') }) });
    const before = tf.memory().numTensors;
    expect(await failureOf(fit(wider, host))).toMatchObject({
      kind: 'store',
      what: 'the checkpoint has no tensor state/own/weights/w of shape [4]',
      remedy: expect.stringContaining('--force'),
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('by a stopping rule, which is shown an epoch at both its ends', async () => {
    const seen: [number[], number[], number][] = [];
    const ruled = specOf({
      until: ({ kept, before, history }) => {
        seen.push([values(before.w), values(kept.w), history.length]);
        return history.length === 3;
      },
    });
    const tensors = tf.memory().numTensors;
    const whole = read(await fit(ruled, hostOf()));
    expect(tf.memory().numTensors).toBe(tensors);
    expect(seen.map(([, , epochs]) => epochs)).toEqual([1, 2, 3]);
    const untrained = specOf().init(hostOf().key.split('init'));
    expect(seen[0]?.[0]).toEqual(values(untrained.weights.w));
    dispose(untrained);
    expect([seen[1]?.[0], seen[2]?.[0]]).toEqual([seen[0]?.[1], seen[1]?.[1]]);
    expect(whole).toMatchObject({ steps: 15, ended: 'rule', last: seen[2]?.[1] });
    expect(whole.history).toEqual(read(await fit(specOf(), hostOf())).history.slice(0, 3));
    for (const at of [2, 5, 9, 14]) {
      seen.length = 0;
      expect((await interrupted(ruled, [{ how: 'kill', at }], 3)).result).toEqual(whole);
      expect(seen.at(-1)?.[0]).not.toEqual(seen.at(-1)?.[1]);
    }
    // One that never holds leaves all as it is.
    expect(read(await fit(specOf({ until: () => false }), hostOf()))).toEqual(read(await fit(specOf(), hostOf())));
  });

  test('within a last epoch that is a shorter one', async () => {
    const shorter = specOf({ epochs: 3, steps: 12 });
    const whole = read(await fit(shorter, hostOf()));
    expect(whole.history.map(({ epoch, step }) => [epoch, step])).toEqual([
      [0, 5],
      [1, 10],
      [2, 12],
    ]);
    expect([whole.steps, whole.images]).toEqual([12, 19 + 19 + 8]);
    // Its mean is of its own steps alone.
    expect(whole.history[2]?.metrics.loss).not.toBe(whole.history[1]?.metrics.loss);
    for (const at of [4, 10, 11]) expect((await interrupted(shorter, [{ how: 'kill', at }], 3)).result).toEqual(whole);
  });

  test('tells an interruption from a failure, and where it stopped', async () => {
    const stop = new AbortController();
    stop.abort();
    const host = hostOf({ signal: stop.signal });
    expect(await failureOf(fit(specOf(), host))).toMatchObject({
      kind: 'interrupted',
      what: 'stopped at step 0 of 20',
    });
    expect(host.saves).toEqual([0]);
  });
});

describe('what a fit gives', () => {
  test('is counted: steps and images by the sizes of batches, and nothing asked of nobody', async () => {
    const { steps, images, queries, forward, backward } = read(await fit(specOf(), hostOf()));
    expect([steps, images]).toEqual([20, 4 * 19]);
    expect([queries, forward, backward]).toEqual([0, 0, 0]);
  });

  test('is one record an epoch: means over its images, the rate of its last step, validation', async () => {
    const host = hostOf();
    const losses: number[] = [];
    const spec = specOf({
      validate: () => () => 0.25,
      step: (_, state, { x }) => ({ state, metrics: { loss: x.mean(), accuracy: tf.scalar(0.5) } }),
      source: (from) => {
        const source = numbers(from);
        return {
          ...source,
          at: (step) => {
            const { batch, images } = source.at(step);
            losses.push(...values(batch.x));
            return { batch, images };
          },
        };
      },
    });
    const { history } = read(await fit(spec, host));
    expect(history.map(({ epoch, step }) => [epoch, step])).toEqual([
      [0, 5],
      [1, 10],
      [2, 15],
      [3, 20],
    ]);
    const mean = losses.slice(0, 19).reduce((sum, each) => sum + each, 0) / 19;
    expect(history[0]?.metrics.loss).toBeCloseTo(mean, 6);
    expect(history[0]).toMatchObject({ validation: 0.25, metrics: { accuracy: 0.5 } });
    expect(history[3]?.learningRate).toBe(
      cosine({ rate: 0.5 }).at({ epoch: 3, step: 19, stepsPerEpoch: 5, epochs: 4 }),
    );
    expect(host.histories.map(({ length }) => length)).toEqual([1, 2, 3, 4]);
    expect(withoutSpeed(host.histories[3] ?? [])).toEqual(history);
    expect(host.told.at(-1)).toMatchObject({ epoch: 3, epochs: 4, step: 20, steps: 20, secondsLeft: 0 });
  });

  test('may be of metrics that are called like what every object inherits', async () => {
    const spec = specOf({
      step: (_, state, { x }) => ({
        state,
        metrics: Object.fromEntries([
          ['loss', x.mean()],
          ['constructor', tf.scalar(0.5)],
        ]),
      }),
    });
    const { history } = read(await fit(spec, hostOf()));
    expect(history.map(({ metrics }) => Object.entries(metrics).at(-1))).toEqual(Array(4).fill(['constructor', 0.5]));
  });

  test('is the weights after the last step, and those of the best epoch: the later one of equals', async () => {
    const lastOf = async (epochs: number) =>
      read(await fit(specOf({ epochs, schedule: constant(0.5), validate: undefined }), hostOf())).last;
    const scores = [0.5, 0.75, 0.75, 0.25];
    let asked = 0;
    const spec = specOf({ schedule: constant(0.5), validate: () => () => scores[asked++] as number });
    const { last, best } = read(await fit(spec, hostOf()));
    expect(last).toEqual(await lastOf(4));
    expect(best).toEqual({ epoch: 2, validation: 0.75, kept: await lastOf(3) });
    expect(read(await fit(specOf({ validate: undefined }), hostOf())).best).toBeUndefined();
  });

  test('may take other epochs than passes: batches go round and round', async () => {
    const asked: number[] = [];
    const spec = specOf({
      stepsPerEpoch: 7,
      epochs: 2,
      source: (from) => ({
        data: {},
        steps: 3,
        at: (step) => {
          asked.push(step);
          return numbers(from).at(step);
        },
      }),
    });
    const { history, steps } = read(await fit(spec, hostOf()));
    expect(asked).toEqual(Array.from({ length: 14 }, (_, step) => step));
    expect([steps, history.length, history[0]?.step]).toEqual([14, 2, 7]);
  });
});

describe('a fit that goes wrong ends, with its last good numbers and a hint', () => {
  const from = (step: number, metric: 'loss' | 'accuracy', value: number): Spec =>
    specOf({
      step: (_, { weights, count }, __, ___) => {
        const wrong = tf.greaterEqual(count, step);
        const pick = (name: string, good: number) => (name === metric ? tf.where(wrong, value, good) : tf.scalar(good));
        return {
          state: { weights, count: count.add(tf.scalar(1, 'int32')) },
          metrics: { loss: pick('loss', -1.5), accuracy: pick('accuracy', 0.5) },
        };
      },
    });

  test.each([
    [0, Number.POSITIVE_INFINITY, 'loss became Infinity in epoch 1, step 1 of 20 (no epoch was completed before)'],
    [4, Number.POSITIVE_INFINITY, 'loss became Infinity in epoch 1, step 5 of 20 (no epoch was completed before)'],
    [5, Number.NaN, 'loss became NaN in epoch 2, step 6 of 20 (last good: epoch 1, loss -1.500, accuracy 0.5000)'],
    [19, Number.NaN, 'loss became NaN in epoch 4, step 20 of 20 (last good: epoch 3, loss -1.500, accuracy 0.5000)'],
  ])('from step %i on the loss is %d', async (step, value, what) => {
    expect(await failureOf(fit(from(step, 'loss', value), hostOf()))).toMatchObject({
      kind: 'diverged',
      what,
      remedy: expect.stringContaining('Lower the learning rate'),
    });
  });

  test.each<readonly [string, string, (x: tf.Tensor, w: tf.Tensor) => Named & { readonly next?: tf.Tensor }]>([
    [
      'with the terms that are none',
      'loss became NaN, and so did entropy, in epoch 1, step 1 of 20, and the first NaN was made by Log in step 1',
      (x) => {
        const [close, entropy] = [tf.mean(x), tf.log(tf.neg(tf.sum(x)))];
        return { loss: tf.add(close, entropy), close, entropy };
      },
    ],
    [
      'without terms',
      'loss became NaN in epoch 1, step 1 of 20, and the first NaN was made by Mul in step 1',
      (x) => ({ loss: tf.mul(tf.log(tf.sub(x, x)), 0).sum() }),
    ],
    [
      'when it came of what the first step left',
      'loss became NaN in epoch 1, step 2 of 20, and the first NaN was made by Sqrt in step 1',
      (_, w) => ({ loss: tf.sum(w), next: tf.sqrt(tf.sub(w, 2)) }),
    ],
  ])('in its first step, by the operation and the line that made it: %s', async (_, what, metrics) => {
    const spec = specOf({
      step: (_given, { weights: { w }, count }, { x }) => {
        const { next = w, ...rest } = metrics(x, w);
        return { state: { weights: { w: next }, count }, metrics: rest };
      },
    });
    const before = tf.memory().numTensors;
    const failed = await failureOf(fit(spec, hostOf()));
    expect(tf.memory().numTensors).toBe(before);
    expect(failed).toMatchObject({
      kind: 'diverged',
      what: `${what} (no epoch was completed before)`,
      remedy: expect.stringContaining('the logarithm or root of a negative number'),
    });
    expect(ownFrames(failed.trace ?? '')[0]).toMatch(/test\/train\/fit\.test\.ts:\d+:\d+/);
  });

  test('a negative loss is legitimate', async () => {
    expect(read(await fit(from(99, 'loss', 0), hostOf())).history[3]?.metrics.loss).toBe(-1.5);
  });

  const guessing = (accuracy: number, changes: Partial<Spec> = {}): Promise<FitResult<Kept>> =>
    fit({ ...from(0, 'accuracy', accuracy), stopAtChance: { classes: 3 }, ...changes }, hostOf());

  test('training accuracy at chance after the second epoch', async () => {
    expect(await failureOf(guessing(1 / 3))).toMatchObject({
      kind: 'diverged',
      what: 'training accuracy is at chance (33.3 %) after 2 epochs (last good: epoch 2, loss -1.500, accuracy 0.3333)',
      remedy: expect.stringContaining('learning rate'),
    });
    expect((await failureOf(guessing(0.1))).kind).toBe('diverged');
  });

  test('but not a slow start, nor a fit that is done before, nor one that may be held at chance', async () => {
    // 19 images of 3 classes: a guesser has 33 ± 11 %.
    expect(read(await guessing(0.46)).steps).toBe(20);
    expect(read(await guessing(1 / 3, { epochs: 1 })).steps).toBe(5);
    expect(read(await guessing(1 / 3, { stopAtChance: undefined })).steps).toBe(20);
  });
});

describe('no tensor is left behind', () => {
  const throwing = () => {
    throw new Error('a mistake');
  };
  const rejecting = async () => throwing();
  const good = specOf();

  const atStep =
    (step: number): Spec['step'] =>
    (frozen, state, batch, inputs) => {
      if (values(state.count)[0] === step) throwing();
      return good.step(frozen, state, batch, inputs);
    };
  const atEpoch = (epoch: number): Spec['validate'] => {
    let asked = 0;
    return () => () => (asked++ === epoch ? throwing() : 0.5);
  };
  const metrics =
    (loss: number, accuracy: number): Spec['step'] =>
    (_, state) => ({
      state,
      metrics: { loss: tf.scalar(loss), accuracy: tf.scalar(accuracy) },
    });
  const otherForm: Spec['step'] = (_, { weights: { w }, count }) => ({
    state: { weights: { w: w.concat(w) }, count },
    metrics: {},
  });

  test.each<readonly [string, Spec, Partial<FitHost>, string | undefined]>([
    ['by a fit that ends well', good, {}, undefined],
    ['when a step throws', specOf({ step: atStep(0) }), {}, 'a mistake'],
    ['when a later step throws', specOf({ step: atStep(7) }), {}, 'a mistake'],
    ['when a step changes the form of its state', specOf({ step: otherForm }), {}, 'must have the paths'],
    ['when validation throws', specOf({ validate: atEpoch(0) }), {}, 'a mistake'],
    ['when a later validation throws', specOf({ validate: atEpoch(2) }), {}, 'a mistake'],
    ['when the schedule throws', specOf({ schedule: { ...constant(1), at: throwing } }), {}, 'a mistake'],
    ['when there is no such batch', disturbed(good, 6, throwing), {}, 'a mistake'],
    ['when initialisation throws', specOf({ init: throwing }), {}, 'a mistake'],
    ['when a checkpoint cannot be written', good, { save: rejecting }, 'a mistake'],
    ['when a checkpoint cannot be read', good, { load: rejecting }, 'a mistake'],
    ['when the log cannot be written', good, { epoch: rejecting }, 'a mistake'],
    ['when progress throws', good, { progress: throwing }, 'a mistake'],
    ['when the loss is not a number', specOf({ step: metrics(Number.NaN, 0) }), {}, 'loss became NaN'],
    ['when it is at chance', specOf({ step: metrics(1, 0), stopAtChance: { classes: 2 } }), {}, 'at chance'],
    ['when it is stopped', good, { signal: AbortSignal.abort() }, 'stopped at step 0'],
  ])('%s', async (_, spec, changes, ends) => {
    const before = tf.memory().numTensors;
    const ended = await fit(spec, hostOf(changes)).then(
      (fitted) => void read(fitted),
      (error: Error) => error.message,
    );
    expect(tf.memory().numTensors).toBe(before);
    expect(ended).toEqual(ends === undefined ? undefined : expect.stringContaining(ends));
  });

  test('and no more while a fit goes on, from epoch to epoch', async () => {
    const counts: number[] = [];
    const host = hostOf({ epoch: async () => void counts.push(tf.memory().numTensors) });
    read(await fit(specOf({ validate: undefined, epochs: 6 }), host));
    // At the end of the first epoch the state may still be tensors; later it lies where the steps run.
    const [first, ...later] = counts as [number, ...number[]];
    expect(new Set(later).size).toBe(1);
    expect(first).toBeGreaterThanOrEqual(later[0] as number);
  });
});
