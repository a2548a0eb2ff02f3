import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { attentionBetween } from '../../src/attacks/activation-pairs.js';
import { annealed } from '../../src/attacks/annealed-kd.js';
import { distilledFromMeans, meanOfClass } from '../../src/attacks/class-mean-kd.js';
import { disagreement } from '../../src/attacks/cmi.js';
import { completed } from '../../src/attacks/completed-kd.js';
import { logitError, opposition } from '../../src/attacks/dfad.js';
import { absoluteError } from '../../src/attacks/dfme.js';
import { binaryCrossEntropy } from '../../src/attacks/dfms.js';
import { fooled } from '../../src/attacks/dfq.js';
import { guided } from '../../src/attacks/disguide.js';
import { correlationLosses } from '../../src/attacks/dist.js';
import { decoupled } from '../../src/attacks/dkd.js';
import { agreement as studentsAgreement } from '../../src/attacks/dual-students.js';
import { metaGradients, runningDistance } from '../../src/attacks/fast.js';
import { hinted, regression } from '../../src/attacks/fit-net.js';
import { movedImages } from '../../src/attacks/jbda.js';
import { standardised } from '../../src/attacks/logit-standardisation.js';
import { recoveryError } from '../../src/attacks/recovery.js';
import { klOfSurest } from '../../src/attacks/sure-kd.js';
import { disbelief, matching } from '../../src/attacks/zskt.js';
import { key } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import { fitLayers } from '../../src/models/layers.js';
import { adaptivePool, attentionDistance, attentionMap } from '../../src/train/attention.js';
import { distillation, distillationKl, recoveredLogits, soften } from '../../src/train/losses.js';
import { adam } from '../../src/train/optimizers.js';
import { imbalance, oneHotLoss } from '../../src/train/synthesis-losses.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const rows = {
  t: [
    [2, 0, -1],
    [1, 2, -0.5],
    [-1, 0.2, 1],
  ],
  s: [
    [1, 0.5, -0.5],
    [0, 1, 0.2],
    [0.1, -0.3, 0.4],
  ],
  other: [
    [0.8, 0.1, -0.2],
    [0.3, 0.9, -0.1],
  ],
};
const logits = (of: number[][], count = 2) => tf.tensor2d(of.slice(0, count));
const labels = () => tf.tensor1d([0, 1], 'int32');
const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;

/** A loss of the six logits of the student, differentiated and by differences of its value. */
const expectGradient = (loss: (student: tf.Tensor2D) => tf.Scalar, of = rows.s, count = 2): void => {
  tf.tidy(() => {
    const at = logits(of, count);
    const gradient = values(tf.grad((x: tf.Tensor) => loss(x as tf.Tensor2D))(at));
    const h = 5e-3;
    const moved = (i: number, by: number): number => {
      const flat = of.slice(0, count).flat();
      return item(loss(tf.tensor2d(flat.with(i, (flat[i] as number) + by), at.shape)));
    };
    const slopes = gradient.map((_, i) => (moved(i, h) - moved(i, -h)) / (2 * h));
    expectClose(gradient, slopes, 2e-3);
    expect(gradient.some((each) => Math.abs(each) > 1e-3)).toBe(true);
  });
};

describe('decoupled distillation', () => {
  const parts = (temperature: number) =>
    tf.tidy(() => {
      const { target, others } = decoupled({
        logits: logits(rows.s),
        teacher: tf.logSoftmax(logits(rows.t)),
        labels: labels(),
        temperature,
      });
      return [item(target), item(others)].map((each) => each * temperature ** 2);
    });

  test('has the worked numbers', () => {
    const [target = 0, others = 0] = parts(4);
    expectClose([target, others, target + 8 * others], [0.176021, 0.177758, 1.598082], 1e-5);
    expectClose(parts(1), [0.120279, 0.143301], 1e-5);
  });

  test('is plain distillation where the others weigh what the teacher leaves them', () => {
    tf.tidy(() => {
      const one = (of: number[][]) => tf.tensor2d([of[0] as number[]]);
      const [t, s] = [one(rows.t), one(rows.s)];
      const { target, others } = decoupled({
        logits: s,
        teacher: t,
        labels: tf.tensor1d([0], 'int32'),
        temperature: 4,
      });
      const left = 1 - (values(tf.exp(soften(t, 4)))[0] as number);
      expectClose([16 * (item(target) + left * item(others))], [0.277908], 2e-6);
      expectClose([item(distillationKl({ logits: s, teacher: t, temperature: 4 }).loss)], [0.277908], 2e-6);
    });
  });

  test('has the gradients of its formula', () => {
    for (const name of ['target', 'others'] as const)
      expectGradient((s) => decoupled({ logits: s, teacher: logits(rows.t), labels: labels(), temperature: 2 })[name]);
  });

  test('stays finite where the teacher tells the largest alone, and where the student is sure', () => {
    tf.tidy(() => {
      const told = tf.log(tf.oneHot(labels(), 3, 1, 0, 'float32')) as tf.Tensor2D;
      const sure = tf.mul<tf.Tensor2D>(logits(rows.s), 500);
      for (const student of [logits(rows.s), sure]) {
        const loss = (x: tf.Tensor) => {
          const { target, others } = decoupled({
            logits: x as tf.Tensor2D,
            teacher: told,
            labels: labels(),
            temperature: 4,
          });
          return tf.add(target, others);
        };
        expect(values(loss(student)).every(Number.isFinite)).toBe(true);
        expect(values(tf.grad(loss)(student)).every(Number.isFinite)).toBe(true);
      }
    });
  });

  test('takes what is told to be 0 for 0, at every temperature', () => {
    tf.tidy(() => {
      const student = tf.tensor2d([[1, 0.5, -0.5]]);
      const of = (told: readonly number[], temperature: number) => {
        const teacher = tf.log(tf.tensor2d([[...told]])) as tf.Tensor2D;
        const labels = tf.tensor1d([0], 'int32');
        return Object.values(decoupled({ logits: student, teacher, labels, temperature })).map((each) => item(each));
      };
      // p^¼ of (0.8, 0.2, 0) is (0.8⅟₄, 0.2⅟₄, 0) over their sum; s of the student over τ: by hand.
      const power = (x: number) => x ** 0.25;
      const p = power(0.8) / (power(0.8) + power(0.2));
      const exps = [1, 0.5, -0.5].map((z) => Math.exp(z / 4));
      const sum = exps.reduce((a, b) => a + b, 0);
      const s = (exps[0] as number) / sum;
      const target = p * Math.log(p / s) + (1 - p) * Math.log((1 - p) / (1 - s));
      // All of the rest is class 1's: −log of its share of the student's rest.
      const others = -Math.log((exps[1] as number) / ((exps[1] as number) + (exps[2] as number)));
      expectClose(of([0.8, 0.2, 0], 4), [target, others], 2e-6);
      // Nothing told of the others, nothing learnt of them.
      expectClose(of([1, 0, 0], 4), [-Math.log(s), 0], 2e-6);
      expectClose(of([0, 1, 0], 1).slice(1), [Math.log(1 + Math.exp(-1))], 2e-6);
    });
  });

  test('of standardised logits has the worked numbers', () => {
    tf.tidy(() => {
      const { target, others } = decoupled({
        logits: standardised(logits(rows.s)),
        teacher: standardised(recoveredLogits(tf.logSoftmax(logits(rows.t)))),
        labels: labels(),
        temperature: 2,
      });
      expectClose([4 * item(target), 4 * item(others)], [0.019725, 0.174165], 1e-5);
    });
  });
});

describe('standardised logits', () => {
  test('have the worked numbers, of logits and of log-probabilities', () => {
    tf.tidy(() => {
      const t = [1.091089, -0.218218, -0.872872, 0.132453, 0.927173, -1.059626];
      expectClose(values(standardised(logits(rows.t))), t, 2e-6);
      expectClose(values(standardised(tf.logSoftmax(logits(rows.t)))), t, 2e-6);
      const s = [0.872871, 0.218218, -1.091089, -0.755929, 1.133893, -0.377964];
      expectClose(values(standardised(logits(rows.s))), s, 2e-6);
    });
  });

  test('give the worked distillation', () => {
    tf.tidy(() => {
      const { loss } = distillationKl({
        logits: standardised(logits(rows.s)),
        teacher: standardised(logits(rows.t)),
        temperature: 2,
      });
      expectClose([item(loss), 9 * item(loss)], [0.107638, 0.968741], 5e-6);
    });
  });

  test('have the gradients of their formula, finite for equal logits', () => {
    expectGradient(
      (s) => distillationKl({ logits: standardised(s), teacher: standardised(logits(rows.t)), temperature: 2 }).loss,
    );
    tf.tidy(() => {
      const gradient = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(standardised(x as tf.Tensor2D), logits(rows.t))));
      expect(values(gradient(tf.zeros([2, 3]))).every(Number.isFinite)).toBe(true);
    });
  });
});

describe('correlation', () => {
  const of = (temperature: number, s = rows.s) => {
    const { inter, intra } = correlationLosses({ logits: logits(s, 3), teacher: logits(rows.t, 3), temperature });
    return [inter, intra] as const;
  };

  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(of(1).map(item), [0.180276, 0.142187], 5e-6);
      const [inter, intra] = of(4).map(item) as [number, number];
      expectClose([inter, intra, 16 * (inter + intra)], [0.309109, 0.251015, 8.961993], 1e-4);
    });
  });

  test('has the gradients of its formula', () => {
    for (const i of [0, 1] as const)
      expectGradient(
        (s) =>
          Object.values(correlationLosses({ logits: s, teacher: logits(rows.t, 3), temperature: 1 }))[i] as tf.Scalar,
        rows.s,
        3,
      );
  });

  test('of a single image, or of equal answers, is none, with a finite gradient', () => {
    tf.tidy(() => {
      const loss = (x: tf.Tensor) => {
        const { inter, intra } = correlationLosses({
          logits: x as tf.Tensor2D,
          teacher: tf.zeros([1, 3]),
          temperature: 4,
        });
        return tf.add(inter, intra);
      };
      const one = tf.tensor2d([[1, 0.5, -0.5]]);
      expectClose([item(loss(one))], [2], 1e-6);
      expect(values(tf.grad(loss)(one)).every(Number.isFinite)).toBe(true);
    });
  });
});

describe('attention', () => {
  const maps = () => ({
    student: tf.tensor4d([1, 2], [1, 1, 2, 1]),
    teacher: tf.tensor4d([1, 1, 1, 0], [1, 1, 2, 2]),
  });

  test('has the worked numbers', () => {
    tf.tidy(() => {
      const { student, teacher } = maps();
      expectClose(values(attentionMap(student)), [0.242536, 0.970143], 2e-6);
      expectClose(values(attentionMap(teacher)), [0.894427, 0.447214], 2e-6);
      expectClose([item(attentionDistance(student, teacher))], [0.349209], 2e-6);
      expect(values(attentionMap(tf.zeros([1, 2, 2, 3])))).toEqual([0, 0, 0, 0]);
    });
  });

  test('pools the larger activation to the smaller as PyTorch does', () => {
    tf.tidy(() => {
      // torch.nn.functional.adaptive_avg_pool2d(torch.arange(25.).reshape(1, 1, 5, 5), (3, 2))
      const x = tf.reshape<tf.Rank.R4>(tf.range(0, 25), [1, 5, 5, 1]);
      expectClose(values(adaptivePool(x, 3, 2)), [3.5, 5.5, 11, 13, 18.5, 20.5], 1e-5);
      expect(adaptivePool(x, 5, 5)).toBe(x);
    });
  });

  test('has the gradients of its formula, and sums pairs', () => {
    const images = (x: tf.Tensor2D) => tf.reshape<tf.Rank.R4>(x, [1, 1, 2, 3]);
    expectGradient((s) => attentionDistance(images(s), images(logits(rows.t))));
    expectGradient((s) => tf.mean(attentionMap(images(s)).mul([1, -2])) as tf.Scalar);
    tf.tidy(() => {
      const { student, teacher } = maps();
      const pairs = [
        ['t', 's'],
        ['t', 's'],
      ] as const;
      expectClose([item(attentionBetween(pairs, { s: student }, { t: teacher }))], [2 * 0.349209], 4e-6);
      expectClose([1000 * item(attentionBetween([['t', 's']], { s: student }, { t: teacher }))], [349.209], 2e-3);
    });
  });

  test('weighs as ZSKT has it', () => {
    tf.tidy(() => {
      const { student, teacher } = maps();
      const given = { logits: logits(rows.s), teacher: logits(rows.t), images: student, seen: { t: teacher } };
      const output = { activations: { s: student } } as never;
      const loss = matching([['t', 's']], { klWeight: 1 / 3, attention: 250 })({ ...given, output });
      expectClose([item(loss.loss)], [0.054917 + 87.302], 2e-3);
      expectClose([item(matching([], { klWeight: 1 / 3, attention: 0 })({ ...given, output }).loss)], [0.054917], 2e-6);
    });
  });
});

describe('a hint', () => {
  const hint = () => tf.tensor2d([0.5, 0.5, 1, 0], [1, 4]);

  test('has the worked numbers, and the gradients of its formula', () => {
    tf.tidy(() => {
      const hard = tf.scalar(0.25);
      const { loss, terms } = hinted({ hard, guided: tf.tensor2d([1, 0, 2, -1], [1, 4]), hint: hint(), weight: 100 });
      expectClose([item(terms.hint), item(terms.crossEntropy), item(loss)], [0.625, 0.25, 62.75], 1e-5);
    });
    expectGradient((s) => hinted({ hard: tf.scalar(0), guided: s, hint: logits(rows.t), weight: 3 }).loss);
  });

  test('is brought to the victim’s size by a convolution, with a stride or transposed', () => {
    const side = (size: number, channels: number) => ({ kind: 'image' as const, height: size, width: size, channels });
    const kernelOf = (from: number, to: number) => {
      const layers = regression(side(from, 3), side(to, 5));
      if (layers === undefined) return undefined;
      const net = fitLayers(layers, { where: 'regressor', input: side(from, 3) });
      return tf.tidy(() => {
        const variables = net.init(key('regressor'));
        const { y } = net.run(variables, tf.zeros([2, from, from, 3]), { mode: 'train' });
        expect(y.shape).toEqual([2, to, to, 5]);
        const { size } = variables.params['0.weight'] as tf.Tensor;
        return Math.sqrt(size / 15);
      });
    };
    expect(kernelOf(8, 4)).toBe(3);
    expect(kernelOf(4, 8)).toBe(4);
    expect(kernelOf(4, 4)).toBe(1);
    expect(kernelOf(7, 4)).toBe(4);
    expect(kernelOf(4, 7)).toBeUndefined();
    expect(kernelOf(2, 8)).toBeUndefined();
  });
});

describe('distillation that changes on the way', () => {
  const line = { temperature: 6, finalTemperature: 2, alpha: 0.9, finalAlpha: 0.1 };
  const at = (progress: number, student = logits(rows.s)) =>
    annealed({ logits: student, teacher: logits(rows.t), labels: labels(), progress: tf.scalar(progress) }, line);

  test('has the worked numbers in the middle, and those of its ends', () => {
    tf.tidy(() => {
      // τ = 4 and α = 0.5.
      const { loss, terms } = at(0.5);
      expectClose([item(terms.kl), item(terms.crossEntropy)], [0.01731, 0.600716], 2e-6);
      expectClose([item(loss)], [(0.276963 + 0.600716) / 2], 2e-6);
      for (const [progress, temperature, alpha] of [
        [0, 6, 0.9],
        [1, 2, 0.1],
      ] as const) {
        const plain = { logits: logits(rows.s), teacher: logits(rows.t), labels: labels(), temperature, alpha };
        expectClose([item(at(progress).loss)], [item(distillation(plain).loss)], 2e-6);
      }
    });
  });

  test('has the gradients of its formula', () => {
    expectGradient((s) => at(0.25, s).loss);
  });
});

describe('the surest answers', () => {
  const student = () =>
    tf.tensor2d([
      [1, 0.5, -0.5],
      [0, 1, 0.2],
    ]);
  const told = () =>
    tf.logSoftmax(
      tf.tensor2d([
        [2, 0, -1],
        [1, 2, -0.5],
      ]),
    ) as tf.Tensor2D;
  const kl = (without: number) => klOfSurest({ logits: student(), teacher: told(), temperature: 1, without });

  test('alone are learnt, by the worked numbers of their rows', () => {
    tf.tidy(() => {
      // The largest probabilities are .843795 and .689672; the divergences of the rows .199977 and .129523.
      expectClose(values(kl(0)), [0.16475], 1e-5);
      expectClose(values(kl(0.4)), [0.16475], 1e-5);
      expectClose(values(kl(0.5)), [0.199977], 1e-5);
      expectClose(values(kl(0.99)), [0.199977], 1e-5);
    });
  });

  test('teach nothing to the rows that are left out', () => {
    tf.tidy(() => {
      const gradient = tf.grad((logits) =>
        klOfSurest({ logits: logits as tf.Tensor2D, teacher: told(), temperature: 1, without: 0.5 }),
      )(student());
      const [p, q] = [tf.softmax(student()), tf.exp(told())];
      const [first] = tf.unstack(tf.sub(p, q)) as [tf.Tensor1D];
      expectClose(values(gradient), [...values(first), 0, 0, 0], 1e-6);
    });
  });

  test('are all where all are equally sure', () => {
    tf.tidy(() => {
      const alike = tf.log(
        tf.tensor2d([
          [0.8, 0.1, 0.1],
          [0.1, 0.8, 0.1],
        ]),
      ) as tf.Tensor2D;
      const of = (without: number) =>
        values(klOfSurest({ logits: student(), teacher: alike, temperature: 1, without }));
      expectClose(of(0.5), of(0), 1e-6);
    });
  });
});

test('answers to images of one label are replaced by their mean', () => {
  tf.tidy(() => {
    const rows = tf.tensor2d([
      [0.7, 0.2, 0.1],
      [0.1, 0.8, 0.1],
      [0.5, 0.5, 0],
    ]);
    const found = meanOfClass(rows, tf.tensor1d([0, 1, 0], 'int32'));
    expectClose(values(found), [0.6, 0.35, 0.05, 0.1, 0.8, 0.1, 0.6, 0.35, 0.05], 1e-6);
  });
});

test('the mean of the answers to one label is distilled', () => {
  const loss = (student: tf.Tensor2D, labels: readonly number[], temperature = 1, alpha = 0.9) =>
    distilledFromMeans(
      { logits: student, teacher: logits(rows.t), labels: tf.tensor1d([...labels], 'int32') },
      { temperature, alpha },
    );
  tf.tidy(() => {
    // Of two images of one label each is taught (.548755, .401934, .049311), of which Σ p̄ ln p̄ is −.844066.
    const mean = [0.548755, 0.401934, 0.049311];
    const q = values(tf.logSoftmax(logits(rows.s)));
    const cross = mean.reduce((sum, p, k) => sum + (p * ((q[k] as number) + (q[k + 3] as number))) / 2, 0);
    expectClose([item(loss(logits(rows.s), [0, 0]).terms.kl)], [-0.844066 - cross], 5e-6);
    // Each its own label: plain distillation.
    expectClose([item(loss(logits(rows.s), [0, 1], 4).loss)], [0.9 * 0.276963 + 0.1 * 0.600716], 5e-6);
  });
  expectGradient((s) => loss(s, [0, 0], 2).loss);
});

describe('completed answers', () => {
  const told = () => {
    const all = tf.logSoftmax(tf.tensor2d([rows.t[0] as number[]]));
    return tf.where(tf.tensor2d([[1, 1, 0]], [1, 3], 'bool'), all, Number.NEGATIVE_INFINITY) as tf.Tensor2D;
  };
  const student = () => tf.tensor2d([rows.s[0] as number[]]);
  const of = (completion: 'masked' | 'ownTail' | 'uniformTail', more = {}) =>
    completed({ logits: student(), teacher: told(), temperature: 1, completion, tail: 0.1, ...more });

  test('have the worked numbers', () => {
    tf.tidy(() => {
      expectClose([item(of('masked'))], [0.168345], 2e-6);
      expectClose(
        [item(distillationKl({ logits: student(), teacher: told(), temperature: 1 }).loss)],
        [0.298398],
        2e-6,
      );
      expectClose([item(of('ownTail'))], [0.147815], 2e-6);
      const [a = 0, b = 0, c = 0] = values(tf.softmax(student()));
      const p = [0.9 * 0.880797, 0.9 * 0.119203, 0.1];
      const expected = [a, b, c].reduce((sum, q, i) => sum + (p[i] as number) * Math.log((p[i] as number) / q), 0);
      expectClose([item(of('uniformTail'))], [expected], 5e-6);
    });
  });

  test('are completed before they are softened', () => {
    tf.tidy(() => {
      const teacher = tf.log(tf.tensor2d([[0.731059, 0.268941, 0, 0, 0]])) as tf.Tensor2D;
      const target = [0.312297, 0.243217, 0.148162, 0.148162, 0.148162];
      const uniform = { logits: tf.zeros([1, 5]) as tf.Tensor2D, teacher, temperature: 4, tail: 0.1 };
      const expected = target.reduce((sum, p) => sum + p * Math.log(5 * p), 0);
      expectClose([item(completed({ ...uniform, completion: 'uniformTail' }))], [expected], 5e-6);
    });
  });

  test('are learnt as labels where one class alone is told', () => {
    tf.tidy(() => {
      const teacher = tf.log(
        tf.tensor2d([
          [0.84, 0, 0],
          [0.6, 0.3, 0],
        ]),
      ) as tf.Tensor2D;
      const two = tf.tensor2d([rows.s[0] as number[], rows.s[1] as number[]]);
      const q = values(tf.logSoftmax(two));
      for (const completion of ['masked', 'ownTail'] as const) {
        const kl = (of: readonly number[]) =>
          item(
            completed({
              ...{ temperature: 4, completion, tail: 0.1 },
              logits: tf.gather(two, [...of]),
              teacher: tf.gather(teacher, [...of]),
            }),
          );
        expectClose([16 * kl([0])], [-(q[0] as number)], 2e-6);
        expectClose([2 * kl([0, 1])], [kl([0]) + kl([1])], 2e-6);
      }
    });
  });

  test('count the k largest as told, and are plain distillation where all are', () => {
    tf.tidy(() => {
      const all = { teacher: tf.logSoftmax(tf.tensor2d([rows.t[0] as number[]])) };
      expectClose([item(of('masked', { ...all, k: 2 }))], [0.168345], 2e-6);
      for (const completion of ['masked', 'ownTail', 'uniformTail'] as const)
        expectClose([item(of(completion, all))], [0.199977], 2e-6);
    });
  });

  test('have the gradients of their formula, the student’s own tail being fixed', () => {
    const teacher = () =>
      tf.where(
        tf.tensor2d([1, 1, 0, 0, 1, 1], [2, 3], 'bool'),
        tf.logSoftmax(logits(rows.t)),
        Number.NEGATIVE_INFINITY,
      );
    for (const completion of ['masked', 'uniformTail'] as const)
      expectGradient((s) =>
        completed({ logits: s, teacher: teacher() as tf.Tensor2D, temperature: 2, completion, tail: 0.1 }),
      );
    tf.tidy(() => {
      // d/ds of Σ p′ (ln p′ − ln q) with p′ fixed is q − p′: nothing where p′ is q.
      const gradient = tf.grad((s: tf.Tensor) =>
        completed({ logits: s as tf.Tensor2D, teacher: told(), temperature: 1, completion: 'ownTail', tail: 0 }),
      )(student());
      const [, , last = 1] = values(gradient);
      expect(Math.abs(last)).toBeLessThan(1e-7);
    });
  });
});

describe('losses of data-free attacks', () => {
  test('by which students disagree', () => {
    tf.tidy(() => {
      const [a, b] = [logits(rows.s), logits(rows.other)];
      const { loss, metrics } = studentsAgreement(a, b);
      expectClose([item(loss), item(metrics.disagreement)], [-0.266667, 0.266667], 2e-6);
      const { disagreement, balance } = guided(a, b);
      expectClose([item(disagreement), item(balance)], [0.037536, -1.047009], 2e-6);
      expectClose([-item(disagreement) + 0.2 * item(balance)], [-0.246937], 2e-6);
    });
    expectGradient((s) => studentsAgreement(s, logits(rows.other)).loss);
    expectGradient((s) => guided(s, logits(rows.other)).disagreement);
    expectGradient((s) => guided(s, logits(rows.other)).balance);
  });

  test('by which students learn logits', () => {
    tf.tidy(() => {
      const given = { logits: logits(rows.s), images: tf.zeros<tf.Rank.R4>([2, 1, 1, 1]), output: {} as never };
      expectClose([item(logitError({ ...given, teacher: logits(rows.t) }).loss)], [0.783333], 2e-6);
      expectClose([item(absoluteError({ ...given, teacher: tf.logSoftmax(logits(rows.t)) }).loss)], [0.7], 2e-6);
    });
    const given = { images: undefined as never, output: {} as never };
    for (const error of [logitError, absoluteError])
      expectGradient((s) => error({ ...given, logits: s, teacher: tf.logSoftmax(logits(rows.t)) as tf.Tensor2D }).loss);
  });

  test('by which generators with the weights at hand learn, with their signs and weights', () => {
    const weights = { adversarial: 2, batchNorm: 3, oneHot: 5, balance: 7 };
    const terms = [0.16475, 1.5, 0.270693, -0.844066] as const;
    tf.tidy(() => {
      const [t, s] = [logits(rows.t), logits(rows.s)];
      expectClose([item(opposition(s, t).loss)], [-0.783333], 2e-6);
      expectClose([item(disbelief(t, s, 1 / 3).loss)], [-0.054917], 2e-6);
      const apart = tf.scalar(terms[1]);
      const { loss, metrics } = fooled(t, s, apart, weights);
      expectClose(
        [metrics.kl, metrics.batchNorm as tf.Scalar, metrics.oneHot, metrics.balance].map(item),
        [...terms],
        2e-6,
      );
      expectClose([item(loss)], [-2 * terms[0] + 3 * terms[1] + 5 * terms[2] + 7 * terms[3]], 1e-5);
      expectClose([item(fooled(t, s, undefined, weights).loss)], [item(loss) - 4.5], 1e-5);
    });
    // The victim's side has a gradient here.
    expectGradient((t) => opposition(logits(rows.s), t).loss, rows.t);
    expectGradient((t) => disbelief(t, logits(rows.s), 0.5).loss, rows.t);
    expectGradient((t) => fooled(t, logits(rows.s), undefined, weights).loss, rows.t);
    expectGradient((s) => fooled(logits(rows.t), s, undefined, weights).loss);
  });

  test('by which a generator becomes a better start', () => {
    tf.tidy(() => {
      // The worked example: θ = 1, of a loss θ², and two of Adam's steps of 0.005.
      const optimizer = adam({ beta1: 0.5 });
      const start = { theta: tf.scalar(1) };
      let [end, slots, sum] = [start as { readonly theta: tf.Tensor }, optimizer.init(start), tf.scalar(0)];
      for (let step = 0; step < 2; step++) {
        const gradient = tf.mul<tf.Scalar>(end.theta, 2);
        sum = tf.add(sum, gradient);
        const moved = optimizer.update({ theta: gradient }, slots, end, tf.scalar(5e-3));
        [end, slots] = [{ theta: moved.params.theta as tf.Tensor }, moved.state];
      }
      expectClose(values(end.theta), [0.990004], 2e-6);
      const given = { start, end, sums: { theta: sum } };
      expectClose(values(metaGradients('fomaml', given).theta as tf.Tensor), [3.99], 2e-5);
      expectClose(values(metaGradients('reptile', given).theta as tf.Tensor), [0.669719], 2e-5);
    });
  });

  test('by which a net learns to recover answers', () => {
    const clean = () => tf.tensor2d([0.7, 0.2, 0.1, 0.5, 0.4, 0.1], [2, 3]);
    tf.tidy(() => {
      const recovered = tf.tensor2d([0.5, 0.3, 0.2, 0.45, 0.35, 0.2], [2, 3]);
      expectClose([item(recoveryError(recovered, clean()))], [(0.4 + 0.2) / 2], 2e-6);
    });
    expectGradient((y) => recoveryError(tf.softmax(y), clean()));
  });

  test('by which images are spread over classes', () => {
    tf.tidy(() => {
      expectClose([item(imbalance(logits(rows.t)))], [-0.844066], 2e-6);
      expectClose([item(oneHotLoss(logits(rows.t)))], [0.270693], 2e-6);
      expectClose([item(imbalance(logits(rows.s), 1e-5))], [-1.040759], 2e-6);
      expectClose([500 * item(imbalance(logits(rows.s), 1e-5))], [-520.379475], 1e-3);
    });
    expectGradient((s) => imbalance(s));
    expectGradient((s) => imbalance(s, 1e-5));
  });

  test('by which a discriminator learns', () => {
    tf.tidy(() => {
      const x = tf.tensor1d([0, 2]);
      const sigma = (each: number) => 1 / (1 + Math.exp(-each));
      expectClose([item(binaryCrossEntropy(x, 1))], [-(Math.log(0.5) + Math.log(sigma(2))) / 2], 2e-6);
      expectClose([item(binaryCrossEntropy(x, 0))], [-(Math.log(0.5) + Math.log(1 - sigma(2))) / 2], 2e-6);
    });
    for (const label of [0, 1] as const) expectGradient((x) => binaryCrossEntropy(x, label));
  });

  test('by which running statistics are compared', () => {
    tf.tidy(() => {
      const seen = (mean: number[], variance: number[]) => ({
        bn: { mean: tf.tensor1d(mean), variance: tf.tensor1d(variance) },
      });
      const running = { 'bn.running_mean': tf.zeros([2]), 'bn.running_var': tf.ones([2]) };
      const now = seen([0.3, 0.4], [1, 2]);
      expectClose([item(runningDistance(now, undefined, running))], [1.5], 2e-6);
      expectClose([item(runningDistance(now, seen([0.1, 0.1], [1, 1.5]), running))], [0.726918], 2e-6);
    });
  });

  test('by which victim and student disagree where they name the same class', () => {
    tf.tidy(() => {
      expectClose([item(disagreement(logits(rows.t), logits(rows.s)))], [-0.16475], 2e-6);
      const masked = tf.tensor2d([rows.s[0] as number[], [1.2, 1, 0.2]]);
      expectClose([item(disagreement(logits(rows.t), masked))], [-0.099988], 2e-6);
    });
  });
});

describe('images moved by the Jacobian', () => {
  const linear = (pixels: tf.Tensor4D): tf.Tensor2D => {
    const x = tf.reshape(pixels, [-1, 2]);
    return tf.matMul(x, tf.tensor2d([-2, 2, -1, 1], [2, 2])) as tf.Tensor2D;
  };
  /** Bytes of the worked example's pixels, which are (0.2, −0.95) of [−1, 1]. */
  const pool = (images = [153, 6]) => ({
    images: tf.tensor4d(images, [1, 1, 2, 1]),
    answers: tf.tensor2d([[-0.1, -3]]),
  });
  const moved = (form: 'papernot' | 'untargeted' | 'topK', step = 0.05, images = [153, 6]) =>
    tf.tidy(() => values(movedImages(linear, pool(images), { form, step, k: 1 })));

  test('along the sign of the gradient of the own logit, or against it', () => {
    // The worked example: to (0.1, −1), where it is cut; s₀ falls with both pixels.
    expect(moved('papernot')).toEqual([140, 0]);
    expect(moved('untargeted')).toEqual([166, 19]);
    expect(moved('papernot', -0.05)).toEqual([166, 19]);
    tf.tidy(() => {
      // A victim that names classes alone.
      const named = { images: pool().images, answers: tf.tensor2d([[0]]) };
      expect(values(movedImages(linear, named, { form: 'papernot', step: 0.05, k: 1 }))).toEqual([140, 0]);
    });
  });

  test('towards the likeliest other class, by eight steps of a hundredth and no further than λ', () => {
    expect(moved('topK', 0.1, [51, 153])).toEqual([71, 173]);
    expect(moved('topK', 0.05, [51, 153])).toEqual([64, 166]);
  });

  test('within black and white', () => {
    expect(moved('papernot', 1)).toEqual([0, 0]);
    expect(moved('untargeted', 1)).toEqual([255, 255]);
  });
});
