import * as tf from '@tensorflow/tfjs';
import { dispose, floatsOf, type Tree } from '../core/tree.js';
import { evaluationBatches } from '../data/batches.js';
import { hasOwn, mirrorBordered } from '../engine/ops.js';
import { runner } from '../engine/runner.js';
import type { Run, Step } from '../engine/step.js';
import type { Network, Variables } from '../models/network.js';
import { accuracy } from './accuracy.js';
import {
  bytesOf,
  type ImageSet,
  normalise,
  type RawBatch,
  type UnlabelledBatch,
  unpacked,
  withSomeLabels,
} from './images.js';

/** Images at a time, at most: on a processor no more than whose numbers between two layers stay near it; what comes of one is the same bits. */
const imagesAtOnce = (): number => (hasOwn() ? 100 : 500);

/** Batches of one size, so that one graph does for all of them: the last one is filled up with the last image. */
const evenly = (indices: Int32Array): { readonly batchSize: number; readonly indices: Int32Array } => {
  const count = indices.length;
  const batches = Math.ceil(count / imagesAtOnce());
  // Of no images there is no batch, of whatever size.
  const batchSize = Math.ceil(count / batches) || 1;
  const filled = Int32Array.from({ length: batches * batchSize }, (_, i) => indices[Math.min(i, count - 1)] as number);
  return { batchSize, indices: filled };
};

type Answers = { readonly logits: tf.Tensor2D };
type Evaluated = Pick<ImageSet | ImageSet<UnlabelledBatch>, 'examples' | 'indices' | 'shape' | 'normalisation'>;

/** One batch through the network that a state holds, in evaluation mode; the state stays as it is. */
export const evaluationStep =
  <State extends Tree>(
    network: Network,
    { normalisation }: Pick<ImageSet, 'normalisation'>,
    of: (state: State) => Variables,
    { views = false }: Looking = {},
  ): Step<Tree, State, RawBatch, Answers> =>
  (_, state, batch) => {
    const images = normalise(unpacked({}, batch).images, normalisation);
    const logitsOf = (seen: tf.Tensor4D) => network.apply(of(state), seen, { mode: 'eval' }).logits;
    return { state, metrics: { logits: views ? meanOverViews(images, logitsOf) : logitsOf(images) } };
  };

/** How images are looked at: as they are, or as the mean over several views of each. */
export interface Looking {
  readonly views?: boolean;
}

/**
 * ½ (f(x) + f(x mirrored)) over an image and two that are moved by a pixel up and left, and down and right, from a border that mirrors its edge:
 * the image counts for a half, and the other two for a quarter each. See `accuracyOverViews`.
 */
const meanOverViews = (images: tf.Tensor4D, logitsOf: (images: tf.Tensor4D) => tf.Tensor2D): tf.Tensor2D => {
  const [count, height, width, channels] = images.shape;
  const both = (seen: tf.Tensor4D) => tf.mul(tf.add(logitsOf(seen), logitsOf(tf.reverse(seen, 2))), 0.5);
  const bordered = mirrorBordered(images);
  const moved = [0, 2].map((from) => both(tf.slice(bordered, [0, from, from, 0], [count, height, width, channels])));
  return tf.add(tf.mul(both(images), 0.5), tf.mul(tf.add(moved[0] as tf.Tensor, moved[1] as tf.Tensor), 0.25));
};

/** Logits of every image of a set, in order, by an evaluation step: [images · classes]. */
const logitsBy = (run: Run<RawBatch, Answers>, network: Network, set: Evaluated): Float32Array => {
  const { indices, batchSize } = evenly(set.indices);
  const batches = evaluationBatches(withSomeLabels(set.examples), set.shape, { batchSize, indices });
  const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([0, 0], 'int32') };
  const logits = new Float32Array(indices.length * network.classes);
  let filled = 0;
  try {
    for (const { images, count } of batches.epoch(0)) {
      const answers = floatsOf(() => {
        const [metrics] = run([{ batch: { bytes: bytesOf(images, set.shape) }, inputs }]) as [Answers];
        return metrics.logits;
      });
      logits.set(answers, filled);
      filled += count * network.classes;
    }
  } finally {
    dispose([inputs.learningRate, inputs.seed]);
  }
  return logits.slice(0, set.indices.length * network.classes);
};

/** Logits of every image of a set, in order: [images · classes]. */
export const logitsOn = (
  network: Network,
  variables: Variables,
  set: Evaluated,
  looking: Looking = {},
): Float32Array => {
  const evaluating = runner(
    evaluationStep(network, set, (state: Variables) => state, looking),
    {},
  );
  try {
    evaluating.load(variables);
    return logitsBy(evaluating.run, network, set);
  } finally {
    evaluating.dispose();
  }
};

const accuracyOf = (values: Float32Array, { classes }: Network, { examples, indices }: ImageSet): number =>
  accuracy(
    { values, classes },
    Array.from(indices, (image) => examples.labels[image] as number),
  );

/** The share of a set's images that are classified rightly, in 0 … 1. */
export const accuracyOn = (network: Network, variables: Variables, set: ImageSet): number =>
  accuracyOf(logitsOn(network, variables, set), network, set);

/** … by an evaluation step. */
export const accuracyBy = (run: Run<RawBatch, Answers>, network: Network, set: ImageSet): number =>
  accuracyOf(logitsBy(run, network, set), network, set);
