import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { dafl, generating } from '../../src/attacks/dafl.js';
import { deepInversion, type Inversion, inverting } from '../../src/attacks/deep-inversion.js';
import { adaptiveKnockoff, knockoff } from '../../src/attacks/knockoff.js';
import { noise } from '../../src/attacks/noise.js';
import { scratch } from '../../src/attacks/scratch.js';
import { transfer } from '../../src/attacks/transfer.js';
import { FailureError, failure } from '../../src/core/errors.js';
import { type Key, key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { standardNormal } from '../../src/engine/ops.js';
import type { Variables } from '../../src/models/network.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import type { Synthesised } from '../../src/train/context.js';
import { type ImageSet, toPixels } from '../../src/train/images.js';
import { jointFit, trainJointly } from '../../src/train/joint.js';
import { adam } from '../../src/train/optimizers.js';
import { type Access, publish, retire, sessionOf, type Victim } from '../../src/train/oracle.js';
import { comparablePool, distillFromPool, type PoolDistillation } from '../../src/train/pool.js';
import { constant, type Progress } from '../../src/train/schedules.js';
import { phaseFit, roundRobinLabels, type SynthesisContext, type Synthesiser } from '../../src/train/synthesiser.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { dataOf, thirds } from '../run/helpers.js';
import {
  type AnySpec,
  context,
  endOf,
  type Fitting,
  failureOf,
  type Keeping,
  succeed,
  type Tried,
  theftOf,
} from '../train/bench.js';
import { drifting } from './drifting.js';
import {
  aged,
  expectCompiled,
  image,
  learnerOf,
  type MakeRunner,
  normalisationOf,
  roomy,
  siteOf,
  useBench,
} from './stepping.js';

const bench = useBench();
const net = roomy().build(image, 3);
let variables: Variables;
beforeAll(() => {
  variables = aged(net, 'victim');
});

const learner = learnerOf();
const batch = 4;
const normalisation = normalisationOf();

/** A victim of which so much may be asked, until the test is over. */
const victimAt = <A extends Access>(access: A, changes: { readonly budget?: number } = {}): Victim<A> => {
  const victim = publish({ network: net, variables, normalisation, access, ...changes });
  bench.hold(() => retire(victim));
  return victim;
};
const siteAt = () => siteOf({ victim: victimAt('weights'), network: net, normalisation });

/** Images of something else, as if at random. */
const other: ImageSet = {
  examples: {
    images: Uint8Array.from({ length: 14 * 192 }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 16) % 256),
    labels: Uint8Array.from({ length: 14 }, (_, i) => i % 3),
    count: 14,
  },
  indices: Int32Array.from({ length: 14 }, (_, i) => i),
  shape: image,
  normalisation: { mean: [0.4, 0.4, 0.4], std: [0.3, 0.3, 0.3] },
  augmentation: { crop: 1, flip: true },
  labelled: true,
};

const givenBy = (tried: Tried, { data }: AnyAttack): AttackContext => {
  const train = { ...other, labelled: data.kind === 'labelled' };
  return { ...tried, data: (data.kind === 'none' ? {} : { train }) as never, fullStepsPerEpoch: 5 };
};

interface Trying {
  readonly fitting?: Fitting;
  readonly keeping?: Keeping;
  readonly learner?: BuiltLearner;
  readonly victim?: Victim;
}

const start = (attack: AnyAttack, { fitting, keeping, learner: of = learner, victim }: Trying = {}) => {
  const tried = context(key('stage'), {
    normalisation,
    ...(fitting === undefined ? {} : { fitting }),
    ...(keeping === undefined ? {} : { keeping }),
  });
  return { tried, doing: theftOf(attack, victim ?? victimAt(attack.needs), of, givenBy(tried, attack)) };
};

const steal = async (attack: AnyAttack, trying: Trying = {}) => {
  const { tried, doing } = start(attack, trying);
  return { ...endOf(await succeed(doing)), tried };
};

/** Looks at the fit of a name that an attack asks for, while all that the fit needs is there; the attack then ends. */
const lookAt = async (attack: AnyAttack, name: string, look: (spec: AnySpec) => void): Promise<void> => {
  const seen = failure('interrupted', 'seen');
  const fitting: Fitting = async (own, spec, run) => {
    if (own !== name) return run();
    look(spec);
    throw new FailureError(seen);
  };
  const failed = await failureOf(start(attack, { fitting }).doing);
  if (failed !== seen) throw new FailureError(failed);
};

const inversion = (changes: Partial<Inversion> = {}) => ({
  ...deepInversion.presets.cifar10,
  batch,
  iterations: 3,
  ...changes,
});
const attacks = {
  deepInversion: deepInversion({ ...inversion(), batches: 2, steps: 5 }),
  inTwoPhases: deepInversion({ ...inversion({ halfIterations: 2 }), batches: 2, steps: 5 }),
  adaptive: deepInversion({ ...inversion(), batches: 3, steps: 5, adaptive: { scale: 0.2, every: 2 } }),
  dafl: dafl({ batch: 6, epochs: 2, stepsPerEpoch: 3, latent: 5, width: 4, keep: 8 }),
  noise: noise({ steps: 6 }),
  transfer: transfer({ images: dataOf(thirds()) }),
  labels: transfer({ images: dataOf(thirds()), answers: 'label' }),
} as const;
const all = Object.entries<AnyAttack>(attacks);

describe('options are refused', () => {
  test.each<readonly [string, () => AnyAttack, RegExp]>([
    ['noise at a temperature of 0', () => noise({ temperature: 0 }), /^noise: temperature is 0/],
    ['noise without a step', () => noise({ steps: 0 }), /^noise: steps is 0/],
    ['noise in another name', () => noise({ step: 1 } as object), /^noise: step is none of its options/],
    ['a transfer of no images', () => transfer({} as never), /^transfer: images: this is no data set/],
    [
      'a transfer at a temperature of −1',
      () => transfer({ images: dataOf(thirds()), temperature: -1 }),
      /^transfer: temperature is -1/,
    ],
    [
      'a transfer in another name',
      () => transfer({ images: dataOf(thirds()), alpha: 1 } as never),
      /^transfer: alpha is none of its options/,
    ],
  ])('%s', (_, declare, message) => {
    const { kind, where, what } = refusal(declare);
    expect(kind).toBe('experiment');
    expect(`${where}: ${what}`).toMatch(message);
  });
});

describe('compiled, a step is the eager one to the last bit, and leaves nothing behind', () => {
  const compiled =
    (stride: number): MakeRunner =>
    (step, frozen) =>
      compile(step, frozen, { cache: bench.cache, stride });

  const phase = (of: Inversion, at: number, compete = 0): void => {
    const site = siteAt();
    const synthesiser = inverting(of, compete);
    const student = learner.network.init(key('student'));
    const found = at === 0 ? undefined : synthesiser.init(key('before'), site, { memory: {} });
    const spec = phaseFit(synthesiser, site, at, {
      labels: [0, 1, 2, 1],
      student,
      memory: {},
      before: found,
      every: 10,
    });
    expectCompiled(spec as unknown as AnySpec, eager, compiled);
    tree.dispose(found === undefined ? student : [student, found]);
  };
  const short = { batch, iterations: 6 };

  test.each(Object.entries(deepInversion.presets).filter(([, { halfIterations }]) => halfIterations === 0))(
    'of an inversion as in %s',
    (_, preset) => phase({ ...preset, ...short }, 0),
  );

  test.each([
    ['half', 0],
    ['full', 1],
  ])('of an inversion as in imageNet at %s resolution', (_, at) => {
    phase({ ...deepInversion.presets.imageNet, ...short, halfIterations: 6 }, at);
  });

  test('of an inversion that competes with a student', () => phase(inversion(short), 0, 0.2));

  test('of a generator and a student together', () => {
    const synthesiser = generating({
      batch: 6,
      latent: 5,
      width: 4,
      generatorRate: 0.02,
      oneHot: 1,
      activation: 0.1,
      entropy: 5,
    });
    const options = { epochs: 2, stepsPerEpoch: 3, temperature: 1, pictureEvery: 10 };
    const spec = jointFit(synthesiser, siteAt(), options, learner);
    expectCompiled(spec as unknown as AnySpec, eager, compiled);
  });

  test.each([
    ['of distillation on a pool', attacks.deepInversion],
    ['of distillation on a pool between its batches', attacks.adaptive],
    ['of distillation on noise', attacks.noise],
    ['of distillation on other images', attacks.transfer],
    ['of labels of other images', attacks.labels],
  ])('%s', async (_, attack) => {
    await lookAt(attack, 'student', (spec) => expectCompiled(spec, eager, compiled));
  });
});

describe('a theft', () => {
  test('counts what is asked: queries of a black box, and of a victim at hand passes through its net', async () => {
    const ledger = async (attack: AnyAttack) => {
      const victim = victimAt(attack.needs);
      const { tried, ...student } = await steal(attack, { victim });
      const fits = tried.specs.length;
      expect(student.queries).toBe(sessionOf(victim).asked.queries);
      return { fits, steps: student.steps, ...sessionOf(victim).asked };
    };
    // Two batches of 4 images in 3 iterations, each image forward and back; and 5 steps of 4 images, forward alone.
    expect(await ledger(attacks.deepInversion)).toEqual({
      fits: 3,
      steps: 5,
      queries: 0,
      forward: 2 * 4 * 3 + 5 * 4,
      backward: 2 * 4 * 3,
    });
    expect(await ledger(attacks.inTwoPhases)).toEqual({
      fits: 5,
      steps: 5,
      queries: 0,
      forward: 2 * 4 * 5 + 5 * 4,
      backward: 2 * 4 * 5,
    });
    // The student takes 2 steps after each of the first two batches, and the last one at the end.
    expect(await ledger(attacks.adaptive)).toEqual({
      fits: 6,
      steps: 1,
      queries: 0,
      forward: 3 * 4 * 3 + 5 * 4,
      backward: 3 * 4 * 3,
    });
    // Six images a step, of which the student learns with the answers that they had; and 8 that are kept, once each.
    expect(await ledger(attacks.dafl)).toEqual({
      fits: 1,
      steps: 6,
      queries: 0,
      forward: 2 * 3 * 6 + 8,
      backward: 2 * 3 * 6,
    });
    expect(await ledger(attacks.noise)).toEqual({ fits: 1, steps: 6, queries: 6 * 4, forward: 0, backward: 0 });
    // Fourteen images are three steps of 4 and one of 2, taken again and again for two epochs of five.
    for (const attack of [attacks.transfer, attacks.labels])
      expect(await ledger(attack)).toEqual({
        fits: 1,
        steps: 10,
        queries: 14 + 14 + 4 + 4,
        forward: 0,
        backward: 0,
      });
  });

  test('trains the student with the optimiser and the rate of the attack, where it has them', async () => {
    const still = [
      dafl({ batch: 6, epochs: 1, stepsPerEpoch: 2, latent: 5, width: 4, schedule: constant(0) }),
      knockoff({ images: dataOf(thirds()), schedule: constant(0) }),
      adaptiveKnockoff({ images: dataOf(thirds()), rounds: 2, schedule: constant(0) }),
    ];
    const params = async (attack: AnyAttack) => (await steal(attack)).last['fc.weight'];
    const fresh = learner.network.init(key('stage').split('student').split('init'));
    const weight = Array.from((fresh.params['fc.weight'] as tf.Tensor).dataSync());
    tree.dispose(fresh);
    for (const attack of still) expect(await params(attack)).toEqual(weight);
    expect(await params(attacks.dafl)).not.toEqual(weight);
    let slots: readonly string[] = [];
    await lookAt(dafl({ batch: 6, width: 4, latent: 5, optimizer: adam() }), 'student', ({ init }) => {
      const state = init(key('any'));
      slots = tree.entries(state.students[0].slots).map(([path]) => path);
      tree.dispose(state);
    });
    expect(slots.some((path) => path.includes('square'))).toBe(true);
  });

  test('by default distils for as many steps as honest training takes', async () => {
    expect((await steal(deepInversion({ ...inversion(), batches: 1 }))).steps).toBe(2 * 5);
    expect((await steal(noise())).steps).toBe(2 * 5);
  });

  test.each([1, 5, 7])('by noise takes %i steps when that is asked for', async (steps) => {
    expect((await steal(noise({ steps }))).steps).toBe(steps);
  });

  /** The weights that a student starts from in the first fit of it. */
  const startOf = async (attack: AnyAttack, name = 'student') => {
    let found: ReturnType<typeof bitsOf> | undefined;
    await lookAt(attack, name, ({ init }) => {
      const state = init(key('stage').split('student').split('init'));
      found = bitsOf('students' in state ? state.students[0].variables : state.variables);
      tree.dispose(state);
    });
    return found;
  };

  test('starts from the weights that honest training starts from: differences are paired', async () => {
    const honest = await startOf(scratch());
    expect(honest?.length).toBeGreaterThan(0);
    for (const [name, attack] of all) {
      expect(await startOf(attack, name === 'adaptive' ? 'student-0' : 'student'), name).toEqual(honest);
    }
    expect(await startOf(attacks.adaptive, 'student')).not.toEqual(honest);
  });

  test.each(all)('leaves the student’s weights and nothing else (%s)', async (_, attack) => {
    const { doing } = start(attack);
    // The victim's secret.
    expect(tf.memory().numTensors).toBe(bench.before + 1);
    const { last, best } = await succeed(doing);
    bench.letGo();
    expect(tf.memory().numTensors).toBe(bench.before + tree.leaves(last).length);
    expect(best).toBeUndefined();
    const names = Object.keys({ ...last.params, ...last.stats }).sort();
    expect(names).toEqual(learner.network.variables.map(({ name }) => name).sort());
    tree.dispose(last);
  });

  test.each(all)('that is broken off in any of its fits leaves nothing (%s)', async (_, attack) => {
    let asked = 0;
    for (let broken = 0; asked >= broken; broken++) {
      asked = 0;
      const stopping = (spec: AnySpec): void => {
        const { source } = spec as { source: AnySpec['source'] };
        Object.assign(spec, {
          source: (from: Key) => {
            const whole = source(from);
            const at: typeof whole.at = (step, atMost) => {
              if (step === 1) throw new FailureError(failure('interrupted', 'stopped'));
              return whole.at(step, atMost);
            };
            return { ...whole, at };
          },
        });
      };
      const fitting: Fitting = (_, spec, run) => {
        if (asked++ === broken) stopping(spec);
        return run();
      };
      let ended = 'well';
      try {
        tree.dispose((await succeed(start(attack, { fitting }).doing)).last);
      } catch (error) {
        ended = (error as FailureError).failure.kind;
      }
      // It is whole where no fit has that number, or that fit has no second step.
      expect(ended).toBe(ended === 'well' && broken > 0 ? 'well' : 'interrupted');
      bench.letGo();
      expect(tf.memory().numTensors, `broken off in fit ${broken}`).toBe(bench.before);
    }
  });

  test('whose images cannot be kept leaves nothing, and says why', async () => {
    for (const attack of [attacks.deepInversion, attacks.adaptive, attacks.dafl]) {
      const full = failure('store', 'the disk is full');
      const keeping: Keeping = async (_, make) => {
        await make();
        throw new FailureError(full);
      };
      expect(await failureOf(start(attack, { keeping }).doing)).toEqual(full);
      bench.letGo();
      expect(tf.memory().numTensors).toBe(bench.before);
    }
  });
});

describe('a pool', () => {
  /** What an attack keeps, by name. */
  const kept = async (attack: AnyAttack) => {
    const found: Record<string, Synthesised> = {};
    const keeping: Keeping = async (name, make) => {
      found[name] = await make();
      return found[name];
    };
    await steal(attack, { keeping });
    return found;
  };

  test('has the classes that were asked for, or every class in turn', async () => {
    const labels = async (changes: object) =>
      Object.values(await kept(deepInversion({ ...inversion(), batches: 2, ...changes }))).map((lot) => lot.labels);
    // The batch is no multiple of the classes: the next one goes on where it ended.
    expect(await labels({})).toEqual([
      [0, 1, 2, 0],
      [1, 2, 0, 1],
    ]);
    expect(await labels({ labels: [2, 2, 0, 1] })).toEqual([
      [2, 2, 0, 1],
      [2, 2, 0, 1],
    ]);
    expect(roundRobinLabels(5, 3)).toEqual([0, 1, 2, 0, 1]);
  });

  test('is lots of images that differ from lot to lot, each with the updates that it took', async () => {
    const { 'lot-0': one, 'lot-1': two, ...rest } = await kept(attacks.inTwoPhases);
    expect(Object.keys(rest)).toEqual([]);
    for (const lot of [one, two]) {
      expect(lot?.shape).toEqual(image);
      expect(lot?.images.length).toBe(4 * 192);
      expect(lot?.updates).toBe(5);
    }
    expect(one?.images).not.toEqual(two?.images);
  });

  test('of a generator is as many images as are to be kept, called by what the victim takes them for', async () => {
    const { generated, ...rest } = await kept(attacks.dafl);
    expect(Object.keys(rest)).toEqual([]);
    // Two batches of 6, of which 8 are kept.
    expect(generated?.images.length).toBe(8 * 192);
    expect(generated?.labels.length).toBe(8);
    expect(generated?.labels.every((label) => [0, 1, 2].includes(label))).toBe(true);
    expect(generated?.images.subarray(0, 6 * 192)).not.toEqual(generated?.images.subarray(6 * 192));
  });

  test('is distilled on with the rates and the momentum of one training, whatever is made meanwhile', async () => {
    const asked = new Map<number, string>();
    const at = (progress: Progress): number => {
      asked.set(progress.step, `${progress.epoch} of ${progress.epochs}, ${progress.stepsPerEpoch}`);
      return 0.1;
    };
    const watched: BuiltLearner = learnerOf(roomy(3), { schedule: { ...constant(0.1), at } });
    const [starts, ends]: [unknown[], unknown[]] = [[], []];
    const fitting: Fitting = async (name, spec, run) => {
      if (!name.startsWith('student')) return run();
      const state = spec.init(key('any'));
      starts.push(bitsOf(state));
      tree.dispose(state);
      const fitted = await run();
      ends.push(bitsOf(fitted.last));
      return fitted;
    };
    const attack = deepInversion({ ...inversion(), batches: 2, steps: 6, adaptive: { scale: 0.2, every: 2 } });
    await steal(attack, { fitting, learner: watched });
    // Six steps are the two epochs of the recipe.
    expect([...asked].sort(([a], [b]) => a - b)).toEqual(
      [0, 1, 2, 3, 4, 5].map((step) => [step, `${Math.floor(step / 3)} of 2, 3`]),
    );
    expect(starts.length).toBe(3);
    expect(starts.slice(1)).toEqual(ends.slice(0, 2));
  });

  test('is grown for an adaptive attack until its steps are used up, of which the last is after the last batch', async () => {
    const names = async (batches: number, steps: number, every: number) => {
      const found: string[] = [];
      const fitting: Fitting = (name, spec, run) => {
        if (name.startsWith('student')) found.push(`${name}: ${spec.epochs * (spec.stepsPerEpoch as number)}`);
        return run();
      };
      const attack = deepInversion({ ...inversion({ iterations: 1 }), batches, steps, adaptive: { scale: 1, every } });
      await steal(attack, { fitting });
      return found;
    };
    expect(await names(3, 7, 2)).toEqual(['student-0: 2', 'student-1: 2', 'student-2: 2', 'student: 1']);
    expect(await names(3, 4, 2)).toEqual(['student-0: 2', 'student: 2']);
    expect(await names(2, 1, 2)).toEqual(['student: 1']);
  });
});

describe('a warning', () => {
  type Empty = { readonly images: tf.Tensor4D };
  /** Makes grey images without asking the victim: so many, and quickly. */
  const empty = (of: number): Synthesiser<Empty> => ({
    batch: of,
    phases: [{ iterations: 1, schedule: constant(0) }],
    init: (_, { input: { height, width, channels } }) => ({ images: tf.zeros([of, height, width, channels]) }),
    images: (_, { images }) => images,
    step: (_, __, { state }) => ({ state, metrics: { loss: tf.scalar(1) } }),
  });
  const warnings = async (of: number, batches: number): Promise<readonly string[]> => {
    const tried = context(key('stage'), { normalisation });
    const options = { batches, temperature: 1, steps: 1, stepsBetween: 0, augmentation: { crop: 0, flip: false } };
    const victim = victimAt('probabilities');
    const given = givenBy(tried, attacks.noise);
    endOf(await succeed(distillFromPool(empty(of), { ...options, pictureEvery: 1 }, victim, learner, given)));
    // The student is told the answers to the one batch that it learns from.
    expect(sessionOf(victim).asked).toEqual({ queries: 4, forward: 0, backward: 0 });
    return tried.warnings;
  };

  test('says that a pool is too small to compare, and none that it is not', async () => {
    expect(comparablePool).toBe(10_000);
    expect(await warnings(3333, 3)).toEqual([
      'pool too small to compare: 9,999 images, and fewer than 10,000 say little about the attack',
    ]);
    expect(await warnings(2500, 4)).toEqual([]);
  });

  test('is not given where there is no pool', async () => {
    for (const attack of [attacks.dafl, attacks.noise, attacks.transfer]) {
      const { tried } = await steal(attack);
      expect(tried.warnings).toEqual([]);
    }
  });
});

describe('a synthesiser of one’s own', () => {
  const given = (tried: Tried) => ({ ...givenBy(tried, attacks.noise), normalisation });

  test('makes a pool that a student is distilled on', async () => {
    const tried = context();
    const options: PoolDistillation = {
      batches: 2,
      labels: [0, 0, 1, 1, 2, 2],
      temperature: 2,
      steps: 6,
      stepsBetween: 2,
      augmentation: { crop: 1, flip: true },
      pictureEvery: 2,
    };
    const victim = victimAt('weights');
    const theft = endOf(await succeed(distillFromPool(drifting(), options, victim, learner, given(tried))));
    // The last two steps are one fit; what it says of its victim is of itself.
    expect(theft).toMatchObject({ steps: 2, pool: 12, queries: 0, forward: 8, backward: 0 });
    // Two lots of 6 images in 4 iterations; then twice 2 steps, of 4 and 2 images and of 4 and 4, and 2 more.
    expect(sessionOf(victim).asked).toEqual({
      queries: 0,
      forward: 2 * 4 * 6 + 6 + 8 + 8,
      backward: 2 * 4 * 6,
    });
    expect(tried.specs.length).toBe(2 + 3);
    expect(theft.history.map(({ metrics }) => Object.keys(metrics))).toEqual([['loss', 'kl']]);
  });

  test.each<readonly [string, Partial<Synthesiser<never>>, readonly number[] | undefined, string]>([
    ['no phases', { phases: [] }, undefined, 'it has no phases'],
    ['batches of one image', { batch: 1 }, undefined, 'its batches are of 1 images'],
    ['too few labels', {}, [0, 1], 'there are 2 labels for a batch of 6 images'],
    ['a label that is no class', {}, [0, 1, 2, 3, 0, 1], 'label 3 is none of the 3 classes'],
  ])('with %s is refused', async (_, changes, labels, what) => {
    const options: PoolDistillation = { batches: 1, labels, temperature: 1 };
    const unsound = { ...drifting(), ...changes } as ReturnType<typeof drifting>;
    const victim = victimAt('weights');
    const failed = await failureOf(distillFromPool(unsound, options, victim, learner, given(context())));
    expect(failed).toMatchObject({ kind: 'plugin', where: 'synthesiser', what });
    expect(failed.remedy).toBeTruthy();
    if (labels !== undefined) return;
    const joint = { epochs: 1, stepsPerEpoch: 1, temperature: 1, keep: 4 };
    expect(await failureOf(trainJointly(unsound, joint, victim, learner, given(context())))).toEqual(failed);
  });

  test('says so when the student has learnt enough before all images are made', async () => {
    const warned = async (steps: number) => {
      const tried = context();
      const options = { batches: 3, temperature: 1, steps, stepsBetween: 2 };
      endOf(await succeed(distillFromPool(drifting(), options, victimAt('weights'), learner, given(tried))));
      return tried.warnings.filter((warning) => warning.includes('learnt no more'));
    };
    expect(await warned(7)).toEqual([]);
    expect(await warned(5)).toEqual([
      "the student's 5 steps were taken before the last of 3 batches: later images were made against a student that learnt no more",
    ]);
  });

  /** Draws fresh images from a mean that moves towards what a black box is surest of, by an estimate from two answers. */
  type Drawing = { readonly mean: tf.Tensor4D };
  const drawing: Synthesiser<Drawing, 'probabilities'> = {
    batch: 6,
    phases: [{ iterations: 1, schedule: constant(0) }],
    init: () => ({ mean: tf.zeros([1, image.height, image.width, image.channels]) }),
    images: (_, { mean }, seed) =>
      tf.add(mean, standardNormal([6, image.height, image.width, image.channels], seed)) as tf.Tensor4D,
    step: (about, _, { victim, state: { mean }, students, seed }) => {
      const drawn = drawing.images(about, { mean }, seed);
      const told = victim.logProbabilities(toPixels(drawn, about.normalisation));
      // The less the students agree with each other, the more it looks there.
      const [one, other] = [students[0], students[students.length - 1] as Variables].map(
        (student) => about.student.apply(student, drawn, { mode: 'eval' }).logits,
      ) as [tf.Tensor2D, tf.Tensor2D];
      const weight = tf.add(tf.max(told, 1), tf.mean(tf.abs(tf.sub(one, other)), 1)).reshape([6, 1, 1, 1]);
      const moved = tf.add(tf.mul(mean, 0.5), tf.mean(tf.mul(drawn, weight), 0, true)) as tf.Tensor4D;
      return { state: { mean: moved }, metrics: { surest: tf.mean(tf.max(told, 1)) } };
    },
  };
  const ratios = { epochs: 2, stepsPerEpoch: 3, temperature: 2, synthesiserSteps: 2, studentSteps: 3, students: 2 };

  test('learns together with students in any ratio, whose images are answered afresh', async () => {
    const tried = context(key('stage'), { normalisation });
    const victim = victimAt('probabilities');
    const theft = endOf(await succeed(trainJointly(drawing, { ...ratios, keep: 4 }, victim, learner, given(tried))));
    // A step asks about 6 images twice for itself, and three times for the students, who share the answers.
    expect(theft).toMatchObject({ steps: 6, images: 36, queries: 6 * 6 * (2 + 3), forward: 0, backward: 0 });
    // What a black box would say of the images that are kept is not asked: they are called by what the student says.
    expect(sessionOf(victim).asked.queries).toBe(theft.queries);
    expect(theft.history.map(({ metrics }) => Object.keys(metrics))).toEqual(Array(2).fill(['surest', 'kl']));
    // The student is the first; another that begins elsewhere ends elsewhere.
    const starts = jointFit(drawing, blackSite(), ratios, learner).init(key('any'));
    expect(bitsOf(starts.students[0] as never)).not.toEqual(bitsOf(starts.students[1] as never));
    tree.dispose(starts);
    const alone = await succeed(
      trainJointly(
        drawing,
        { ...ratios, students: 1, keep: 4 },
        victimAt('probabilities'),
        learner,
        given(context(key('stage'), { normalisation })),
      ),
    );
    expect(endOf(alone).last).not.toEqual(theft.last);
  });
  const blackSite = (): SynthesisContext<'probabilities'> => ({
    victim: victimAt('probabilities'),
    input: image,
    classes: 3,
    student: learner.network,
    normalisation,
  });

  test('learns together with students in the same bits compiled', () => {
    const spec = jointFit(drawing, blackSite(), ratios, learner);
    expectCompiled(
      spec as unknown as AnySpec,
      eager,
      (stride) => (step, frozen) => compile(step, frozen, { cache: bench.cache, stride }),
    );
  });

  test('that shows no images is told so, where the students would learn from them', async () => {
    const { studentSteps: _, ...without } = ratios;
    const theft = trainJointly(drawing, { ...without, keep: 4 }, victimAt('probabilities'), learner, given(context()));
    expect(await failureOf(theft)).toMatchObject({
      kind: 'plugin',
      where: 'synthesiser',
      what: 'its step shows no images with answers',
      remedy: 'Return `shown`, or give trainJointly the number of studentSteps.',
    });
  });

  test('hands what it remembers from batch to batch of a pool, in whatever form', async () => {
    type Bank = { readonly [lot: string]: tf.Tensor };
    const sizes: number[] = [];
    const banking: Synthesiser<Drawing, 'probabilities', Bank> = {
      ...drawing,
      init: (_, __, { memory }) => {
        sizes.push(Object.keys(memory).length);
        const sum = tree.leaves(memory).reduce((all, leaf) => all + (leaf.dataSync()[0] as number), 0);
        return { mean: tf.fill([1, image.height, image.width, image.channels], sum) };
      },
      step: (about, phase, inputs) => drawing.step(about, phase, { ...inputs, memory: {} }),
      memory: {
        init: () => ({ start: tf.scalar(0.25) }),
        after: (_, { memory, state, key: own }) => ({
          ...tree.clone(memory),
          [`lot${Object.keys(memory).length}`]: tf.tidy(() => state.mean.mean().add(own.uniform()())),
        }),
      },
    };
    const victim = victimAt('probabilities');
    const options = { batches: 3, temperature: 1, steps: 6, stepsBetween: 2 };
    const theft = endOf(
      await succeed(
        distillFromPool(banking, options, victim, learner, given(context(key('stage'), { normalisation }))),
      ),
    );
    expect(sizes).toEqual([1, 2, 3]);
    // Three batches of 6 in one iteration; 2 steps on 6 images (4 and 2), 2 on 12, 2 on 18.
    expect(sessionOf(victim).asked.queries).toBe(3 * 6 + 6 + 8 + 8);
    expect(theft).toMatchObject({ steps: 2, pool: 18 });
  });

  test('steals from a victim that tells labels alone', async () => {
    const told = victimAt('label');
    const guessing: Synthesiser<Drawing, 'label'> = {
      batch: 6,
      phases: drawing.phases,
      init: drawing.init as never,
      images: drawing.images as never,
      step: (_, __, { victim, state, seed }) => ({
        state,
        metrics: {
          loss: tf.mean(victim.labels(tf.clipByValue(standardNormal([6, 8, 8, 3], seed) as tf.Tensor4D, 0, 1))),
        },
      }),
    };
    const options = { batches: 2, temperature: 1, steps: 4 };
    const theft = endOf(
      await succeed(distillFromPool(guessing, options, told, learner, given(context(key('stage'), { normalisation })))),
    );
    expect(sessionOf(told).asked).toEqual({ queries: 2 * 6 + 4 * 4, forward: 0, backward: 0 });
    expect(theft.history.map(({ metrics }) => Object.keys(metrics))).toEqual([['loss']]);
  });

  test('learns together with a student', async () => {
    const tried = context();
    const options = { epochs: 3, stepsPerEpoch: 2, temperature: 1, keep: 4, pictureEvery: 2 };
    const theft = endOf(await succeed(trainJointly(drifting(1), options, victimAt('weights'), learner, given(tried))));
    expect(theft).toMatchObject({ steps: 6, images: 36, queries: 0, forward: 36, backward: 36 });
    expect(theft.history.map(({ metrics }) => Object.keys(metrics))).toEqual(Array(3).fill(['loss', 'kl']));
    const [first, , last] = theft.history.map(({ metrics }) => metrics.loss as number);
    expect(last).toBeLessThan(first as number);
  });
});
