import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import adversary from '../../experiments/ablations/adversary.js';
import alpha from '../../experiments/ablations/alpha.js';
import fraction from '../../experiments/ablations/fraction.js';
import omega from '../../experiments/ablations/omega.js';
import temperature from '../../experiments/ablations/temperature.js';
import cifar10 from '../../experiments/cifar10.js';
import fast from '../../experiments/cifar10-fast.js';
import pictures from '../../experiments/cifar10-pictures.js';
import short from '../../experiments/cifar10-table.js';
import withoutData from '../../experiments/cifar10-without-data.js';
import small from '../../experiments/cifar10-zoo.js';
import cifar100 from '../../experiments/cifar100.js';
import dafl from '../../experiments/dafl.js';
import deepInversion from '../../experiments/deep-inversion.js';
import ranking from '../../experiments/ranking-cifar10.js';
import tinyImageNet from '../../experiments/tiny-imagenet.js';
import { orFail } from '../../src/core/errors.js';
import type { Augmentation } from '../../src/data/dataset.js';
import { synthetic } from '../../src/data/synthetic.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Experiment } from '../../src/experiment/experiment.js';
import type { Plan } from '../../src/experiment/plan.js';
import { withScale } from '../../src/experiment/scale.js';
import { planFor } from '../../src/harness/session.js';
import { classifier } from '../../src/train/classifier.js';
import type { ImageSet } from '../../src/train/images.js';
import { distillation } from '../../src/train/losses.js';
import { retrainable } from '../../src/train/pretrained.js';
import type { Learner } from '../../src/train/recipe.js';
import { context, numbersOf, setOf, succeed } from '../train/bench.js';

beforeAll(async () => {
  await loadEngine();
});

/** The paper's tables, on made-up images of the real ones' size and number of classes. */
const tables: readonly (readonly [string, readonly Experiment[], { size: number; classes: number }, Augmentation])[] = [
  ['CIFAR-10', [cifar10], { size: 32, classes: 10 }, { crop: 4, flip: true }],
  ['CIFAR-100', cifar100, { size: 32, classes: 100 }, { crop: 4, flip: true }],
  ['Tiny-ImageNet', tinyImageNet, { size: 64, classes: 200 }, { crop: 0, flip: true, rotate: 20 }],
];

describe.each([
  ['DAFL', dafl],
  ['DeepInversion', [deepInversion]],
] as const)('the experiments of %s', (_, experiments) => {
  it.each([1, 0.001])('plan at a scale of %d', async (scale) => {
    for (const experiment of experiments) {
      const data = synthetic({
        size: 32,
        classes: experiment.data.name === 'cifar100' ? 100 : 10,
        train: 256,
        test: 100,
      });
      const { plan } = await planFor({ ...orFail(withScale(experiment, scale)), data }, 'no engine');
      expect(plan.cells.filter(({ stages }) => stages === undefined)).toEqual([]);
    }
  });
});

describe('the short experiments on CIFAR-10', () => {
  const data = synthetic({ size: 32, channels: 3, classes: 10, train: 3000, test: 100 });
  const plans = new Map<Experiment, Promise<Plan>>();
  /** Once each. */
  const planned = (of: Experiment): Promise<Plan> => {
    const plan = plans.get(of) ?? planFor({ ...of, data }, 'no engine').then(({ plan }) => plan);
    plans.set(of, plan);
    return plan;
  };

  const ablations = [...adversary, alpha, fraction, omega, temperature];

  it.each([fast, ...pictures, short, small, ranking, withoutData, ...ablations])('plan: $name', async (of) => {
    const { cells } = await planned(of);
    // Not tried is only what needs more than a defence tells, or its inverse, or a way to imitate it.
    expect(cells.filter(({ stages, attack }) => stages === undefined && attack === 'scratch')).toEqual([]);
    if (of !== ranking) expect(cells.filter(({ stages }) => stages === undefined)).toEqual([]);
  });

  it.each([
    ['pictures', [short, fast], pictures, 4],
    ['thefts without data', [small], [withoutData], 2],
    ['ablations of the attack', [omega], [alpha, fraction, temperature], 6],
  ] as const)('have their teachers in common: %s', async (_, from, others, count) => {
    const trained = async (experiments: readonly Experiment[]) => {
      const plans = await Promise.all(experiments.map(planned));
      const stages = plans.flatMap(({ stages }) => stages).filter(({ label }) => label.endsWith('/teacher'));
      return new Set(stages.map(({ id }) => id));
    };
    const [first, all] = [await trained(from), await trained(others)];
    expect(all.size).toBe(count);
    expect([...all].filter((id) => !first.has(id))).toEqual([]);
  });
});

describe.each(tables)('the table of %s', (_, experiments, made, augmentation) => {
  const data = synthetic({ ...made, train: 256, test: 200 });

  it('plans whole, with a published number for each teacher and student', async () => {
    for (const experiment of experiments) {
      const { plan } = await planFor({ ...experiment, data }, 'no engine');
      expect(plan.cells.filter(({ stages }) => stages === undefined)).toEqual([]);
      const { teachers = {}, students = {} } = experiment.published ?? {};
      expect(Object.keys(teachers)).toEqual(experiment.defenses.map(({ label }) => label));
      expect(Object.keys(students)).toEqual(experiment.students.map(({ label }) => label));
      for (const attacks of Object.values(students)) {
        expect(Object.keys(attacks)).toEqual(['scratch', 'kd']);
        expect(Object.keys(attacks.kd as object)).toEqual(Object.keys(teachers));
      }
    }
  });

  const learners = experiments.flatMap(({ teacher, students }) =>
    [teacher, ...students.map(({ learner }) => learner)].map(retrainable),
  );
  const nets = new Map(learners.map((learner) => [learner.label as string, learner]));

  it.each([...nets.keys()])('trains a step of %s', async (label) => {
    const { network: plugin, recipe } = nets.get(label) as Learner;
    const dataset = { ...orFail(await data.load({ cache: false })()), augmentation };
    const network = plugin.build(dataset.image, dataset.classes.length);
    const set: ImageSet = { ...setOf(dataset.train, 0, 4), shape: dataset.image, augmentation };
    const fitted = await succeed(
      context().fit('student', {
        ...classifier({
          learner: { network, recipe: { ...recipe, batch: 2, epochs: 1 } },
          data: set,
          target: ({ images }) => ({
            teacher: tf.logSoftmax(tf.zeros([images.shape[0], dataset.classes.length])) as tf.Tensor2D,
          }),
          loss: ({ logits, target: { teacher }, batch: { labels } }) =>
            distillation({ logits, teacher, labels, temperature: 4, alpha: 0.9 }),
        }),
        steps: 1,
      }),
    );
    // An untrained net says little more than chance, whose cross-entropy is ln K.
    const { crossEntropy = 0, loss = 0 } = fitted.history.at(-1)?.metrics ?? {};
    expect(crossEntropy / Math.log(dataset.classes.length)).toBeGreaterThan(0.4);
    expect(crossEntropy / Math.log(dataset.classes.length)).toBeLessThan(2.5);
    expect(Number.isFinite(loss)).toBe(true);
    expect(fitted.execution).toContain('graph');
    const numbers = Object.entries(numbersOf(fitted.last));
    expect(numbers.every(([, values]) => values.every(Number.isFinite))).toBe(true);
  });
});
