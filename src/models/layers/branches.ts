import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { ImageShape } from '../network.js';
import {
  allOf,
  type BoundLayer,
  imageAt,
  type Layer,
  type LayerContext,
  misfit,
  type Pair,
  type Pass,
  show,
} from './layer.js';
import { onlyAnswers, withActivation } from './order.js';

/** body(x) + shortcut(x); without a shortcut, body(x) + x. */
export const residual =
  (body: Layer, shortcut?: Layer): Layer =>
  (site) => {
    const long = body(site);
    const short = shortcut?.(site);
    const [added, to] = [show(short?.output ?? site.input), show(long.output)];
    if (added !== to)
      throw misfit(
        `${added} cannot be added to ${to}`,
        `${site.prefix}residual`,
        short === undefined
          ? "Give it a shortcut to the body's shape: a convolution of kernel 1 with its stride and channels."
          : 'Let body and shortcut give one shape: the same strides and channels.',
      );
    const fitted = (activation?: ops.Activation): BoundLayer => ({
      output: long.output,
      variables: [...long.variables, ...(short?.variables ?? [])],
      activations: allOf([long, short]),
      with: withActivation(activation, fitted),
      run: (x, pass) => {
        if (long.adds && onlyAnswers(pass) && !pass.asked.activations?.length) {
          const plus = short === undefined ? x : short.run(x, pass);
          const sum = long.adds(x, pass, plus, activation);
          if (plus !== x) plus.dispose();
          return sum;
        }
        const deep = long.run(x, pass);
        const direct = short === undefined ? x : short.run(x, pass);
        const sum = ops.add(deep, direct, activation);
        deep.dispose();
        if (direct !== x) direct.dispose();
        return sum;
      },
    });
    return fitted();
  };

/** x · mask(x), number by number: attention by a layer that gives a mask of x's own shape. */
export const gated =
  (mask: Layer): Layer =>
  (site) => {
    const fitted = mask(site);
    if (show(fitted.output) !== show(site.input))
      throw misfit(`a mask of ${show(fitted.output)} does not fit ${show(site.input)}`, `${site.prefix}gated`);
    return {
      output: site.input,
      variables: fitted.variables,
      activations: allOf([fitted]),
      run: (x, pass) => {
        const weights = fitted.run(x, pass);
        const y = tf.mul(x, weights);
        if (weights !== x) weights.dispose();
        return y;
      },
    };
  };

/**
 * Layers side by side, whose images' channels follow one another: PyTorch's `cat` along the channels. `sequential()` among them is the
 * input itself, as in a DenseNet.
 */
export const concatenated =
  (...branches: readonly [Layer, ...Layer[]]): Layer =>
  (site) => {
    const fitted = branches.map((branch) => branch(site));
    const images = fitted.map(({ output }) => imageAt({ ...site, input: output }, 'concatenated'));
    const { height, width } = images[0] as ImageShape;
    if (images.some((image) => image.height !== height || image.width !== width))
      throw misfit(
        `images of ${fitted.map(({ output }) => show(output)).join(' and ')} do not lie side by side`,
        `${site.prefix}concatenated`,
        'Give it layers whose images have one height and width: the same strides and padding.',
      );
    return {
      output: { kind: 'image', height, width, channels: images.reduce((sum, { channels }) => sum + channels, 0) },
      variables: fitted.flatMap(({ variables }) => variables),
      activations: allOf(fitted),
      run: (x, pass) => {
        const parts = fitted.map((branch) => branch.run(x, pass) as tf.Tensor4D);
        const y = tf.concat(parts, 3);
        tf.dispose(parts.filter((part) => part !== x));
        return y;
      },
    };
  };

/**
 * Two layers side by side, whose images' channels come in turn: the first's first, the second's first, and so on. It is
 * ShuffleNetV2's concatenation and shuffle of two groups, `channel_shuffle(cat(first, second), 2)`.
 *
 * @param takes what they see: both the whole image, or the first one the first half of its channels and the second the rest
 */
export const interleaved =
  (first: Layer, second: Layer, takes: 'whole' | 'halves' = 'whole'): Layer =>
  (site) => {
    const input = imageAt(site, 'interleaved');
    if (takes === 'halves' && input.channels % 2 !== 0)
      throw misfit(`${input.channels} channels have no halves`, `${site.prefix}interleaved`);
    const seen: LayerContext =
      takes === 'whole' ? site : { ...site, input: { ...input, kind: 'image', channels: input.channels / 2 } };
    const [left, right] = [first(seen), second(seen)];
    if (show(left.output) !== show(right.output))
      throw misfit(
        `images of ${show(left.output)} and ${show(right.output)} do not interleave`,
        `${site.prefix}interleaved`,
      );
    const output = imageAt({ ...site, input: left.output }, 'interleaved');
    /** What the two give, whose inputs are disposed of where they are nobody else's. */
    const both = (given: Pair, own: boolean, pass: Pass): Pair => {
      const results = [left.run(given[0], pass), right.run(given[1], pass)] as unknown as Pair;
      for (const each of new Set(given)) if (own && !results.includes(each)) each.dispose();
      return results;
    };
    const apart = (x: tf.Tensor4D, pass: Pass): Pair => {
      if (takes === 'halves') return both(ops.halves(x), true, pass);
      // Either may give back what it was given, which is not its own.
      return both([x, x], false, pass).map((each) => (each === x ? x.clone() : each)) as unknown as Pair;
    };
    return interleaving(
      {
        output: { ...output, kind: 'image', channels: 2 * output.channels },
        variables: [...left.variables, ...right.variables],
        activations: allOf([left, right]),
        ...(takes === 'halves' ? { ofHalves: (given: Pair, pass: Pass) => both(given, true, pass) } : {}),
      },
      apart,
    );
  };

/** A layer that gives the channels of two images in turn. One after it that sees the halves of these is done at once. */
const interleaving = (about: Omit<BoundLayer, 'run'>, apart: (x: tf.Tensor4D, pass: Pass) => Pair): BoundLayer => ({
  ...about,
  run: (x, pass) => used(apart(x as tf.Tensor4D, pass), ops.interleave),
  with: ({ ofHalves, ...next }) =>
    ofHalves &&
    interleaving(
      {
        output: next.output,
        variables: [...about.variables, ...next.variables],
        activations: allOf([about as BoundLayer, next]),
        ...(about.ofHalves && {
          ofHalves: (given, pass) => ofHalves(used(about.ofHalves?.(given, pass) as Pair, ops.shuffledHalves), pass),
        }),
      },
      (x, pass) => ofHalves(used(apart(x, pass), ops.shuffledHalves), pass),
    ),
});

/** Runs `f` on two images, which it disposes of. */
const used = <A>(pair: Pair, f: (a: tf.Tensor4D, b: tf.Tensor4D) => A): A => {
  const result = f(...pair);
  tf.dispose([...new Set(pair)]);
  return result;
};
