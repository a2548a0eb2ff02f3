import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import type { Task } from '../../src/core/errors.js';
import type { OptionsOf } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { type Defense, partsOf } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Call, Runner, Step } from '../../src/engine/step.js';
import { airbench } from '../../src/models/airbench.js';
import { leNet5 } from '../../src/models/lenet.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type { ImageShape, NetworkPlugin, Variables } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { resNeXt29 } from '../../src/models/resnext.js';
import { shuffleNetV2 } from '../../src/models/shufflenet-v2.js';
import { type BuiltLearner, type ClassifierState, classifier } from '../../src/train/classifier.js';
import { evaluationStep, logitsOn } from '../../src/train/evaluate.js';
import { type Checkpoint, type FitHost, type FitSpec, fit } from '../../src/train/fit.js';
import { type Frame, frameOf, type Noted, type Whole, wholeState, wholeStep } from '../../src/train/fit-step.js';
import { type ImageSet, imageSource, type RawBatch, type Resident } from '../../src/train/images.js';
import { crossEntropy } from '../../src/train/losses.js';
import { adam, sgd } from '../../src/train/optimizers.js';
import { type Access, publish, retire, type Victim, type Wrapper } from '../../src/train/oracle.js';
import type { Recipe } from '../../src/train/recipe.js';
import { constant, cosine } from '../../src/train/schedules.js';
import type { Source } from '../../src/train/source.js';
import { fresh, sticking, tiring } from '../defenses/answering.js';
import { bitsOf } from '../engine/bits.js';
import { recipe } from '../run/helpers.js';
import { context, normalised } from './bench.js';
import { how } from './runners.js';

vi.mock('../../src/engine/runner.js', () => import('./runners.js'));

/** Weights and victims that a test has made. */
const made: tree.Tree[] = [];
const published: Victim[] = [];
const freshOf = ({ network }: BuiltLearner, name: string): Variables => {
  const variables = network.init(key(name));
  made.push(variables);
  return variables;
};

let before: number;
beforeAll(async () => {
  await loadEngine();
  how.cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterAll(() => rmSync(how.cache, { recursive: true, force: true }));
beforeEach(() => {
  how.stride = 1;
  before = tf.memory().numTensors;
});
afterEach(async () => {
  // Vitest gives up on a worker that does not hear it for a minute, and these tests hardly ever wait.
  await setTimeout(30);
  published.splice(0).forEach(retire);
  tree.dispose(made.splice(0));
  expect(tf.memory().numTensors).toBe(before);
});

// No power of two, by which everything could be divided without rounding; and the last batch of a pass is smaller.
const batch = 12;
const count = 34;

/** Images as if at random, of three classes. */
const picturesOf = (shape: ImageShape, images = count): ImageSet => {
  const size = shape.height * shape.width * shape.channels;
  const labels = Uint8Array.from({ length: images }, (_, i) => i % 3);
  const noise = (i: number) => (Math.imul(i + 1, 0x9e3779b1) >>> 16) % 160;
  const bright = (i: number) => (Math.floor((3 * (i % size)) / size) === labels[Math.floor(i / size)] ? 90 : 0);
  return {
    examples: {
      images: Uint8Array.from({ length: images * size }, (_, i) => noise(i) + bright(i)),
      labels,
      count: images,
    },
    indices: Int32Array.from({ length: images }, (_, i) => i),
    shape,
    normalisation: { mean: Array(shape.channels).fill(0.4), std: Array(shape.channels).fill(0.3) },
    augmentation: { crop: 2, flip: true },
    labelled: true,
  };
};

const colour = picturesOf({ height: 8, width: 8, channels: 3 });
const learnerOf = (
  { shape }: ImageSet = colour,
  net: NetworkPlugin = normalised(5),
  changes: Partial<Recipe> = {},
): BuiltLearner => ({
  network: net.build(shape, 3),
  recipe: recipe({ batch, optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), ...changes }),
});

// biome-ignore lint/suspicious/noExplicitAny: what is frozen is of whatever form
type Spec = FitSpec<any, ClassifierState, RawBatch, Variables, Resident>;

/** The fit that an attack or a defence asks for. */
const asked = (run: (given: AttackContext) => unknown): Spec => {
  let spec: Spec | undefined;
  const tried = context(key('stage'), {
    fitting: (_, of) => {
      spec = of as unknown as Spec;
      return new Promise(() => undefined);
    },
  });
  const doing = run({ ...tried, data: { train: colour, validation: colour } as never, fullStepsPerEpoch: 4 });
  void (doing as Task<unknown>)();
  return spec as Spec;
};

const plain = (learner = learnerOf(), data: ImageSet = colour): Spec =>
  classifier({
    learner,
    data,
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
  }) as Spec;

/** What a defence puts before a victim. */
const wrappersOf = (defense: Defense): readonly Wrapper[] =>
  partsOf(defense).flatMap(({ name, answers, preserves }) =>
    answers === undefined ? [] : [{ name, answers, preserves, prepared: {} }],
  );

const victimOf = <A extends Access>(access: A, wrappers: readonly Wrapper[] = []): Victim<A> => {
  const { network, ...learner } = learnerOf(colour, normalised(4));
  const variables = freshOf({ network, ...learner }, 'victim');
  const normalisation = { mean: Array(3).fill(0.5), std: Array(3).fill(0.25) };
  const victim = publish({ network, variables, normalisation, access, wrappers, secret: [5, 6] });
  published.push(victim);
  return victim;
};
const stolen = (attack: AnyAttack, defense: Defense | readonly Wrapper[] = [], learner = learnerOf()): Spec => {
  // Without labels where it declares that it has none.
  const data = { train: { ...colour, labelled: attack.data.kind === 'labelled' }, validation: colour };
  const victim = victimOf(attack.needs, 'source' in defense ? wrappersOf(defense) : defense);
  return asked((given) => attack.steal(victim, learner, { ...given, data: data as never }));
};
const protectedBy = (options: OptionsOf<typeof nasty>): Spec => {
  const learner = learnerOf();
  const other = learnerOf(colour, options.adversary);
  const { protect } = nasty(options) as Required<Pick<Defense, 'protect'>>;
  const adversary = { learner: other, variables: freshOf(other, 'adversary') };
  return asked((given) =>
    protect(
      { learner, variables: freshOf(learner, 'teacher') },
      { ...given, train: colour, validation: colour, adversary },
    ),
  );
};

const callOf = (spec: Spec, at: Source<RawBatch, Resident>['at'], step: number): Call<RawBatch> => ({
  batch: at(step).batch,
  inputs: {
    learningRate: tf.scalar(spec.schedule.at({ epoch: 0, step, stepsPerEpoch: 3, epochs: 2 })),
    seed: tf.tensor1d([...key('seeds').split(step).int32Pair()], 'int32'),
  },
});

// biome-ignore lint/suspicious/noExplicitAny: what is frozen is of whatever form
type Framed = Frame<any, Resident>;
type MakeRunner = (
  step: Step<Framed, Whole<ClassifierState>, RawBatch, Noted>,
  frame: Framed,
) => Runner<Framed, Whole<ClassifierState>, RawBatch, Noted>;

/** Steps of a spec by a runner: the metrics of each, and the state after the last, as bits. */
const bitsBy = (spec: Spec, make: MakeRunner, { steps = 6, source = spec.source(key('batches')) } = {}) => {
  const runner = make(wholeStep(spec), frameOf(spec, source.data));
  const start = wholeState(spec, key('init'));
  runner.load(start);
  const calls = Array.from({ length: steps }, (_, step) => callOf(spec, source.at, step));
  const metrics = runner.run(calls);
  const state = runner.read();
  const bits = { metrics: metrics.map(bitsOf), state: bitsOf(state), execution: runner.execution };
  tree.dispose([start, metrics, state, source.data]);
  for (const call of calls) tree.dispose([call.batch, call.inputs]);
  runner.dispose();
  return bits;
};

type Bits = ReturnType<typeof bitsBy>;

/** The names of the tensors in which two runs differ. */
const differences = (one: Bits, other: Bits): readonly string[] => {
  const flat = ({ metrics, state }: Bits) => [
    ...metrics.flatMap((each, step) => each.map((leaf) => [`step ${step}: ${leaf[0]}`, leaf] as const)),
    ...state.map((leaf) => [`state: ${leaf[0]}`, leaf] as const),
  ];
  const [left, right] = [flat(one), flat(other)];
  expect(right.length).toBe(left.length);
  return left.flatMap(([name, leaf], i) => (JSON.stringify(leaf) === JSON.stringify(right[i]?.[1]) ? [] : [name]));
};

const compiled =
  (stride = 1): MakeRunner =>
  (step, frame) =>
    compile(step, frame, { cache: how.cache, stride });

describe('compiled, a step of training is the eager one to the last bit', () => {
  const still = { ...colour, augmentation: { crop: 0, flip: false } };
  const bare = { ...colour, augmentation: { crop: 0, flip: true } };
  const by = (optimizer: Recipe['optimizer']) => plain(learnerOf(colour, normalised(5), { optimizer }));
  const wide = normalised(7);

  test.each<readonly [string, () => Spec]>([
    ['on labels, of cropped and flipped images', () => plain()],
    ['on labels, of flipped images', () => plain(learnerOf(), bare)],
    [
      'on labels, of turned images',
      () => plain(learnerOf(), { ...bare, augmentation: { ...bare.augmentation, rotate: 20 } }),
    ],
    ['on labels, of images as they are', () => plain(learnerOf(), still)],
    [
      'on labels, of images flipped in turn and cropped from a mirrored border',
      () => plain(learnerOf(), { ...colour, augmentation: { crop: 2, border: 'reflect', flip: 'alternating' } }),
    ],
    [
      'with averaged weights',
      () => plain(learnerOf(colour, normalised(5), { epochs: 2, lookahead: { every: 2, decay: 0.9 } })),
    ],
    [
      'with parameter groups',
      () => by(sgd({ momentum: 0.8, nesterov: true, groups: [{ names: 'bn.*', rate: 9, weightDecay: 0.1 }] })),
    ],
    ['with parameter groups of Adam', () => by(adam({ groups: [{ names: '*.bias', rate: 0.5 }] }))],
    ['on smoothed labels', () => stolen(labelSmoothing({ epsilon: 0.3 }))],
    ['of scratch on half of the images for as many steps', () => stolen(scratch({ fraction: 0.5, steps: 'same' }))],
    ['of distillation', () => stolen(kd())],
    ['of distillation at temperature 3', () => stolen(kd({ temperature: 3, alpha: 0.7 }))],
    ['of distillation at temperature 20', () => stolen(kd({ temperature: 20 }))],
    ['of distillation from answers alone', () => stolen(kd({ temperature: 1, alpha: 1 }))],
    ['of distillation on a part', () => stolen(partialKd({ fraction: 0.5, temperature: 7 }))],
    ['of distillation from rounded answers', () => stolen(kd({ temperature: 3 }), rounding(1))],
    ['of distillation from the largest answers', () => stolen(kd({ temperature: 3 }), topK(2))],
    ['of distillation from both', () => stolen(kd({ temperature: 6 }), compose(nasty(), topK(2), rounding(2)))],
    ['of distillation from answers with fresh noise', () => stolen(kd({ temperature: 3 }), [fresh])],
    ['of distillation from answers with noise that sticks', () => stolen(kd({ temperature: 3 }), [sticking])],
    ['of distillation from a victim that remembers', () => stolen(kd({ temperature: 3 }), [tiring])],
    ['of distillation from all of them', () => stolen(kd({ temperature: 3 }), [fresh, tiring, sticking, tiring])],
    ['of hard labels of a victim that remembers', () => stolen(hardLabel(), [tiring, fresh])],
    ['of hard labels', () => stolen(hardLabel())],
    ['of hard labels, all that is told', () => stolen(hardLabel(), compose(nasty(), rounding(2), labelOnly()))],
    ['of a nasty teacher', () => protectedBy({})],
    ['of a nasty teacher at temperature 20', () => protectedBy({ omega: 0.005, temperature: 20 })],
    ['of a nasty teacher with warm-up', () => protectedBy({ warmUpEpochs: 2 })],
    ['of a nasty teacher with clipping', () => protectedBy({ clipNorm: 0.1 })],
    ['of a nasty teacher that starts from the normal one', () => protectedBy({ initFrom: 'baseline' })],
    ['of a nasty teacher with another adversary', () => protectedBy({ adversary: wide, warmUpEpochs: 1, clipNorm: 5 })],
    ['with plain descent', () => by(sgd())],
    ['with Nesterov’s momentum and clipping', () => by(sgd({ momentum: 0.9, nesterov: true, clip: 0.3 }))],
    ['with decoupled decay', () => by(sgd({ momentum: 0.7, weightDecay: 1e-3, decoupled: true }))],
    ['with Adam', () => by(adam())],
    ['with AdamW and clipping', () => by(adam({ weightDecay: 1e-2, decoupled: true, clip: 1 }))],
    [
      'in bfloat16',
      () => plain(learnerOf(colour, normalised(5), { optimizer: sgd({ momentum: 0.9 }), precision: 'bfloat16' })),
    ],
  ])('%s', (_, make) => {
    // Of the steps two are taken one by one and two in one call.
    const [expected, found] = [bitsBy(make(), eager), bitsBy(make(), compiled(2))];
    expect(found.execution).toBe('graph');
    expect(differences(expected, found)).toEqual([]);
    expect(new Set(expected.metrics.map((each) => JSON.stringify(each))).size).toBe(6);
  });
});

describe('compiled, every kind of net is the eager one to the last bit', () => {
  const grey = picturesOf({ height: 32, width: 32, channels: 1 }, 17);
  const large = picturesOf({ height: 32, width: 32, channels: 3 }, 17);
  const small = picturesOf({ height: 32, width: 32, channels: 3 }, 7);
  const tiny = picturesOf({ height: 8, width: 8, channels: 3 }, 5);

  const nets: readonly (readonly [string, NetworkPlugin, ImageSet, number])[] = [
    ['LeNet-5', leNet5(), grey, 6],
    ['the plain CNN', plainCnn({ width: 8 }), large, 6],
    ['a pre-activation ResNet', preResNet(20), small, 3],
    ['a ResNet', resNet(18), tiny, 2],
    ['a ResNeXt', resNeXt29(), tiny, 2],
    ['MobileNetV2', mobileNetV2(), small, 3],
    ['ShuffleNetV2', shuffleNetV2(), small, 3],
    ['airbench', airbench(), small, 3],
  ];

  test.each(nets)('%s in training and in evaluation', (_, net, data, size) => {
    const learner = learnerOf(data, net, { batch: size });
    const spec = plain(learner, data);
    // A pass, of which the last batch is smaller.
    const steps = 3;
    const [one, other] = [bitsBy(spec, eager, { steps }), bitsBy(spec, compiled(), { steps })];
    expect(differences(one, other)).toEqual([]);
    expect(other.execution).toBe('graph');

    const evaluating = evaluationStep(learner.network, data, ({ variables }: ClassifierState) => variables);
    const answers = (make: MakeRunner) =>
      bitsBy({ ...spec, step: (_, state, batch, inputs) => evaluating({}, state, batch, inputs) }, make, { steps });
    expect(differences(answers(eager), answers(compiled()))).toEqual([]);
  });
});

describe('compiled', () => {
  test('the logits of a set are those of its net, image by image', () => {
    const learner = learnerOf();
    const variables = freshOf(learner, 'init');
    const many = { ...colour, indices: Int32Array.from({ length: 1203 }, (_, i) => (7 * i) % count) };
    const graph = logitsOn(learner.network, variables, many);
    how.stride = 'eager';
    expect(new Int32Array(graph.buffer)).toEqual(new Int32Array(logitsOn(learner.network, variables, many).buffer));
    expect(graph.length).toBe(3609);
  });

  test('an image is jittered by the seed of its step alone', () => {
    const spec = plain(learnerOf(colour, normalised(5), { schedule: constant(0), optimizer: sgd() }));
    const source = imageSource(colour, { batch, key: key('batches'), resident: false });
    const runner = compiled()(wholeStep(spec), frameOf(spec, {}));
    const start = wholeState(spec, key('init'));
    runner.load(start);
    const lossAt = (seed: number): number => {
      const call = callOf(spec, source.at, 0);
      const inputs = { ...call.inputs, seed: tf.tensor1d([seed, 0], 'int32') };
      const noted = runner.run([{ ...call, inputs }]) as [Noted];
      const [loss] = (noted[0].metrics.loss as tf.Tensor).dataSync();
      tree.dispose([call.batch, call.inputs, inputs.seed, noted]);
      return loss as number;
    };
    // Weights stand still at a rate of 0, and in training a net sees its batch's statistics alone.
    const [traced, ...losses] = [1, 1, 2, 1, 3, 2].map(lossAt) as [number, ...number[]];
    expect(losses[0]).toBe(traced);
    expect(losses[2]).toBe(traced);
    expect(losses[1]).toBe(losses[4]);
    expect(new Set(losses).size).toBe(3);
    tree.dispose(start);
    runner.dispose();
  });

  test.each([true, false])('images on the device are the same batches as brought ones (labelled: %s)', (labelled) => {
    const set = { ...colour, labelled } as ImageSet;
    const spec = labelled ? plain(learnerOf(), set) : stolen(hardLabel());
    const from = (resident: boolean) => imageSource(set, { batch, key: key('batches'), resident });
    const brought = bitsBy(spec, eager, { source: from(false) });
    for (const [make, resident] of [
      [eager, true],
      [compiled(), true],
      [compiled(), false],
      [compiled(3), true],
    ] as const) {
      const found = bitsBy(spec, make, { source: from(resident) });
      expect(differences(brought, found)).toEqual([]);
    }
  });
});

describe('compiled, a fit', () => {
  const learner = learnerOf(colour, normalised(5), { epochs: 4, schedule: cosine({ rate: 0.1 }) });
  const part = (from: number, to: number): ImageSet => ({ ...colour, indices: colour.indices.subarray(from, to) });
  const specOf = (): Spec => {
    return classifier({
      learner,
      data: part(0, 29),
      validation: part(29, count),
      victim: victimOf('probabilities'),
      target: ({ victim, pixels }) => ({ answers: victim.logProbabilities(pixels) }),
      loss: ({ logits, target: { answers }, batch: { labels } }) => {
        const apart = tf.losses.meanSquaredError(answers, logits).div<tf.Scalar>(7);
        return { loss: tf.add(crossEntropy(logits, labels), apart), terms: { apart } };
      },
    }) as unknown as Spec;
  };

  /** A host that keeps a checkpoint as a file does. */
  const hostOf = (checkpointEvery: number): FitHost & { readonly saves: number[] } => {
    let saved: Checkpoint | undefined;
    const saves: number[] = [];
    return {
      key: key('fit'),
      checkpointEvery,
      saves,
      load: async () => saved,
      save: async (checkpoint) => {
        saved = structuredClone(checkpoint);
        saves.push(checkpoint.meta.step);
      },
      epoch: async () => undefined,
      progress: () => undefined,
      warn: (message) => {
        throw new Error(message);
      },
    };
  };

  const fitted = async (spec: Spec, host: FitHost) => {
    const { last, best, history, seconds: _, execution, ...ledger } = await fit(spec, host);
    const result = {
      ...ledger,
      history: history.map(({ stepsPerSecond: __, ...record }) => record),
      last: bitsOf(last),
      best: best && { ...best, kept: bitsOf(best.kept) },
    };
    tree.dispose(best === undefined ? last : [last, best.kept]);
    return { result, execution };
  };

  test.each([1, 2, 3, 5])(
    'in strides of %i has the ledger, the log and the weights of an eager one',
    async (stride) => {
      const spec = specOf();
      how.stride = 'eager';
      const expected = await fitted(spec, hostOf(1000));
      expect(expected.execution).toBe('eager');
      expect(expected.result).toMatchObject({ steps: 12, images: 4 * 29, queries: 4 * 29, forward: 0, backward: 0 });
      how.stride = stride;
      for (const every of [1000, 4]) {
        const found = await fitted(spec, hostOf(every));
        expect(found).toEqual({ result: expected.result, execution: 'graph' });
      }
    },
  );

  test.each([1, 2, 3])('in strides of %i that is killed goes on as if it had not been', async (stride) => {
    how.stride = stride;
    const spec = specOf();
    const whole = await fitted(spec, hostOf(1000));
    for (const at of [1, 4, 5, 10]) {
      const host = hostOf(2);
      const killed: Spec = {
        ...spec,
        source: (from) => {
          const source = spec.source(from);
          const next: typeof source.at = (step) => {
            if (step === at) throw new Error('killed');
            return source.at(step);
          };
          return { ...source, at: next };
        },
      };
      await expect(fitted(killed, host)).rejects.toThrow('killed');
      expect(host.saves).toEqual([2, 4, 6, 8, 10].filter((step) => step <= at));
      expect(await fitted(spec, host)).toEqual(whole);
    }
  });
});
