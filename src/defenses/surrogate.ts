import * as tf from '@tensorflow/tfjs';
import {
  type ApplyOptions,
  anyNetwork,
  type DefenseContext,
  type Key,
  type Named,
  type Network,
  type NetworkPlugin,
  noAugmentation,
  optional,
  type Query,
  type Teacher,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  classifier,
  clone,
  crossEntropy,
  dispose,
  distillationKl,
  type ImageSet,
  imageSource,
  normalise,
  normalisePixels,
  unpacked,
  valueAndGradient,
} from '../public/train.js';

/** Which net stands for the attacker's student, and how long it learns. */
export const surrogateOptions = {
  surrogate: optional(anyNetwork, "The net that stands for the attacker's student; default: the teacher's own"),
  surrogateEpochs: optional(wholeAtLeast(1), "Its epochs; default: the teacher's recipe's"),
};

export interface SurrogateOptions {
  readonly surrogate?: NetworkPlugin | undefined;
  readonly surrogateEpochs?: number | undefined;
}

/** The same with a fraction of its epochs. */
export const scaledSurrogate = ({ surrogateEpochs }: SurrogateOptions, factor: number) => ({
  surrogateEpochs: surrogateEpochs && Math.max(1, Math.round(factor * surrogateEpochs)),
});

/** The surrogate's net for a teacher's images and classes. */
export const surrogateFor = ({ surrogate }: SurrogateOptions, teacher: Network): Network =>
  surrogate === undefined ? teacher : surrogate.build(teacher.input, teacher.classes);

/**
 * A surrogate that was distilled from the teacher on its training images, KL(teacher ‖ surrogate) at temperature 1, by the teacher's
 * recipe. The caller owns it.
 */
export const surrogateOf = async (
  options: SurrogateOptions,
  { learner, variables }: Teacher,
  { fit, train }: DefenseContext,
): Promise<Variables> => {
  const network = surrogateFor(options, learner.network);
  const epochs = options.surrogateEpochs ?? learner.recipe.epochs;
  const { last } = await fit(
    'surrogate',
    classifier({
      learner: { network, recipe: { ...learner.recipe, epochs } },
      data: train,
      frozen: variables,
      target: ({ frozen, images }) => ({ teacher: learner.network.apply(frozen, images, { mode: 'eval' }).logits }),
      loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature: 1 }),
    }),
  );
  return last;
};

/**
 * The mean gradient of the cross-entropy over some images of a set; by parameter. The caller owns it.
 *
 * @param mode how batch norms normalise: by the statistics of each batch where the running ones are of nothing yet
 */
export const meanGradient = (
  network: Network,
  variables: Variables,
  set: ImageSet,
  key: Key,
  atMost: number,
  mode: ApplyOptions['mode'] = 'eval',
): Variables['params'] => {
  const batch = Math.min(100, set.indices.length, atMost);
  const source = imageSource({ ...set, augmentation: noAugmentation }, { batch, key });
  const count = Math.max(1, Math.floor(Math.min(atMost, set.indices.length) / batch));
  const sums = Array.from({ length: count }).reduce<Variables['params'] | undefined>((so, _, i) => {
    const { batch: raw } = source.at(i);
    const next = tf.tidy(() => {
      const { images, labels } = unpacked<{ images: tf.Tensor4D; labels: tf.Tensor1D }>(source.data, raw);
      const seen = normalise(images, set.normalisation);
      const { gradients } = valueAndGradient((params) => {
        const { logits } = network.apply({ params, stats: variables.stats }, seen, { mode });
        return { loss: crossEntropy(logits, labels), aux: {} };
      }, variables.params);
      return Object.fromEntries(
        Object.entries(gradients).map(([name, each]) => {
          const share = tf.div(each, count);
          return [name, so === undefined ? share : tf.add(so[name] as tf.Tensor, share)];
        }),
      );
    });
    dispose([raw, ...(so === undefined ? [] : [so])]);
    return next;
  }, undefined);
  dispose(source.data);
  return sums as Variables['params'];
};

/** A net twice, its weights moved a little in one direction and against it. */
export type Shifted = { readonly more: Variables; readonly less: Variables };

/** θ + h v and θ − h v; statistics as they are. New tensors, owned by the caller. */
export const shifted = ({ params, stats }: Variables, direction: (name: string) => tf.Tensor, h: number): Shifted => {
  const moved = (by: number): Variables => ({
    params: Object.fromEntries(
      Object.entries(params).map(([name, weight]) => [
        name,
        tf.tidy(() => tf.add(weight, tf.mul(direction(name), by))),
      ]),
    ),
    stats: clone(stats),
  });
  return { more: moved(h), less: moved(-h) };
};

/** What a surrogate says of a query's images: logits [batch, classes]. */
export const saysOf = (
  options: SurrogateOptions,
  { images, victim: { network, normalisation } }: Pick<Query, 'images' | 'victim'>,
  variables: Variables,
): tf.Tensor2D =>
  surrogateFor(options, network).apply(variables, normalisePixels(images, normalisation), { mode: 'eval' }).logits;

/** The derivative of a surrogate's logits along the direction in which it was shifted by h: (f(θ + h v) − f(θ − h v)) / 2 h. */
export const slopeOf = (
  options: SurrogateOptions,
  query: Pick<Query, 'images' | 'victim'>,
  { more, less }: Shifted,
  h: number,
): tf.Tensor2D => tf.div(tf.sub(saysOf(options, query, more), saysOf(options, query, less)), 2 * h);

/** Weights with some of a direction added. */
export const moved = (params: Named, direction: Named, by: tf.Scalar): Named =>
  Object.fromEntries(
    Object.entries(params).map(([name, each]) => [name, tf.add(each, tf.mul(direction[name] as tf.Tensor, by))]),
  );

const normOf = (named: Named): tf.Scalar =>
  tf.sqrt(tf.addN(Object.values(named).map((each) => tf.sum(tf.square(each))))) as tf.Scalar;

/** Of a step along a unit vector, by which a derivative is taken. */
const h = 1e-2;

/** The derivative of what a net says along a direction in its weights, by two passes whose weights are shifted. */
export const slopeAlong = (says: (params: Named) => tf.Tensor, params: Named, direction: Named): tf.Tensor2D => {
  const unit = tf.div<tf.Scalar>(h, tf.maximum(normOf(direction), 1e-12));
  return tf.div(
    tf.sub(says(moved(params, direction, unit)), says(moved(params, direction, tf.neg(unit)))),
    tf.mul(unit, 2),
  ) as tf.Tensor2D;
};
