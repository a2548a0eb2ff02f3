import * as tf from '@tensorflow/tfjs';
import { dispose } from '../core/tree.js';
import { evaluationBatches } from '../data/batches.js';
import { eager } from '../engine/eager.js';
import type { Step } from '../engine/step.js';
import type { Network, Variables } from '../models/network.js';
import { type ImageSet, normalise, pixels, type UnlabelledBatch } from './images.js';

/** Images at a time; the last batch is smaller. */
const evaluationBatch = 500;

/** One batch through a network in evaluation mode; the state stays as it is. */
const evaluationStep =
  (
    network: Network,
    { normalisation }: Pick<ImageSet, 'normalisation'>,
  ): Step<Record<string, never>, Variables, UnlabelledBatch, { readonly logits: tf.Tensor2D }> =>
  (_, variables, { images }) => ({
    state: variables,
    metrics: { logits: network.apply(variables, normalise(images, normalisation), { mode: 'eval' }).logits },
  });

/** Logits of every image of a set, in order: [images · classes]. */
export const logitsOn = (
  network: Network,
  variables: Variables,
  set: Pick<ImageSet, 'examples' | 'indices' | 'shape' | 'normalisation'>,
): Float32Array => {
  const runner = eager(evaluationStep(network, set), {});
  const batches = evaluationBatches(set.examples, set.shape, { batchSize: evaluationBatch, indices: set.indices });
  const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([0, 0], 'int32') };
  const logits = new Float32Array(set.indices.length * network.classes);
  runner.load(variables);
  try {
    let filled = 0;
    for (const { images, count } of batches.epoch(0)) {
      const answers = tf.tidy(() => runner.run({ images: pixels(images, set.shape) }, inputs).logits.dataSync());
      logits.set(answers, filled);
      filled += count * network.classes;
    }
  } finally {
    runner.dispose();
    dispose([inputs.learningRate, inputs.seed]);
  }
  return logits;
};

/** Share of a set's images whose largest logit is their label's; ties go to the lower class. */
export const accuracyOn = (network: Network, variables: Variables, set: ImageSet): number => {
  const logits = logitsOn(network, variables, set);
  const { classes } = network;
  let correct = 0;
  set.indices.forEach((image, i) => {
    const row = logits.subarray(i * classes, (i + 1) * classes);
    if (row.indexOf(Math.max(...row)) === set.examples.labels[image]) correct += 1;
  });
  return correct / set.indices.length;
};
