import * as tf from '@tensorflow/tfjs';
import type { Normalisation } from '../data/dataset.js';
import { standardNormal } from '../engine/ops.js';
import { type GeneratorOptions, generator } from '../models/generator.js';
import type { Mode, Named, Variables } from '../models/network.js';
import { unreached, valueAndGradient } from './gradient.js';
import { normalisePixels } from './images.js';
import type { Optimizer, OptimizerState } from './optimizers.js';
import type { Access } from './oracle.js';
import type { Schedule } from './schedules.js';
import type { SynthesisContext, Synthesiser, SynthesisInputs } from './synthesiser.js';

/** A generator and what its optimiser remembers of it. */
export type Generating = { readonly variables: Variables; readonly slots: OptimizerState };

/** What a generator's loss sees, beside whom it may ask. */
export interface GeneratedImages<A extends Access> extends SynthesisInputs<Generating, A> {
  /** What the generator made, normalised as nets take it: [batch, height, width, channels]. */
  readonly images: tf.Tensor4D;
  /** What its tanh is of, where there is one; shaped alike. */
  readonly preTanh: tf.Tensor4D;
}

/** How a generator learns beside students. */
export interface GeneratorTraining<A extends Access> {
  /** Images of a step. */
  readonly batch: number;
  readonly generator: GeneratorOptions;
  readonly optimizer: Optimizer;
  /** Of the epochs of the joint training. */
  readonly schedule: Schedule;
  /** How its batch norms normalise in the images that students learn from. Default `train`, as where it learns itself. */
  readonly shows?: Mode;
  /** What it minimises, differentiated with respect to its weights. */
  readonly loss: (
    about: SynthesisContext<A>,
    given: GeneratedImages<A>,
  ) => {
    /** Scalar. */
    readonly loss: tf.Scalar;
    /** Scalars for the log. Default: the loss, as `generatorLoss`. */
    readonly metrics?: Named;
    /** What the victim told of the images, for students that learn from the same. */
    readonly teacher?: tf.Tensor2D;
  };
}

/** What a generator gives, as nets take it: see `GeneratorOptions.output`. */
const normalised = (
  images: tf.Tensor4D,
  output: GeneratorOptions['output'] = 'batchNorm',
  normalisation: Normalisation,
): tf.Tensor4D => {
  if (output === 'tanh') return normalisePixels(pixelsOfTanh(images), normalisation);
  return output === 'sigmoid' ? normalisePixels(images, normalisation) : images;
};

/** (x + 1) / 2: what a tanh gives as pixels. */
export const pixelsOfTanh = (x: tf.Tensor4D): tf.Tensor4D => tf.div(tf.add(x, 1), 2);

/** A generator that learns by a loss on its images, for `trainJointly`. */
export const trainedGenerator = <A extends Access>({
  batch,
  generator: options,
  optimizer,
  schedule,
  shows = 'train',
  loss,
}: GeneratorTraining<A>): Synthesiser<Generating, A> => {
  const plugin = generator(options);
  const made = (about: SynthesisContext<A>, variables: Variables, seed: tf.Tensor1D, mode: Mode) => {
    const net = plugin.build(about.input);
    const z = standardNormal([batch, net.latent], seed) as tf.Tensor2D;
    const asked = 'preTanh' in net.activations ? ['preTanh'] : [];
    const { images, stats, activations } = net.apply(variables, z, { mode, activations: asked });
    return {
      images: normalised(images, options.output, about.normalisation),
      preTanh: (activations?.preTanh ?? images) as tf.Tensor4D,
      stats,
    };
  };
  return {
    batch,
    phases: [{ iterations: 1, schedule }],
    init: (key, { input }) => {
      const variables = plugin.build(input).init(key);
      return { variables, slots: optimizer.init(variables.params) };
    },
    images: (about, { variables }, seed) => made(about, variables, seed, shows).images,
    step: (about, _, inputs) => {
      const { variables, slots } = inputs.state;
      const result = valueAndGradient((params) => {
        const { images, preTanh, stats } = made(about, { params, stats: variables.stats }, inputs.seed, 'train');
        const { loss: value, metrics, teacher } = loss(about, { ...inputs, images, preTanh });
        const shown = teacher === undefined ? {} : { shown: { images, teacher } };
        return { loss: value, aux: { stats, metrics: metrics ?? {}, ...shown } };
      }, variables.params);
      if (!result.reaches) throw unreached('the generator makes (images, preTanh)');
      const { stats, metrics, shown } = result.aux;
      const updated = optimizer.update(result.gradients, slots, variables.params, inputs.learningRate);
      return {
        state: { variables: { params: updated.params, stats }, slots: updated.state },
        metrics: Object.keys(metrics).length === 0 ? { generatorLoss: result.loss } : metrics,
        ...(shown === undefined ? {} : { shown }),
      };
    },
  };
};
