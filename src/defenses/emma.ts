import * as tf from '@tensorflow/tfjs';
import { augment } from '../public/ops.js';
import {
  atLeast,
  between,
  defineDefense,
  type Named,
  type Network,
  option,
  optional,
  positive,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  batchesPerEpoch,
  type ClassifierState,
  clone,
  cosine,
  dispose,
  type EpochEnd,
  type FitSpec,
  imageSource,
  initialState,
  normalise,
  type RawBatch,
  type Resident,
  sgd,
  stepped,
  type UnlabelledBatch,
  unpacked,
  valueAndGradient,
} from '../public/train.js';
import { moved, scaledSurrogate, slopeAlong, surrogateFor, surrogateOf, surrogateOptions } from './surrogate.js';

type Prepared = { readonly matrix: tf.Tensor2D };

/** The matrix, and the surrogate that learns from what it answers. */
type Learning = { readonly matrix: tf.Tensor2D; readonly surrogate: ClassifierState };

/**
 * A noise transition matrix (Wu et al., EMMA, CVPR 2024): the answer is y M, M row-stochastic and learnt against a surrogate of the
 * attacker's student: in each step M moves so that the surrogate, one step of learning from y M later, is wrong where the victim is
 * right, −ln(1 − s_m(x; θ′)), and by λ so that the answer's label stays, −ln (yM)_m. Then the surrogate takes that step.
 *
 * wu-dd/EMMA 1012ba6. There the second derivative through the surrogate's step is taken; here it is the derivative of its log-probabilities
 * along the gradient at θ′, by two forward passes, which is the same. Learning stops as there (`isSettled`), and images are the training
 * images, where there they are the attacker's. Answers may change the label.
 *
 * Who knows M has the clean answers, y = y′ M⁻¹ (`recover`): M is a parameter of the defence and no secret of it, and who did not know it
 * could estimate it by least squares from pairs of clean and told answers. Told as float32, y comes back to about 10⁻⁷ ‖M⁻¹‖; what M tells alike
 * does not.
 */
export const emma = defineDefense({
  name: 'emma',
  source: import.meta.url,
  about: 'The answer times a stochastic matrix, which is learnt against a surrogate student',
  paper: 'Wu et al., Efficient model stealing defense with noise transition matrix (EMMA), CVPR 2024',
  options: {
    epochs: option(wholeAtLeast(1), 30, 'Epochs of matrix and surrogate, at most'),
    settled: option(
      atLeast(0),
      0.01,
      'It ends once an epoch has moved the entries of the matrix by less than this in the mean',
    ),
    align: option(between(0, 1), 0.001, "λ, the weight of the answer's label"),
    rate: option(positive, 0.3, 'How far the matrix moves in a step'),
    surrogateRate: option(positive, 0.1, "The surrogate's learning rate, which falls along a cosine to 10⁻⁴"),
    ...surrogateOptions,
    surrogateEpochs: optional(wholeAtLeast(1), 'Epochs in which it is distilled before; default: 20'),
  },
  // On a small net of MNIST the released λ gives the label away; 0.03 is the smallest of 0.03, 0.1 and 0.3, which all keep it.
  presets: {
    cifar10: {},
    cifar100: { settled: 1e-4 },
    cub: { settled: 1e-4 },
    mnistSmall: { epochs: 2, surrogateEpochs: 1, align: 0.03 },
  },
  scaled: ({ epochs, surrogateEpochs = 20 }, factor) => ({
    epochs: Math.max(1, Math.round(factor * epochs)),
    ...scaledSurrogate({ surrogateEpochs }, factor),
  }),
  exposes: 'probabilities',
  make: ({ epochs, settled, align, rate, surrogateRate, ...options }) => ({
    recover: ({ matrix }: Prepared) => {
      const inverse = inverseOf(matrix.arraySync());
      return (answers) => undone(answers, inverse);
    },
    prepare: async (teacher, context) => {
      const { learner, variables } = teacher;
      const { network, recipe } = learner;
      const { fit, train } = context;
      const start = await surrogateOf({ ...options, surrogateEpochs: options.surrogateEpochs ?? 20 }, teacher, context);
      const net = surrogateFor(options, network);
      const optimizer = sgd({ momentum: 0.9, weightDecay: 5e-4 });
      const { classes } = network;
      const spec: FitSpec<Variables, Learning, RawBatch, tf.Tensor2D, Resident> = {
        frozen: variables,
        step: ({ data, frozen }, { matrix, surrogate }, raw, { learningRate, seed }) => {
          const { images, mirrored } = unpacked<UnlabelledBatch>(data, raw);
          const clean = network.apply(frozen, normalise(images, train.normalisation), { mode: 'eval' }).logits;
          const y = tf.softmax(clean) as tf.Tensor2D;
          const seen = normalise(augment(images, train.augmentation, seed, mirrored), train.normalisation);
          const learner = { network: net, variables: surrogate.variables, images: seen };
          const { wrong, gradient: astray } = misleading(learner, { y, matrix, learningRate });
          const gradient = tf.add(tf.mul(astray, 1 - align), tf.mul(alignGradient(y, matrix), align)) as tf.Tensor2D;
          const next = stochastic(tf.sub(matrix, tf.mul(gradient, rate)) as tf.Tensor2D);
          const last = learnt(learner, tf.matMul(y, next));
          const { gradients, aux } = last;
          return {
            state: {
              matrix: next,
              surrogate: stepped(optimizer, surrogate, { gradients, stats: aux.stats }, learningRate),
            },
            metrics: {
              loss: last.loss,
              wrong,
              kept: tf.mean(tf.sum(tf.mul(next, tf.eye(classes)), 1)),
            },
          };
        },
        init: () => ({ matrix: tf.eye(classes), surrogate: initialState({ optimizer }, clone(start)) }),
        source: (key) => imageSource(train, { batch: recipe.batch, key }),
        epochs,
        stepsPerEpoch: batchesPerEpoch(train.indices.length, recipe.batch),
        schedule: cosine({ rate: surrogateRate, floor: 1e-4 }),
        keep: ({ matrix }) => matrix,
        until: isSettled(settled),
      };
      try {
        return { matrix: (await fit('matrix', spec)).last } satisfies Prepared;
      } finally {
        dispose(start);
      }
    },
    answers: {
      kind: 'pure',
      positive: true,
      answer: ({ logProbabilities, prepared }) => ({
        logProbabilities: tf.log(transition(tf.exp(logProbabilities), (prepared as Prepared).matrix)),
      }),
    },
  }),
});

/**
 * The released stopping rule: an epoch moved the entries of the matrix by less than `settled` in the mean, or the diagonal has failed to
 * fall in three epochs, be they apart (EMMA.py:58-73). The diagonal is that of an epoch's mean, where there it is that of its end.
 */
export const isSettled =
  (settled: number) =>
  ({ kept, before, history }: EpochEnd<tf.Tensor2D>): boolean => {
    const diagonal = history.map(({ metrics }) => metrics.kept as number);
    const failures = diagonal.filter((value, i) => i > 0 && value >= (diagonal[i - 1] as number)).length;
    return failures >= 3 || (tf.mean(tf.abs(tf.sub(kept, before))).dataSync()[0] as number) < settled;
  };

/** y M, by sums that no graphics card rounds. */
export const transition = (y: tf.Tensor2D, matrix: tf.Tensor2D): tf.Tensor2D =>
  tf.sum(tf.mul(tf.expandDims(y, 2), tf.expandDims(matrix, 0)), 1);

/**
 * The clean answers to those that were told, y = y′ M⁻¹, log-probabilities [batch, classes] each: what rounding makes fall below 0 is 0,
 * and the rest is made to sum to 1.
 */
export const undone = (answers: tf.Tensor2D, inverse: readonly (readonly number[])[]): tf.Tensor2D => {
  const clean = tf.relu(transition(tf.exp(answers), tf.tensor2d(inverse.map((row) => [...row]))));
  const total = tf.sum(clean, 1, true);
  // Nothing is left of what no clean answer is told as.
  return tf.where(tf.greater(total, 0), tf.log(tf.div<tf.Tensor2D>(clean, total)), answers);
};

/** The square of 3·10⁻⁷, about what float32 rounds an answer by: what M makes smaller than that nobody is told. */
const untold = 1e-13;

/**
 * The inverse of a square matrix, (MᵀM + 10⁻¹³)⁻¹Mᵀ in double precision: the inverse to rounding where there is one, and else by least squares, so
 * that what M tells alike comes back alike.
 */
export const inverseOf = (matrix: readonly (readonly number[])[]): number[][] => {
  const at = (i: number, k: number): number => matrix[i]?.[k] as number;
  const places = matrix.map((_, i) => i);
  // [MᵀM + 10⁻¹³ | Mᵀ], of which the left half is made the identity; it is positive definite, so that no row is looked for.
  const system = places.map((i) => [
    ...places.map((j) => places.reduce((sum, k) => sum + at(k, i) * at(k, j), i === j ? untold : 0)),
    ...places.map((j) => at(j, i)),
  ]);
  for (const pivot of places) {
    const first = system[pivot] as number[];
    const lead = first[pivot] as number;
    const row = first.map((value) => value / lead);
    system[pivot] = row;
    for (const [i, other] of system.entries()) {
      const by = other[pivot] as number;
      if (i === pivot || by === 0) continue;
      system[i] = other.map((value, k) => value - by * (row[k] as number));
    }
  }
  return system.map((row) => row.slice(places.length));
};

/** A surrogate, and the images that it learns from. */
interface Learner {
  readonly network: Network;
  readonly variables: Variables;
  readonly images: tf.Tensor4D;
}

/** −Σ y′ ln s of answers [batch, classes], the batch mean, in training mode; its gradients, and the statistics after it. */
const learnt = ({ network, variables: { params, stats }, images }: Learner, answers: tf.Tensor2D) =>
  valueAndGradient((of) => {
    const output = network.apply({ params: of, stats }, images, { mode: 'train' });
    const loss = tf.neg(tf.mean(tf.sum(tf.mul(answers, tf.logSoftmax(output.logits)), 1))) as tf.Scalar;
    return { loss, aux: { stats: output.stats } };
  }, params);

/**
 * How wrong a surrogate is where the victim is right once it has learnt y M for one step of gradient descent, and the gradient of that by M,
 * [classes, classes].
 */
export const misleading = (
  learner: Learner,
  {
    y,
    matrix,
    learningRate,
  }: { readonly y: tf.Tensor2D; readonly matrix: tf.Tensor2D; readonly learningRate: tf.Scalar },
): { readonly wrong: tf.Scalar; readonly gradient: tf.Tensor2D } => {
  const {
    network,
    images,
    variables: { params, stats },
  } = learner;
  const says = (of: Named) => tf.logSoftmax(network.apply({ params: of, stats }, images, { mode: 'train' }).logits);
  const ahead = moved(params, learnt(learner, tf.matMul(y, matrix)).gradients, tf.neg(learningRate));
  const { loss, gradients } = valueAndGradient((of) => ({ loss: disobedience(says(of), y), aux: {} }), ahead);
  return { wrong: loss, gradient: matrixGradient(y, slopeAlong(says, params, gradients), learningRate) };
};

/** −ln(1.000001 − s_m), m the class that the victim names: the batch mean. */
export const disobedience = (logProbabilities: tf.Tensor2D, y: tf.Tensor2D): tf.Scalar => {
  const named = tf.oneHot(tf.argMax(y, 1), y.shape[1], 1, 0, 'float32');
  const agreed = tf.sum(tf.mul(tf.exp(logProbabilities), named), 1);
  return tf.neg(tf.mean(tf.log(tf.sub(1.000001, agreed)))) as tf.Scalar;
};

/** lr mean over the batch of y_i times the slope of the surrogate's log-probability of j: [classes, classes]. */
export const matrixGradient = (y: tf.Tensor2D, slope: tf.Tensor2D, learningRate: tf.Scalar): tf.Tensor2D =>
  tf.mul(tf.matMul(y, slope, true), tf.div(learningRate, y.shape[0])) as tf.Tensor2D;

/** The gradient of −mean ln (yM)_m: −mean y_i [j = m] / (yM)_m. */
export const alignGradient = (y: tf.Tensor2D, matrix: tf.Tensor2D): tf.Tensor2D => {
  const named = tf.oneHot(tf.argMax(y, 1), y.shape[1], 1, 0, 'float32');
  const answered = tf.sum(tf.mul(tf.matMul(y, matrix), named), 1, true);
  return tf.div(tf.matMul(y, tf.div(named, answered), true), -y.shape[0]) as tf.Tensor2D;
};

/** Rows that are at least 10⁻¹² and sum to 1. */
export const stochastic = (matrix: tf.Tensor2D): tf.Tensor2D => {
  const rows = tf.maximum(matrix, 1e-12);
  return tf.div(rows, tf.sum(rows, 1, true));
};
