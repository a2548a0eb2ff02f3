import * as tf from '@tensorflow/tfjs';
import { augment } from '../public/ops.js';
import type { DefenseContext, Output, Variables } from '../public/plugin.js';
import {
  averagedBy,
  type BuiltLearner,
  batchesPerEpoch,
  type ClassifierState,
  classifier,
  clone,
  type FitSpec,
  imageSource,
  inPrecision,
  type LabelledBatch,
  type Loss,
  normalise,
  type RawBatch,
  type Recipe,
  type Resident,
  stepped,
  type Tree,
  type UnlabelledBatch,
  unpacked,
  unrecorded,
  valueAndGradient,
} from '../public/train.js';

/** What the loss of a teacher sees that passes more than its batch through the net. */
export interface Taught<Frozen extends Tree> {
  /** A pass in training mode. The running statistics move with each, in order. */
  readonly pass: (images: tf.Tensor4D) => Output;
  /**
   * The logits of several batches, passed as one: batch norms are then trained with what they are evaluated with, where of batches that
   * differ, passed one by one, each has statistics of its own, and running ones that are of none.
   */
  readonly passTogether: <const Batches extends readonly tf.Tensor4D[]>(...batches: Batches) => LogitsOf<Batches>;
  /** Logits in evaluation mode, by the weights and statistics before the step. No gradient flows through them. */
  readonly look: (images: tf.Tensor4D) => tf.Tensor2D;
  /** A batch of training images, augmented and normalised. */
  readonly images: tf.Tensor4D;
  readonly labels: tf.Tensor1D;
  /** What the training set has stored of each image as its `answers`, [batch, size], where it has. */
  readonly answers: tf.Tensor2D | undefined;
  /** A batch of outliers, normalised, where the defence names some. */
  readonly outliers: tf.Tensor4D | undefined;
  readonly frozen: Frozen;
  /** int32 [2]: the step's. */
  readonly seed: tf.Tensor1D;
}

export type TaughtBatch = { readonly own: RawBatch; readonly other?: RawBatch };
export type TaughtData = { readonly own: Resident; readonly other?: Resident };

/** What a step sees of a batch: training images augmented and normalised, and outliers normalised, where there are some. */
export const seenOf = (
  { train }: Pick<DefenseContext, 'train'>,
  data: TaughtData,
  { own, other }: TaughtBatch,
  seed: tf.Tensor1D,
) => {
  const { images: raw, mirrored, ...beside } = unpacked<LabelledBatch>(data.own, own);
  const outside = other && unpacked<UnlabelledBatch>(data.other as Resident, other).images;
  return {
    ...beside,
    images: normalise(augment(raw, train.augmentation, seed, mirrored), train.normalisation),
    outliers: outside && normalise(outside, train.normalisation),
  };
};

/** Logits [batch, classes] for each of some batches. */
type LogitsOf<Batches extends readonly tf.Tensor4D[]> = { readonly [I in keyof Batches]: tf.Tensor2D };

/** The logits of batches that were passed as one, batch by batch. */
export const splitBy = <const Batches extends readonly tf.Tensor4D[]>(
  batches: Batches,
  logits: tf.Tensor2D,
): LogitsOf<Batches> =>
  tf.split(
    logits,
    batches.map(({ shape }) => shape[0]),
  ) as unknown as LogitsOf<Batches>;

/** The share of a batch that is classified rightly, as a metric. */
export const accuracyOf = (logits: tf.Tensor2D, labels: tf.Tensor1D): tf.Scalar =>
  unrecorded(() => tf.mean(tf.cast(tf.equal(tf.argMax(logits, 1), labels), 'float32')));

/** The state after a step by a recipe, its weights averaged where the recipe has that. */
export const steppedBy = (
  recipe: Recipe,
  { train }: Pick<DefenseContext, 'train'>,
  before: ClassifierState,
  update: Parameters<typeof stepped>[2],
  learningRate: tf.Scalar,
): ClassifierState => {
  const steps = recipe.epochs * batchesPerEpoch(train.indices.length, recipe.batch);
  return averagedBy(recipe, stepped(recipe.optimizer, before, update, learningRate), steps);
};

/**
 * The fit of a teacher, from random weights and by its recipe, whose loss passes several batches through it. Its accuracy on the batch
 * is that of the first pass, whose first images are the batch's.
 */
export const taughtBy = <Frozen extends Tree>(
  learner: BuiltLearner,
  { train, validation, outliers }: Pick<DefenseContext, 'train' | 'validation' | 'outliers'>,
  frozen: Frozen,
  loss: (taught: Taught<Frozen>) => Loss,
): FitSpec<Frozen, ClassifierState, TaughtBatch, Variables, TaughtData> => {
  const { network, recipe } = learner;
  const {
    source,
    step: _,
    ...spec
  } = classifier<Frozen>({
    learner,
    data: train,
    validation,
    guardChance: true,
    loss: ({ logits }) => ({ loss: tf.mean(logits) }),
  });
  return {
    ...spec,
    frozen,
    source: (key) => {
      const own = source(key.split('own'));
      const other = outliers && imageSource(outliers, { batch: recipe.batch, key: key.split('outliers') });
      return {
        steps: own.steps,
        data: { own: own.data, ...(other && { other: other.data }) },
        at: (step, atMost) => {
          const { batch, images } = own.at(step, atMost);
          return { batch: { own: batch, ...(other && { other: other.at(step).batch }) }, images };
        },
      };
    },
    step: ({ data, frozen }, before, batch, { learningRate, seed }) => {
      const { variables } = before;
      const { images, labels, answers, outliers: outside } = seenOf({ train }, data, batch, seed);
      const differentiated = () =>
        valueAndGradient((params) => {
          let { stats } = variables;
          const outputs: Output[] = [];
          const pass = (seen: tf.Tensor4D): Output => {
            const output = network.apply({ params, stats }, seen, { mode: 'train' });
            // The running statistics go from pass to pass, and no gradient with them.
            stats = unrecorded(() => clone(output.stats));
            outputs.push(output);
            return output;
          };
          const passTogether: Taught<Frozen>['passTogether'] = (...batches) =>
            splitBy(batches, pass(tf.concat([...batches])).logits);
          const look = (seen: tf.Tensor4D): tf.Tensor2D =>
            unrecorded(() => network.apply({ params, stats: variables.stats }, seen, { mode: 'eval' }).logits);
          const { loss: value, terms = {} } = loss({
            pass,
            passTogether,
            look,
            images,
            labels,
            answers,
            outliers: outside,
            frozen,
            seed,
          });
          const own = tf.slice((outputs[0] as Output).logits, 0, labels.shape[0]);
          return { loss: value, aux: { stats, terms, accuracy: accuracyOf(own, labels) } };
        }, variables.params);
      const { loss: value, gradients, aux } = inPrecision(recipe, differentiated);
      const { stats, terms, accuracy } = aux;
      return {
        state: steppedBy(recipe, { train }, before, { gradients, stats }, learningRate),
        metrics: { loss: value, ...terms, accuracy },
      };
    },
  };
};
