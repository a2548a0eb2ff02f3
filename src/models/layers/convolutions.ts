import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { Initial, Shape } from '../network.js';
import { whitening } from '../whitening.js';
import { kaimingUniform, normal } from './initial.js';
import { type BoundLayer, imageAt, type Layer, misfit, type Variable, windows } from './layer.js';
import { onlyAnswers, withActivation } from './order.js';
import { inOrder } from './sequence.js';
import { upsample } from './shapes.js';

/** How a convolution is laid out. */
export interface ConvLayer {
  /** Height and width. */
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly groups?: number;
  /** Default false: most convolutions here are followed by a batch norm. */
  readonly bias?: boolean;
  /**
   * `fan-out-normal`: N(0, √(2 / (kernel² · out))), the He initialisation that pre-activation ResNets and ResNeXts use. `dirac`: the
   * first output channels, as many as there are input channels, give these back as they are; the others are PyTorch's.
   */
  readonly initial?: 'pytorch' | 'fan-out-normal' | 'dirac' | Initial;
  /** Whether its kernels stay as they begin; default false. Its biases are trained all the same. */
  readonly fixed?: boolean;
}

/** A convolution's first kernels, [kernel, kernel, from, to]. */
const firstKernels = (initial: Required<ConvLayer>['initial'], kernel: number, from: number, to: number): Initial => {
  if (typeof initial === 'function') return initial;
  if (initial === 'fan-out-normal') return normal(Math.sqrt(2 / (kernel * kernel * to)));
  const drawn = kaimingUniform(kernel * kernel * from);
  if (initial === 'pytorch') return drawn;
  const centre = Math.floor(kernel / 2) * (kernel + 1);
  return (key, size) =>
    drawn(key, size).map((value, i) => {
      const [place, input, output] = [Math.floor(i / to / from), Math.floor(i / to) % from, i % to];
      if (output >= from) return value;
      return place === centre && input === output ? 1 : 0;
    });
};

type Convolution = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  options: Required<Pick<ConvLayer, 'stride' | 'padding'>> & { readonly tells?: boolean },
) => tf.Tensor4D;

const convolution =
  (convolve: Convolution, name: string, out: number, options: ConvLayer): Layer =>
  (site) => {
    const { kernel, stride = 1, padding = 0, groups = 1, bias = false, initial = 'pytorch', fixed = false } = options;
    const { channels } = imageAt(site, name);
    if (channels % groups !== 0 || out % groups !== 0) {
      throw misfit(`${channels} and ${out} channels do not divide into ${groups} groups`, `${site.prefix}${name}`);
    }
    const fanIn = (kernel * kernel * channels) / groups;
    const weight = `${site.prefix}${name}.weight`;
    const offset = `${site.prefix}${name}.bias`;
    const kernels: Variable = {
      name: weight,
      shape: [kernel, kernel, channels / groups, out],
      kind: fixed ? 'stat' : 'param',
      layout: 'conv',
      initial: firstKernels(initial, kernel, channels / groups, out),
    };
    const biases: Variable = {
      name: offset,
      shape: [out],
      kind: 'param',
      layout: 'plain',
      initial: kaimingUniform(fanIn),
    };
    const output: Shape = { kind: 'image', ...windows(site, name, kernel, stride, padding), channels: out };
    const filteringAnd = (tells: boolean): BoundLayer => ({
      output,
      variables: [kernels],
      run: (x, { variables, mode, asked, stats }) => {
        const filter = variables[weight] as tf.Tensor4D;
        if (fixed) stats[weight] = filter;
        return convolve(x as tf.Tensor4D, filter, {
          ...{ stride, padding },
          // Where statistics are asked for, a bias is added to the images before they are taken.
          tells: tells && mode === 'train' && !asked.batchStats && !asked.imageStats,
        });
      },
    });
    const filtering: BoundLayer = {
      ...filteringAnd(false),
      ...(convolve === ops.conv2d && !fixed ? { filter: { weight, stride, padding } } : {}),
      ...(convolve === ops.conv2d ? { telling: filteringAnd(true) } : {}),
    };
    const adding = (activation?: ops.Activation): BoundLayer => ({
      output,
      variables: [biases],
      nature: 'rises',
      ...(activation === undefined ? { bias: offset } : {}),
      with: (next) =>
        withActivation(activation, adding)(next) ??
        (activation === undefined ? absorbed(adding(), offset, next) : undefined),
      run: (x, { variables }) => ops.biasAdd(x, variables[offset] as tf.Tensor1D, activation),
    });
    return bias ? inOrder([filtering, adding()], output) : filtering;
  };

/**
 * A bias and the batch norm after it, if that is what comes next. In training a bias moves the mean that is taken away, and
 * nothing else: it is added to the running mean instead of the images, and its gradient is 0 where that would be rounding.
 */
const absorbed = (adding: BoundLayer, bias: string, given: BoundLayer): BoundLayer | undefined => {
  const { ofBiased, ...norm } = given;
  const { running, telling } = norm;
  if (running === undefined) return undefined;
  const told = telling && absorbed(adding, bias, telling);
  return {
    ...norm,
    ...(told && { telling: told }),
    with: (next) => {
      const both = norm.with?.(next);
      return both && absorbed(adding, bias, both);
    },
    run: (x, pass) => {
      if (pass.mode === 'eval' || pass.asked.batchStats || pass.asked.imageStats) {
        const found = onlyAnswers(pass) ? ofBiased?.(x, pass, pass.variables[bias]) : undefined;
        if (found !== undefined) return found;
        const moved = adding.run(x, pass);
        const y = norm.run(moved, pass);
        moved.dispose();
        return y;
      }
      const by = pass.variables[bias] as tf.Tensor1D;
      const images = ops.asZeroTerm(by, x);
      const y = norm.run(images, pass);
      const without = pass.stats[running.mean] as tf.Tensor1D;
      const share = tf.mul(by, running.share);
      pass.stats[running.mean] = tf.add(without, share);
      tf.dispose([images, without, share]);
      return y;
    },
  };
};

/** Convolution to `out` channels. */
export const conv = (name: string, out: number, options: ConvLayer): Layer =>
  convolution(ops.conv2d, name, out, options);

/**
 * A convolution whose kernels whiten the patches of the images that the net is trained on, and stay so: for a net's first layer. It
 * gives twice as many channels as a patch has numbers, with biases that are trained.
 */
export const whitened =
  (name: string, { kernel, epsilon }: { readonly kernel: number; readonly epsilon: number }): Layer =>
  (site) => {
    const size = kernel * kernel * imageAt(site, name).channels;
    const initial = whitening(kernel, epsilon, kaimingUniform(size));
    return conv(name, 2 * size, { kernel, bias: true, fixed: true, initial })(site);
  };

/** `upsample` and a convolution of kernel 3 and padding 1, done at once and so with less than half the products. */
export const upsampledConv =
  (name: string, out: number, options: Pick<ConvLayer, 'bias' | 'initial'> = {}): Layer =>
  (site) =>
    convolution(ops.upsampledConv2d, name, out, { ...options, kernel: 3, padding: 1 })({
      ...site,
      input: upsample(site).output,
    });

/** PyTorch's `ConvTranspose2d` of kernel 4, stride 2 and padding 1, which doubles the sides. */
export const transposedConv =
  (name: string, out: number, { bias = false, initial }: Pick<ConvLayer, 'bias'> & { initial?: Initial } = {}): Layer =>
  (site) => {
    const { height, width, channels } = imageAt(site, name);
    const [weight, offset] = [`${site.prefix}${name}.weight`, `${site.prefix}${name}.bias`];
    // As PyTorch counts it: of what one input channel sees.
    const drawn = kaimingUniform(16 * out);
    return {
      output: { kind: 'image', height: 2 * height, width: 2 * width, channels: out },
      variables: [
        // A convolution's filter from what comes out to what goes in, whose gradient this layer is.
        { name: weight, shape: [4, 4, out, channels], kind: 'param', layout: 'conv', initial: initial ?? drawn },
        ...(bias ? [{ name: offset, shape: [out], kind: 'param', layout: 'plain', initial: drawn } as const] : []),
      ],
      run: (x, { variables }) => {
        const y = ops.transposedConv2d(x as tf.Tensor4D, variables[weight] as tf.Tensor4D);
        if (!bias) return y;
        const moved = ops.biasAdd(y, variables[offset] as tf.Tensor1D);
        y.dispose();
        return moved;
      },
    };
  };
