import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { pairsOf, whyNoPairs } from '../../src/attacks/activation-pairs.js';
import { askingAgain } from '../../src/attacks/asking-again.js';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { completedKd } from '../../src/attacks/completed-kd.js';
import { dfad, opposing } from '../../src/attacks/dfad.js';
import { dfme } from '../../src/attacks/dfme.js';
import { dfms, discriminator } from '../../src/attacks/dfms.js';
import { dfq } from '../../src/attacks/dfq.js';
import { disguide } from '../../src/attacks/disguide.js';
import { dist } from '../../src/attacks/dist.js';
import { dkd } from '../../src/attacks/dkd.js';
import { dualStudents } from '../../src/attacks/dual-students.js';
import { fast, startingFrom } from '../../src/attacks/fast.js';
import { fitNet } from '../../src/attacks/fit-net.js';
import { jbda } from '../../src/attacks/jbda.js';
import { epochsWithin, sidesOf4 } from '../../src/attacks/joint.js';
import { adaptiveKnockoff, knockoff } from '../../src/attacks/knockoff.js';
import { logitStandardisation } from '../../src/attacks/logit-standardisation.js';
import { diverging, maze } from '../../src/attacks/maze.js';
import { noise } from '../../src/attacks/noise.js';
import { bayesKd, ddaeKd } from '../../src/attacks/recovery.js';
import { believing, zskt } from '../../src/attacks/zskt.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { take } from '../../src/engine/step.js';
import { dcgan } from '../../src/models/generator.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type { Network } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { frameOf, wholeState, wholeStep } from '../../src/train/fit-step.js';
import { jointFit } from '../../src/train/joint.js';
import { open, publish, retire, sessionOf, tensorsOf, type Victim } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import type { Synthesiser } from '../../src/train/synthesiser.js';
import { circumstances, dataOf, reasonOf, recipe, thirds, tiny } from '../run/helpers.js';
import { context, endOf, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { image, learnerOf, normalisationOf, roomy, siteOf, useBench, victimOf } from './stepping.js';

const bench = useBench();
const small = { batch: 6, latent: 5, width: 4, keep: 4, epochs: 1, stepsPerEpoch: 3 } as const;

const sizeOf = (params: Readonly<Record<string, tf.Tensor>>): number =>
  Object.values(params).reduce((sum, { size }) => sum + size, 0);

describe('nets have as many parameters as the released ones', () => {
  const colour = { height: 32, width: 32, channels: 3 };
  const made = (
    synthesiser: Synthesiser<{ readonly variables: { readonly params: Readonly<Record<string, tf.Tensor>> } }, never>,
  ) =>
    tf.tidy(() =>
      sizeOf(synthesiser.init(key('g'), { input: colour } as never, { memory: {} as never }).variables.params),
    );

  test('generators', () => {
    expect(made(believing({ batch: 2, latent: 100, width: 128, generatorRate: 1, klWeight: 1 }) as never)).toBe(
      1_051_145,
    );
    const forward = { directions: 1, epsilon: 1 };
    expect(made(diverging({ batch: 2, latent: 100, width: 128, generatorRate: 1, ...forward }) as never)).toBe(
      1_051_145,
    );
    expect(made(opposing({ batch: 2, latent: 256, width: 128, generatorRate: 1 }) as never)).toBe(2_329_091);
    tf.tidy(() => {
      expect(sizeOf(dcgan({ latent: 100, width: 512 }).build(colour).init(key('g')).params)).toBe(3_573_824);
    });
  });

  test('the discriminator', () => {
    tf.tidy(() => {
      expect(sizeOf(discriminator(512).build(colour, 1).init(key('d')).params)).toBe(2_759_424);
      // … and it takes grey images of another size.
      const grey = { height: 28, width: 28, channels: 1 };
      const net = discriminator(64).build(grey, 1);
      const { logits } = net.apply(net.init(key('d')), tf.zeros([2, 28, 28, 1]), { mode: 'train' });
      expect(logits.shape).toEqual([2, 1]);
      const generator = dcgan({ latent: 5, width: 64 }).build(grey);
      const { images } = generator.apply(generator.init(key('g')), tf.zeros([2, 5]), { mode: 'train' });
      expect(images.shape).toEqual([2, 28, 28, 1]);
    });
  });
});

describe('the generator that batches start from', () => {
  const options = {
    ...{ batch: 4, iterations: 2, generatorRate: 5e-3, inputRate: 0.015, latent: 5, width: 4 },
    ...{ batchNorm: 10, oneHot: 0.5, adversarial: 1.33, warmup: 1, resetAt: undefined },
  };
  type Memory = {
    readonly generator: { readonly params: Readonly<Record<string, tf.Tensor>> };
    readonly made: tf.Scalar;
    readonly seen?: Readonly<Record<string, { readonly mean: tf.Tensor }>>;
  };
  /** The memory before and after a batch whose generator ends 0.1 lower, with gradients of −1 in sum. */
  const afterOne = (changes: object) => {
    const victim = victimOf();
    bench.hold(victim.retired);
    const about = siteOf(victim);
    const { memory: remembering, init } = startingFrom({ ...options, meta: 'fomaml', ...changes } as never);
    const before = remembering?.init(key('m'), about);
    const state = init(key('s'), about, { memory: before as never });
    const moved = {
      ...state,
      generator: { ...state.generator, params: tree.map(state.generator.params, (each) => tf.sub(each, 0.1)) },
      sums: tree.map(state.sums, (each) => tf.sub(each, 1)),
      seen: tree.map(state.seen, (each) => tf.add(each, 2)),
    };
    const after = remembering?.after(about, { memory: before as never, state: moved as never, key: key('after') });
    return { before: before as unknown as Memory, after: after as unknown as Memory, about, remembering, moved };
  };
  const shift = ({ before, after }: { readonly before: Memory; readonly after: Memory }): number =>
    values(
      tf.sub(after.generator.params['l1.0.weight'] as tf.Tensor, before.generator.params['l1.0.weight'] as tf.Tensor),
    )[0] as number;

  test('moves against the sum of its gradients, towards where they led, or there', () => {
    tf.tidy(() => {
      // Adam's first step is of its rate, k times the batch's, in whatever direction.
      expectClose([shift(afterOne({}))], [2 * 5e-3], 1e-3);
      expectClose([shift(afterOne({ meta: 'reptile' }))], [-2 * 5e-3], 1e-3);
      expectClose([shift(afterOne({ meta: 'none' }))], [-0.1], 1e-5);
    });
  });

  test('sums the gradients of a batch’s steps', () => {
    const victim = victimOf();
    bench.hold(victim.retired);
    tf.tidy(() => {
      const site = siteOf(victim);
      const { memory, init, step } = startingFrom({ ...options, meta: 'fomaml' } as never);
      const remembered = memory?.init(key('m'), site) as never;
      const student = learnerOf().network.init(key('student'));
      const taken = (state: ReturnType<typeof init>, number: number) => {
        const seed = tf.tensor1d([number, 7], 'int32');
        const { oracle, close } = open(site.victim, { tensors: tensorsOf(site.victim), memory: [], seed });
        const given = { victim: oracle, students: [student] as const, memory: remembered, state, seed };
        const labels = tf.tensor1d([0, 1, 2, 0], 'int32');
        const found = step(site, 0, { ...given, labels, learningRate: tf.scalar(5e-3) });
        close();
        return found.state;
      };
      const first = taken(init(key('s'), site, { memory: remembered }), 1);
      const both = taken(first, 2);
      const second = taken({ ...first, sums: tree.map(first.sums, (each) => tf.zerosLike(each)) }, 2);
      for (const [name, sum] of Object.entries(both.sums)) {
        const [one, two] = [first.sums[name], second.sums[name]] as [tf.Tensor, tf.Tensor];
        expectClose(values(sum), values(tf.add(one, two)), 1e-6);
        expect(values(two).some((each) => each !== 0)).toBe(true);
      }
    });
  });

  test('goes on from the first batch’s statistics, then from a tenth of each next one’s', () => {
    tf.tidy(() => {
      const { after, about, remembering, moved } = afterOne({});
      const first = Object.values(after.seen ?? {})[0]?.mean as tf.Tensor;
      expect(values(first).every((each) => each === 2)).toBe(true);
      expect(values(after.made)).toEqual([1]);
      const later = { ...moved, seen: tree.map(moved.seen, (each) => tf.add(each, 10)) };
      const next = remembering?.after(about, { memory: after as never, state: later as never, key: key('next') });
      const second = Object.values((next as unknown as Memory).seen ?? {})[0]?.mean as tf.Tensor;
      expectClose(values(second), Array(second.size).fill(0.9 * 2 + 0.1 * 12), 1e-6);
      expect(values((next as unknown as Memory).made)).toEqual([2]);
    });
  });

  test('has its first layer drawn anew when it is time', () => {
    tf.tidy(() => {
      const { before, after } = afterOne({ resetAt: 2 });
      const of = (memory: Memory, name: string) => values(memory.generator.params[name] as tf.Tensor);
      expect(Math.max(...of(after, 'l1.0.weight').map(Math.abs))).toBeLessThan(0.1);
      expect(of(after, 'l1.0.bias').every((each) => each === 0)).toBe(true);
      expect(of(after, 'conv_blocks0.0.weight').every((each) => Math.abs(each) < 0.1)).toBe(true);
      expect(of(after, 'conv_blocks1.0.weight')).not.toEqual(of(before, 'conv_blocks1.0.weight'));
      expectClose(
        [of(after, 'conv_blocks1.0.weight')[0] as number],
        [(of(before, 'conv_blocks1.0.weight')[0] as number) + 0.01],
        1e-3,
      );
    });
  });
});

describe('students that learn jointly', () => {
  const asked = async (attack: AnyAttack) => {
    const { victim, retired, normalisation } = victimOf();
    bench.hold(retired);
    const tried = context(key('stage'), { normalisation });
    const { steps } = endOf(
      await succeed(
        attack.steal(victim, learnerOf(), { ...tried, data: {}, normalisation, fullStepsPerEpoch: 3 } as never),
      ),
    );
    const { forward, backward } = sessionOf(victim).asked;
    return { steps, forward, backward };
  };

  test('pass through the weights once for the generator, and once for each lot of images', async () => {
    // Of each step's 6 images one pass for the generator, back through it, and one for each of two lots.
    expect(await asked(dfad({ ...small, studentSteps: 2 }))).toEqual({
      steps: 3,
      forward: 3 * 6 * 3 + 4,
      backward: 3 * 6,
    });
    expect(await asked(dfq({ ...small, studentSteps: 2 }))).toEqual({
      steps: 3,
      forward: 3 * 6 * 3 + 4,
      backward: 3 * 6,
    });
    // All steps on the same images.
    const none = { attention: 0, studentSteps: 5 };
    expect(await asked(zskt({ ...small, ...none }))).toEqual({ steps: 3, forward: 3 * 6 * 2 + 4, backward: 3 * 6 });
  });

  test.each([
    ['MAZE', 1920, maze],
    ['Dual Students', 1280, dualStudents],
    ['DisGUIDE', 256, disguide],
  ])('of %s ask for %i answers an iteration at the released settings', async (_, queries, make) => {
    const variables = roomy().build(image, 3).init(key('victim'));
    const net = roomy().build(image, 3);
    const victim = publish({ network: net, variables, normalisation: normalisationOf(), access: 'probabilities' });
    bench.hold(() => {
      retire(victim);
      tree.dispose(variables);
    });
    const attack = make({ epochs: 1, stepsPerEpoch: 1, latent: 4, width: 2, keep: 1 });
    const tried = context(key('stage'), { normalisation: normalisationOf() });
    const given = { ...tried, data: {}, fullStepsPerEpoch: 3 } as never;
    const { steps } = endOf(await succeed(attack.steal(victim as never, learnerOf(), given)));
    expect(steps).toBe(1);
    expect(sessionOf(victim).asked).toEqual({ queries, forward: 0, backward: 0 });
  });

  test('learn what a victim whose weights are at hand says of the very images that they see, in and out of the pixels', () => {
    const variables = roomy().build(image, 3).init(key('victim'));
    const net = roomy().build(image, 3);
    const normalisation = normalisationOf();
    const victim = publish({ network: net, variables, normalisation });
    bench.hold(() => {
      retire(victim);
      tree.dispose(variables);
    });
    tf.tidy(() => {
      const bright = tf.fill([2, image.height, image.width, image.channels], 9) as tf.Tensor4D;
      const glaring: Synthesiser<tree.Tree, 'weights'> = {
        batch: 2,
        phases: [{ iterations: 1, schedule: constant(0.5) }],
        init: () => ({}),
        images: () => bright,
        step: (_, __, { state }) => ({ state, metrics: {} }),
      };
      const told: number[][] = [];
      const spec = jointFit(
        glaring,
        siteOf({ victim, network: net, normalisation }) as never,
        {
          ...{ epochs: 1, stepsPerEpoch: 1, studentSteps: 1 },
          loss: ({ logits, teacher }) => {
            told.push(values(teacher));
            return { loss: tf.mean(tf.square(logits)) };
          },
        },
        learnerOf(),
      );
      const state = wholeState(spec as never, key('init'));
      const inputs = { learningRate: tf.scalar(0.01), seed: tf.tensor1d([1, 2], 'int32') };
      const { batch } = spec.source(key('batches')).at(0);
      const taken = take(wholeStep(spec as never), frameOf(spec as never, {}), state, {
        batch: batch as never,
        inputs,
      });
      bench.hold(() => tree.dispose([state, taken] as never));
      expectClose(told[0] as number[], values(net.apply(variables, bright, { mode: 'eval' }).logits), 1e-6);
    });
  });

  test.each([
    ['DFME', dfme, dfme.presets.svhn, 256 * 7 * 50, 224, 12],
    ['DisGUIDE', disguide, disguide.presets.cifar100, 256 * 150, 521, 131],
    ['MAZE', maze, maze.presets.paper, 1920 * 26, 100, 300],
  ] as const)(
    'of %s take half as many epochs at half the scale, of a budget too',
    (_, make, preset, queries, otherwise, half) => {
      const scaled = make(preset as never).scaled?.(0.5);
      const params = scaled?.params as { readonly part: number };
      const epochs = epochsWithin(params, (preset as { readonly budget: number }).budget, queries, otherwise);
      expect(Math.abs(epochs - half)).toBeLessThanOrEqual(1);
      expect(epochsWithin({ ...params, epochs: 3 }, undefined, queries, otherwise)).toBe(3);
      expect(epochsWithin(params, undefined, queries, otherwise)).toBe(Math.round(otherwise / 2));
    },
  );

  test('remember the latest images with their answers, and learn from these alone', () => {
    const variables = roomy().build({ height: 8, width: 8, channels: 3 }, 3).init(key('victim'));
    const net = roomy().build({ height: 8, width: 8, channels: 3 }, 3);
    const victim = publish({ network: net, variables, normalisation: normalisationOf(), access: 'probabilities' });
    bench.hold(() => {
      retire(victim);
      tree.dispose(variables);
    });
    tf.tidy(() => {
      let made = 0;
      /** Images of one number each: 1, 2, 3, … from step to step. */
      const counting: Synthesiser<{ readonly at: tf.Scalar }, 'probabilities'> = {
        batch: 4,
        phases: [{ iterations: 1, schedule: constant(0.5) }],
        init: () => ({ at: tf.scalar(0) }),
        images: (_, { at }) => tf.mul(tf.ones([4, 8, 8, 3]), at) as tf.Tensor4D,
        step: (_, __, { state, learningRate }) => {
          made += 1;
          expect(values(learningRate)).toEqual([0.5]);
          return { state: { at: tf.add<tf.Scalar>(state.at, 1) }, metrics: {} };
        },
      };
      const seen: number[][] = [];
      const about = siteOf({
        victim: victim as unknown as Victim<'weights'>,
        network: net,
        normalisation: normalisationOf(),
      });
      const spec = jointFit(
        counting,
        about as never,
        {
          epochs: 1,
          stepsPerEpoch: 3,
          studentSteps: 1,
          replay: { steps: 2, batches: 2 },
          loss: ({ logits, images }) => {
            seen.push(values(tf.slice(images, [0, 0, 0, 0], [4, 1, 1, 1])));
            return { loss: tf.mean(tf.square(logits)) };
          },
        },
        learnerOf(),
      );
      let state = wholeState(spec as never, key('init'));
      const start = state;
      bench.hold(() => tree.dispose(start as never));
      for (let step = 0; step < 3; step++) {
        const inputs = { learningRate: tf.scalar(0.01), seed: tf.tensor1d([step, 2], 'int32') };
        const { batch } = spec.source(key('batches')).at(step);
        const taken = take(wholeStep(spec as never), frameOf(spec as never, {}), state, {
          batch: batch as never,
          inputs,
        });
        bench.hold(() => tree.dispose(taken as never));
        state = taken.state;
      }
      expect(made).toBe(3);
      const { replay } = (state as unknown as { own: { replay: Record<'images' | 'teacher' | 'filled', tf.Tensor> } })
        .own;
      expect(values(replay.filled)).toEqual([8]);
      expect(values(tf.slice(replay.images, [0, 0, 0, 0], [8, 1, 1, 1]))).toEqual([2, 2, 2, 2, 3, 3, 3, 3]);
      // Fresh ones, then what was remembered: at first the same.
      expect(seen.slice(0, 3)).toEqual(Array(3).fill([1, 1, 1, 1]));
      expect(seen[3]).toEqual([2, 2, 2, 2]);
      expect(new Set(seen.slice(7).flat())).toEqual(new Set([2, 3]));
      expectClose(values(tf.sum(tf.exp(replay.teacher), 1)), Array(8).fill(1), 1e-5);
    });
  });
});

describe('activations to be compared', () => {
  const build = (plugin: { build: Network extends never ? never : (...args: never[]) => Network }): Network =>
    plugin.build({ height: 32, width: 32, channels: 3 } as never, 10 as never);
  const [teacher, cnn, pre, mobile] = [resNet(18), plainCnn(), preResNet(20), mobileNetV2()].map((each) =>
    build(each as never),
  ) as [Network, Network, Network, Network];

  test('are of the nearest size', () => {
    expect(pairsOf(teacher, cnn)).toEqual([
      ['layer2', 'block1'],
      ['layer3', 'block2'],
      ['layer4', 'block3'],
    ]);
    expect(pairsOf(teacher, pre)).toEqual([
      ['layer1', 'layer1'],
      ['layer2', 'layer2'],
      ['layer3', 'layer3'],
    ]);
    expect(pairsOf(teacher, mobile).map(([victim]) => victim)).toEqual(['layer1', 'layer2', 'layer3', 'layer4']);
  });

  test('must be there', () => {
    const flat = tiny().build({ height: 8, width: 8, channels: 1 }, 3);
    expect(whyNoPairs(teacher, flat, pairsOf(teacher, flat))).toBe('tiny has no activations that are images');
    expect(whyNoPairs(flat, cnn, pairsOf(flat, cnn))).toBe('tiny has no activations that are images');
    expect(whyNoPairs(teacher, cnn, [['layer9', 'block1']])).toMatch(
      /^resNet.* has no activation layer9; it has layer1/,
    );
    expect(zskt().refuses?.(teacher, flat, circumstances())).toBe('tiny has no activations that are images');
    expect(zskt({ attention: 0 }).refuses?.(teacher, flat, circumstances())).toBeUndefined();
    expect(sidesOf4({ ...teacher, input: { height: 30, width: 32, channels: 3 } })).toMatch(
      /divisible by 4, not of 30×32/,
    );
    expect(
      maze().refuses?.({ ...teacher, input: { height: 30, width: 32, channels: 3 } }, cnn, circumstances()),
    ).toMatch(/30×32/);
    for (const make of [dfq, fast]) {
      expect(make().refuses?.(flat, cnn, circumstances())).toMatchObject({
        reason: 'tiny has no batch norm over images, whose statistics the images are made to fit',
        remedy: 'Choose another network, or give batchNorm 0.',
      });
      expect(make({ batchNorm: 0 }).refuses?.(flat, cnn, circumstances())).toBeUndefined();
    }
    expect(fitNet().refuses?.(teacher, flat, circumstances())).toBe('tiny has no activations that are images');
    expect(fitNet({ pair: ['layer9', 'block1'] }).refuses?.(teacher, cnn, circumstances())).toMatch(
      /has no activation layer9/,
    );
    // Of the student's 8×8 neither a convolution nor its transpose makes the victim's 32×32.
    expect(fitNet({ pair: ['layer1', 'block3'] }).refuses?.(teacher, cnn, circumstances())).toMatch(
      /^no regressor brings the \d+×\d+ of block3 to the 32×32 of layer1$/,
    );
    expect(fitNet().refuses?.(teacher, cnn, circumstances())).toBeUndefined();
  });
});

describe('said before anything is trained', () => {
  const net = roomy().build({ height: 8, width: 8, channels: 3 }, 3);
  const why = (attack: AnyAttack, changes: Parameters<typeof circumstances>[0] = {}) =>
    reasonOf(attack.refuses?.(net, net, circumstances(changes)));
  const warned = (attack: AnyAttack, changes: Parameters<typeof circumstances>[0] = {}) =>
    attack.warns?.(net, net, circumstances(changes));
  const images = dataOf(thirds());

  test('a budget smaller than an iteration', () => {
    const small = { batch: 10, studentSteps: 2 };
    for (const [attack, queries] of [
      [dfme({ ...small, directions: 3, generatorSteps: 2 }), 10 * (2 * 4 + 2)],
      [maze({ ...small, directions: 3 }), 10 * (3 + 2)],
      [dualStudents(small), 20],
      [disguide({ ...small, answers: 'label' }), 20],
    ] as const) {
      expect(why(attack)).toBeUndefined();
      expect(why(attack, { budget: queries })).toBeUndefined();
      expect(why(attack, { budget: queries - 1 })).toBe(
        `an iteration asks for ${queries} answers, and its budget is of ${queries - 1}`,
      );
    }
    const released: readonly (readonly [AnyAttack, number])[] = [
      [dfme(), 1792],
      [maze(), 1920],
      [dualStudents(), 1280],
      [disguide(), 256],
    ];
    for (const [attack, queries] of released)
      expect(why(attack, { budget: 1 })).toBe(`an iteration asks for ${queries} answers, and its budget is of 1`);
  });

  test('a budget smaller than what comes first of an attack without iterations', () => {
    const batch = { recipe: recipe({ batch: 16 }) };
    expect(why(noise(), { ...batch, budget: 16 })).toBeUndefined();
    expect(why(noise(), { ...batch, budget: 15 })).toBe('a step asks for 16 answers, and its budget is of 15');
    expect(why(askingAgain({ times: 3 }), { budget: 6 })).toBeUndefined();
    expect(why(askingAgain({ times: 3 }), { budget: 5 })).toMatch(/asks for 6 answers, and its budget is of 5/);
    const other = { count: 100, classes: [] };
    for (const [photographs, queries] of [
      [undefined, 464],
      [70, 344],
    ] as const) {
      expect(why(dfms({ images, photographs }), { images: other, budget: queries })).toBeUndefined();
      expect(why(dfms({ images, photographs }), { images: other, budget: queries - 1 })).toMatch(
        `asks for ${queries} answers, and its budget is of ${queries - 1}`,
      );
    }
    expect(why(jbda(), { owned: 10, budget: 11 })).toBeUndefined();
    expect(why(jbda(), { owned: 10, budget: 10 })).toBe('it begins with 10 images, and its budget is of 10 answers');
    expect(why(dfms({ images, epochs: 10 }))).toBe('its warm-up of 10 epochs takes all of its 10');
  });

  test('that a budget will not be spent, and fewer images than are wanted', () => {
    const other = { count: 20, classes: ['cow'] };
    for (const make of [knockoff, adaptiveKnockoff]) {
      expect(warned(make({ images }), { images: other })).toBeUndefined();
      expect(warned(make({ images }), { images: other, budget: 20 })).toBeUndefined();
      expect(warned(make({ images }), { images: other, budget: 21 })).toBe(
        'it asks about 20 images, and its budget is of 21',
      );
      expect(warned(make({ images, queries: 12 }), { images: other, budget: 20 })).toMatch(/about 12 images/);
    }
    expect(warned(jbda(), { owned: 10, budget: 640 })).toBeUndefined();
    expect(warned(jbda(), { owned: 10, budget: 641 })).toBe(
      'its 6 rounds ask for 640 answers, and its budget is of 641',
    );
    for (const attack of [bayesKd(), ddaeKd()]) {
      expect(warned(attack, { owned: 10, recipe: recipe({ epochs: 3 }), budget: 31 })).toBeUndefined();
      expect(warned(attack, { owned: 10, recipe: recipe({ epochs: 3 }), budget: 30 })).toBe(
        'its first student asks for 30 answers, and its budget of 30 leaves none for the second',
      );
    }
    expect(warned(dfms({ images, photographs: 100 }), { images: other })).toBe(
      'it is to learn from 100 images, and has 20',
    );
  });

  test('images of the victim’s own classes, or fewer of them than are to be asked about', () => {
    const other = { count: 20, classes: ['cow', 'middle'] };
    expect(why(dfms({ images }), { images: other })).toBe("its images are of classes of the victim's: middle");
    expect(why(dfms({ images }), { images: { ...other, classes: ['cow'] } })).toBeUndefined();
    expect(why(dfms({ images }), { images: { ...other, classes: ['Middle'] } })).toMatch(
      /classes of the victim's: Middle/,
    );
    for (const make of [knockoff, adaptiveKnockoff]) {
      expect(why(make({ images, queries: 21 }), { images: other })).toBe('it is to ask about 21 images, and has 20');
      // A batch norm normalises no batch of one.
      expect(why(make({ images }), { images: { ...other, count: 1 } })).toBe('it is to ask about 2 images, and has 1');
      expect(() => make({ images, queries: 1 })).toThrow('queries is 1');
    }
    expect(why(knockoff({ images, queries: 20 }), { images: other })).toBeUndefined();
  });

  test('a batch of one where its mean is a loss, two classes where there must be a third, more targets than classes', () => {
    expect(why(dist(), { recipe: recipe({ batch: 2 }) })).toMatch(/every correlation is 1 or −1/);
    expect(why(dist(), { recipe: recipe({ batch: 3 }) })).toBeUndefined();
    expect(why(dist({ gamma: 0 }), { recipe: recipe({ batch: 2 }) })).toBeUndefined();
    const two = { ...net, classes: 2 };
    expect(dkd().refuses?.(two, two, circumstances())).toMatchObject({ remedy: 'Give beta 0, or use kd.' });
    expect(dkd({ beta: 0 }).refuses?.(two, two, circumstances())).toBeUndefined();
    for (const attack of [logitStandardisation(), dist()])
      expect(attack.refuses?.(two, two, circumstances())).toBeDefined();
    expect(dist({ beta: 0 }).refuses?.(two, two, circumstances())).toBeUndefined();
    expect(why(completedKd({ k: 4 }))).toBe('there are 3 classes, and k is 4');
    expect(why(jbda({ form: 'topK', k: 3 }))).toBe('there are 2 other classes, and k is 3');
    expect(why(fast({ batches: 3, warmup: 3 }))).toMatch(/warm-up of 3 batches takes all/);
  });
});
