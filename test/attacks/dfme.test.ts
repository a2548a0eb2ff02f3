import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { absoluteError, agreement, dfme, disagreeing, queriesOf } from '../../src/attacks/dfme.js';
import { epochsWithin } from '../../src/attacks/joint.js';
import { FailureError, failure } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { rounding, topK } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { type Defense, partsOf } from '../../src/defenses/defense.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { standardNormal } from '../../src/engine/ops.js';
import { take } from '../../src/engine/step.js';
import { frameOf, wholeState, wholeStep } from '../../src/train/fit-step.js';
import { distillationKl, recoveredLogits } from '../../src/train/losses.js';
import { type Answers, publish, retire, sessionOf, type Victim } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import { phaseFit, roundRobinLabels, type SynthesisContext } from '../../src/train/synthesiser.js';
import { differencesAlong, refuseRounded } from '../../src/train/zeroth-order.js';
import { wrapper } from '../defenses/answering.js';
import { refusal } from '../failures.js';
import { type AnySpec, context, endOf, type Fitting, failureOf, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
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
const normalisation = normalisationOf();

const compiled =
  (stride: number): MakeRunner =>
  (step, frozen) =>
    compile(step, frozen, { cache: bench.cache, stride });

/** A black box, and how to be rid of it. */
const blackBox = ({ budget, defense }: { readonly budget?: number; readonly defense?: Defense } = {}) => {
  const variables = aged(net, 'victim');
  const victim = publish({
    network: net,
    variables,
    normalisation,
    access: 'probabilities',
    budget,
    wrappers: (defense === undefined ? [] : partsOf(defense)).map(({ name, answers, preserves }) =>
      wrapper(name, answers as Answers, { preserves }),
    ),
  });
  return {
    victim: victim as Victim,
    retired: () => {
      retire(victim);
      tree.dispose(variables);
    },
  };
};
const victimOf = (options: Parameters<typeof blackBox>[0] = {}): Victim => {
  const { victim, retired } = blackBox(options);
  bench.hold(retired);
  return victim;
};

const learner = learnerOf(roomy(3), { schedule: constant(0.05) });
const given = { data: {} as never, normalisation, fullStepsPerEpoch: 5 };
const small = { batch: 6, latent: 5, width: 4, stepsPerEpoch: 3, epochs: 2, studentSteps: 2, keep: 4 } as const;

const steal = async (attack: AnyAttack, victim = victimOf()) => {
  const tried = context(key('stage'), { normalisation });
  const end = endOf(await succeed(attack.steal(victim, learner, { ...tried, ...given })));
  return { ...end, tried };
};

/** Looks at the fit that an attack asks for; the attack then ends. */
const lookAt = async (attack: AnyAttack, look: (spec: AnySpec) => void, victim = victimOf()): Promise<void> => {
  const seen = failure('interrupted', 'seen');
  const fitting: Fitting = async (_, spec) => {
    look(spec);
    throw new FailureError(seen);
  };
  const tried = context(key('stage'), { normalisation, fitting });
  const failed = await failureOf(attack.steal(victim, learner, { ...tried, ...given }));
  if (failed !== seen) throw new FailureError(failed);
};

const logits = (...rows: number[][]) => tf.tensor2d(rows);
const [t, s] = [
  [
    [2, 0, -1],
    [1, 2, -0.5],
  ],
  [
    [1, 0.5, -0.5],
    [0, 1, 0.2],
  ],
] as const;

describe('logits that are recovered from probabilities', () => {
  test('are those of the victim but for their mean, however sure it is', () => {
    tf.tidy(() => {
      const expected = [1.666667, -0.333333, -1.333333, 0.166667, 1.166667, -1.333333];
      expectClose(values(recoveredLogits(tf.logSoftmax(logits(...(t as never as number[][]))))), expected, 2e-6);
      const sure = [40, 0, -20];
      const centred = sure.map((x) => x - 20 / 3);
      expectClose(values(recoveredLogits(tf.logSoftmax(logits(sure)))), centred, 1e-5);
    });
  });

  test('of what is told to be 0 are those of 10⁻⁷, or of the least that is told', () => {
    tf.tidy(() => {
      const told = (...p: number[]) => {
        const logP = p.map((each) => Math.log(each));
        return values(recoveredLogits(logits(logP)));
      };
      const centred = (...logP: number[]) => logP.map((x) => x - logP.reduce((a, b) => a + b) / logP.length);
      expectClose(told(1, 0, 0), centred(0, Math.log(1e-7), Math.log(1e-7)), 1e-5);
      expectClose(told(1, 1e-9, 0), centred(0, Math.log(1e-9), Math.log(1e-9)), 1e-5);
    });
  });
});

describe('the losses', () => {
  test('of the student: mean |s − l| over batch and classes', () => {
    tf.tidy(() => {
      const [teacher, student] = [logits(...(t as never as number[][])), logits(...(s as never as number[][]))];
      const loss = absoluteError({ logits: student, teacher: tf.logSoftmax(teacher) }).loss;
      expectClose(values(loss), [0.7], 1e-6);
      // What it is not: the difference to logits with their mean.
      expectClose(values(tf.mean(tf.abs(tf.sub(student, teacher)))), [0.783333], 2e-6);
    });
  });

  test('of the generator: the negative of that for each image, or of KL(victim ‖ student)', () => {
    tf.tidy(() => {
      const [teacher, student] = [logits(...(t as never as number[][])), logits(...(s as never as number[][]))];
      const l1 = agreement('l1', student, tf.logSoftmax(teacher));
      expect(l1.shape).toEqual([2]);
      expectClose(values(tf.mean(l1)), [-0.7], 1e-6);
      expectClose(values(agreement('kl', student, tf.logSoftmax(teacher))), [-0.199977, -0.129523], 2e-6);
      expectClose(values(tf.mean(agreement('kl', student, tf.logSoftmax(teacher)))), [-0.16475], 2e-6);
      expectClose(values(distillationKl({ logits: student, teacher, temperature: 1 }).loss), [0.16475], 2e-6);
      // A class that is ruled out adds nothing.
      const certain = values(agreement('kl', logits([0, 0]), logits([0, Number.NEGATIVE_INFINITY])));
      expectClose(certain, [-Math.log(2)], 1e-6);
    });
  });

  /** Of a victim and a student that are two numbers' functions, on what the tanh is of. */
  const agreementOf = (kind: 'l1' | 'kl') => (x: tf.Tensor2D) => {
    const [h1, h2] = tf.split(tf.tanh(x), 2, 1) as [tf.Tensor2D, tf.Tensor2D];
    const victim = tf.concat([tf.sub(h1, h2), h2], 1) as tf.Tensor2D;
    const student = tf.concat([tf.mul(h1, 0.5), tf.zerosLike(h1)], 1) as tf.Tensor2D;
    return agreement(kind, student, tf.logSoftmax(victim));
  };

  test('has MAZE’s worked numbers by the divergence', () => {
    tf.tidy(() => {
      const pre = tf.tensor2d([[0.2, -0.1]]);
      const direction = tf.tensor2d([[0.6, 0.8]]);
      const found = differencesAlong([direction], agreementOf('kl'), pre, 1e-3);
      const moved = agreementOf('kl')(tf.add(pre, tf.mul(direction, 1e-3)));
      expectClose([...values(found.value), ...values(moved)], [-0.010848, -0.010755], 2e-6);
      const each = values(found.gradient);
      // The divergence is known to a float32 ulp of its terms, and the quotient to a thousand times that.
      expect(Math.abs((each[0] as number) - 0.111743)).toBeLessThan(2e-4);
      expect(Math.abs((each[1] as number) - 0.148991)).toBeLessThan(2e-4);
    });
  });

  test('has forward differences as its estimate of the gradient, by the worked number', () => {
    tf.tidy(() => {
      const pre = tf.tensor2d([[0.2, -0.1]]);
      const found = differencesAlong([tf.tensor2d([[0.6, 0.8]])], agreementOf('l1'), pre, 1e-3);
      expectClose(values(found.value), [-0.149012], 2e-6);
      // L is known to 1.5e-8, and so its quotient to 3e-5.
      const quotient = (values(found.gradient)[0] as number) / (2 * 0.6);
      expect(Math.abs(quotient - 0.647977)).toBeLessThan(6e-5);
      const each = values(found.gradient);
      expect(Math.abs((each[0] as number) - 0.777572)).toBeLessThan(1e-4);
      expect(Math.abs((each[1] as number) - 1.036763)).toBeLessThan(1e-4);
      const divided = each.map((x) => x / (2 * 1));
      expect(Math.abs((divided[0] as number) - 0.388786)).toBeLessThan(5e-5);
      expect(Math.abs((divided[1] as number) - 0.518381)).toBeLessThan(5e-5);
      expect(values(found.unchanged)).toEqual([0]);
    });
  });
});

test('forward differences are refused in TF32, and not in float32', () => {
  expect(() => refuseRounded('tf32')).toThrow(/noise where .* TF32/);
  expect(() => refuseRounded('float32')).not.toThrow();
});

describe('what it asks', () => {
  test('is 1,792 answers an iteration at the released settings', async () => {
    const victim = victimOf();
    const { steps, queries } = await steal(dfme({ epochs: 1, stepsPerEpoch: 1, latent: 4, width: 2, keep: 1 }), victim);
    expect({ steps, queries }).toEqual({ steps: 1, queries: 1792 });
    expect(sessionOf(victim).asked).toEqual({ queries: 1792, forward: 0, backward: 0 });
    expect(queriesOf({ batch: 256, directions: 1, generatorSteps: 1, studentSteps: 5 })).toBe(1792);
  });

  test('grows with directions and steps', async () => {
    const options = { ...small, directions: 3, generatorSteps: 2, studentSteps: 4 };
    const { steps, queries } = await steal(dfme({ ...options, epochs: 1, stepsPerEpoch: 2 }));
    expect({ steps, queries }).toEqual({ steps: 2, queries: 2 * 6 * (2 * 4 + 4) });
  });

  test('fills 224 epochs of a budget of 20 million, with 11,160 iterations, and 23 of 2 million', async () => {
    expect(epochsWithin({ part: 1 }, 20_000_000, 1792 * 50, 224)).toBe(224);
    expect(epochsWithin({ part: 1 }, 2_000_000, 1792 * 50, 224)).toBe(23);
    expect(epochsWithin({ part: 1 }, undefined, 1792 * 50, 224)).toBe(224);
    const planned = async (budget: number, options = {}) => {
      let spec: AnySpec | undefined;
      await lookAt(dfme(options), (seen) => (spec = seen), victimOf({ budget }));
      return { epochs: spec?.epochs, stepsPerEpoch: spec?.stepsPerEpoch };
    };
    expect(await planned(20_000_000)).toEqual({ epochs: 224, stepsPerEpoch: 50 });
    expect(await planned(2_000_000, { ...dfme.presets.svhn })).toEqual({ epochs: 23, stepsPerEpoch: 50 });
    // The last of the epochs is a part of one: the theft ends with the last whole iteration.
    expect(Math.floor(20_000_000 / 1792)).toBe(11_160);
    expect(Math.ceil(11_160 / 50)).toBe(224);
  });

  test('ends with the last whole iteration that the budget allows for', async () => {
    const { epochs: _, ...open } = small;
    const iteration = 6 * (2 + 2);
    const { steps, queries, ended, history } = await steal(dfme(open), victimOf({ budget: 4 * iteration + 23 }));
    expect({ steps, queries, ended }).toEqual({ steps: 4, queries: 4 * iteration, ended: 'budget' });
    expect(history.map(({ step }) => step)).toEqual([3, 4]);
  });
});

type Joint = { readonly synthesiser: { readonly variables: { readonly params: Readonly<Record<string, tf.Tensor>> } } };

describe('the generator', () => {
  test('has 2,329,091 parameters at the released settings', () => {
    tf.tidy(() => {
      const options = {
        batch: 256,
        latent: 256,
        width: 128,
        directions: 1,
        epsilon: 1e-3,
        loss: 'l1',
        generatorRate: 1e-4,
        generatorFalls: [],
      } as const;
      const about = siteOf(
        { victim: {} as never, network: { ...net, input: { height: 32, width: 32, channels: 3 } }, normalisation },
        learner,
      );
      const { variables } = disagreeing(options).init(key('generator'), about as never, { memory: {} as never });
      expect(Object.values(variables.params).reduce((sum, { size }) => sum + size, 0)).toBe(2_329_091);
      const { latent, width, batch, generatorRate, epsilon, directions } = dfme().params;
      expect({ latent, width, batch, generatorRate, epsilon, directions }).toEqual({
        latent: 256,
        width: 128,
        batch: 256,
        generatorRate: 1e-4,
        epsilon: 1e-3,
        directions: 1,
      });
    });
  });

  /** How far a first step of Adam moves the generator by the rate that it has at a step. */
  const movedAt = (spec: AnySpec, age: number): number =>
    tf.tidy(() => {
      const state = wholeState(spec, key('init'));
      const { own } = state;
      const inputs = { learningRate: tf.scalar(0.01), seed: tf.tensor1d([1, 2], 'int32') };
      const { batch } = spec.source(key('batches')).at(age);
      const { state: after } = take(wholeStep(spec), frameOf(spec, {}), state, { batch, inputs });
      const weights = (of: Joint) => of.synthesiser.variables.params['l1.0.weight'] as tf.Tensor;
      const found = values(tf.max(tf.abs(tf.sub(weights(after.own as Joint), weights(own as Joint)))))[0] as number;
      tree.dispose([after.own, after.memory]);
      return found;
    });

  test('is moved by Adam at a rate that falls to 0.3 after a tenth, three tenths and half of the epochs', async () => {
    const options = { ...small, epochs: 20, stepsPerEpoch: 2, generatorRate: 0.01 };
    const ages = [0, 3, 4, 11, 12, 19, 20, 39];
    const rates = [0, 0, 1, 1, 2, 2, 3, 3].map((times) => 0.01 * 0.3 ** times);
    await lookAt(dfme(options), (spec) => {
      for (const [i, age] of ages.entries()) expectClose([movedAt(spec, age)], [rates[i] as number], 1e-4);
    });
    await lookAt(dfme({ ...options, generatorFalls: [0.5, 0.8] }), (spec) => {
      for (const [age, times] of [
        [19, 0],
        [20, 1],
        [31, 1],
        [32, 2],
      ] as const)
        expectClose([movedAt(spec, age)], [0.01 * 0.3 ** times], 1e-4);
    });
  });

  test.each(['l1', 'kl'] as const)(
    'looks for disagreement: a student that stands still disagrees ever more (%s)',
    async (loss) => {
      const victim = victimOf();
      const { network } = learner;
      const about = {
        victim,
        input: image,
        classes: 3,
        student: network,
        normalisation,
      } as SynthesisContext<'probabilities'>;
      const options = {
        batch: 16,
        latent: 5,
        width: 8,
        directions: 8,
        epsilon: 1e-3,
        loss,
        generatorRate: 0.02,
        generatorFalls: [],
      };
      const student = aged(network, 'student');
      const labels = roundRobinLabels(16, 3);
      const spec = phaseFit(disagreeing(options), about, 0, {
        labels,
        student,
        memory: {},
        before: undefined,
        every: 1000,
      });
      const { history, ...end } = await context(key('still')).fit('generator', {
        ...spec,
        epochs: 5,
        stepsPerEpoch: 12,
        steps: 60,
      });
      const seen = history.map(({ metrics }) => metrics.disagreement as number);
      expect(seen.at(-1) as number).toBeGreaterThan(1.1 * (seen[0] as number));
      tree.dispose([end.last, student]);
    },
  );
});

describe('a victim that rounds', () => {
  test.each([
    ['to one decimal', rounding(1), 0.9],
    ['to none', rounding(0), 0.99],
    ['and tells the first class alone', compose(topK(1), rounding(2)), 0.9],
  ] as const)('%s gives finite losses, and how often nothing changed is told', async (_, defense, least) => {
    const { history, last } = await steal(dfme({ ...small, directions: 4 }), victimOf({ defense }));
    for (const { metrics } of history) {
      expect(Object.keys(metrics).sort()).toEqual(['disagreement', 'l1', 'zeroDifferences']);
      for (const each of Object.values(metrics)) expect(Number.isFinite(each)).toBe(true);
      expect(metrics.zeroDifferences).toBeGreaterThanOrEqual(least);
    }
    for (const each of Object.values(last)) expect(each.every(Number.isFinite)).toBe(true);
  });

  test('not at all, on the contrary, changes its answer at every try', async () => {
    const { history } = await steal(dfme(small));
    for (const { metrics } of history) expect(metrics.zeroDifferences).toBe(0);
  });
});

describe('a joint step', () => {
  test.each(['l1', 'kl'] as const)('is the same bits in a graph (%s)', async (loss) => {
    await lookAt(dfme({ ...small, loss, directions: 2, generatorSteps: 2, generatorFalls: [0.5] }), (spec) =>
      expectCompiled(spec, eager, compiled),
    );
  });

  test('tries directions that were not drawn by the seed of the images’ own vectors', () => {
    tf.tidy(() => {
      const shown: number[][] = [];
      const answers = (images: tf.Tensor4D) => {
        shown.push(values(images));
        return tf.logSoftmax(tf.mean<tf.Tensor2D>(images, [1, 2]));
      };
      const options = {
        batch: 6,
        latent: 5,
        width: 4,
        directions: 1,
        epsilon: 1e-3,
        loss: 'l1',
        generatorRate: 0,
        generatorFalls: [],
      } as const;
      const about = siteOf({ victim: victimOf() as never, network: net, normalisation }, learner);
      const synthesiser = disagreeing(options);
      const seed = tf.tensor1d([3, 4], 'int32');
      synthesiser.step(about as never, 0, {
        victim: { logProbabilities: answers } as never,
        students: [learner.network.init(key('student'))],
        memory: {},
        state: synthesiser.init(key('generator'), about as never, { memory: {} }),
        labels: tf.zeros([6], 'int32'),
        learningRate: tf.scalar(0),
        seed,
      });
      const [here, there] = shown.map((pixels) => pixels.map((p) => Math.atanh(2 * p - 1))) as [number[], number[]];
      const direction = there.map((x, i) => x - (here[i] as number)).slice(0, 30);
      const z = values(standardNormal([6, 5], seed));
      const product = (x: readonly number[], y: readonly number[]) =>
        x.reduce((sum, each, i) => sum + each * (y[i] as number), 0);
      const correlation = product(direction, z) / Math.sqrt(product(direction, direction) * product(z, z));
      // A standard error of thirty numbers is 0.18.
      expect(Math.abs(correlation)).toBeLessThan(0.6);
    });
  });
});

describe('options are refused', () => {
  test.each<readonly [object, RegExp]>([
    [{ batch: 1 }, /^batch is 1/],
    [{ width: 3 }, /^width is 3/],
    [{ directions: 0 }, /^directions is 0/],
    [{ epsilon: 0 }, /^epsilon is 0/],
    [{ loss: 'l2' }, /^loss is "?l2/],
    [{ studentSteps: 0 }, /^studentSteps is 0/],
    [{ generatorFalls: [1.5] }, /^0 is 1\.5/],
    [{ budget: 0 }, /^budget is 0/],
  ])('%j', (options, message) => {
    expect(refusal(() => dfme(options)).what).toMatch(message);
  });

  test('not: every preset, with the budget it had', () => {
    expect(dfme(dfme.presets.cifar10)).toMatchObject({
      budget: 20_000_000,
      params: { generatorFalls: [0.1, 0.3, 0.5] },
    });
    expect(dfme(dfme.presets.svhn)).toMatchObject({
      budget: 2_000_000,
      params: { generatorRate: 5e-5, generatorFalls: [0.5, 0.8] },
    });
  });
});
