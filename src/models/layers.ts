import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { instrumented } from '../core/instrumented.js';
import { repeated } from '../core/lists.js';
import { type Key, normals, uniforms } from '../core/random.js';
import * as ops from '../engine/ops.js';
import type {
  ApplyOptions,
  BatchStats,
  ImageShape,
  ImageStats,
  Initial,
  Mode,
  Named,
  Network,
  NetworkPlugin,
  Output,
  Shape,
  VariableSpec,
  Variables,
} from './network.js';
import { whitening } from './whitening.js';

/**
 * A small declarative library of layers. A layer, given the shape that reaches it, says which variables it has, what
 * shape it gives and how it computes; a network's specification, initialisation and computation all come from that one
 * description. Layers are values and compose:
 *
 *     const tiny = sequential(
 *       conv('conv1', 8, { kernel: 3, padding: 1 }), batchNorm('bn1'), relu,
 *       globalMean, features, classifier('fc'),
 *     );
 *     export const tinyNet = () => network({ name: 'tiny', source: import.meta.url, layers: tiny });
 *
 * Names are PyTorch's; `named('layer1', …)` prefixes them, and `module('layer1', …)` lets its output be asked for as well.
 */

/** A variable's specification and its first value, in the layout of this framework. */
export interface Variable extends VariableSpec {
  readonly initial: Initial;
}

/** One pass through a network: what layers read, and where they leave what they found. */
export interface Pass {
  readonly variables: Named;
  readonly mode: Mode;
  readonly asked: Omit<ApplyOptions, 'mode'>;
  /** Running statistics after the pass. */
  readonly stats: Record<string, tf.Tensor>;
  /** What was asked for, by name. */
  readonly batchStats: Record<string, BatchStats>;
  readonly imageStats: Record<string, ImageStats>;
  readonly activations: Record<string, tf.Tensor>;
  features?: tf.Tensor2D;
}

/** A layer fitted to its input. `run` gives one new tensor, or its input, and leaves nothing else behind. */
export interface BoundLayer {
  readonly output: Shape;
  readonly variables: readonly Variable[];
  /** What `marked` layers in it, or it itself, let be asked for: shapes by name. */
  readonly activations?: Readonly<Record<string, Shape>>;
  /**
   * `selects`: max-pooling. `rises`: one non-decreasing function per channel, applied number by number, which therefore
   * commutes with max-pooling; `sequential` pools first.
   */
  readonly nature?: 'selects' | 'rises';
  /** Of an activation: which. */
  readonly activation?: ops.Activation;
  /** Of a convolution that nothing else is done with: its variable and its place. */
  readonly filter?: { readonly weight: string } & Required<Pick<ConvLayer, 'stride' | 'padding'>>;
  /**
   * Of two layers that see the halves of an image's channels, and whose own come in turn: what they give for two images, which are
   * disposed of.
   */
  readonly ofHalves?: (given: Pair, pass: Pass) => Pair;
  /** Of a batch norm with a weight and a bias that nothing else is done with: its name. */
  readonly norm?: { readonly name: string; readonly epsilon: number };
  /** Of a bias that nothing else is done with: its variable. */
  readonly bias?: string;
  /** Where nothing is differentiated: the same, then something added, then an activation. */
  readonly adds?: (x: tf.Tensor, pass: Pass, plus: tf.Tensor, activation: ops.Activation | undefined) => tf.Tensor;
  /** Where only answers are wanted, and it is less work: the same of x with a bias added. */
  readonly ofBiased?: (x: tf.Tensor, pass: Pass, bias?: tf.Tensor) => tf.Tensor | undefined;
  /** Of max-pooling that nothing else is done with: height and width of its windows. */
  readonly pools?: number;
  /** The same, which also tells the batch norm after it mean and variance of what it gives, where it can. */
  readonly telling?: BoundLayer;
  /** Of what begins with a batch norm: it takes what it is told. */
  readonly listens?: true;
  /** Of a batch norm: the name of its running mean, and the new batch's share in it. */
  readonly running?: { readonly mean: string; readonly share: number };
  /** The same and what follows it at once, where that is less work. */
  readonly with?: (next: BoundLayer) => BoundLayer | undefined;
  /** Of `marked`: the name of the activation. Where nobody asks for it, it is left out. */
  readonly mark?: string;
  /** Of a sequence: its layers, in the order in which they were written. */
  readonly parts?: readonly BoundLayer[];
  run(x: tf.Tensor, pass: Pass): tf.Tensor;
}

/** What a layer needs to know to fit itself. */
export interface LayerContext {
  readonly input: Shape;
  /** Prepended to the names of variables: `layer1.0.`. */
  readonly prefix: string;
  readonly classes: number;
}

/** A part of a network, not yet fitted to what flows in: `sequential` and `network` do that. */
export type Layer = (site: LayerContext) => BoundLayer;

const misfit = (
  what: string,
  where: string,
  remedy = 'Choose a network that takes such images, or bring the images to a size that fits.',
): FailureError => new FailureError(failure('experiment', what, { where, remedy }));

const show = (shape: Shape): string =>
  shape.kind === 'image' ? `${shape.height}×${shape.width}×${shape.channels}` : `${shape.size} numbers`;

const imageAt = ({ input, prefix }: LayerContext, layer: string): ImageShape => {
  if (input.kind !== 'image') throw misfit(`it takes an image, not ${show(input)}`, `${prefix}${layer}`);
  return input;
};

/** An image shape after windows of `kernel` at every `stride`. */
const windows = (site: LayerContext, layer: string, kernel: number, stride: number, padding: number) => {
  const image = imageAt(site, layer);
  const side = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const [height, width] = [side(image.height), side(image.width)];
  if (height < 1 || width < 1) {
    throw misfit(
      `an image of ${show(site.input)} is too small for its ${kernel}×${kernel} window`,
      `${site.prefix}${layer}`,
    );
  }
  return { height, width };
};

/** A layer without variables. */
const stateless = (
  output: (site: LayerContext) => Shape,
  run: BoundLayer['run'],
  nature?: BoundLayer['nature'],
): Layer => {
  return (site) => ({ output: output(site), variables: [], run, ...(nature === undefined ? {} : { nature }) });
};

/** PyTorch's default for convolutions and dense layers: kaiming-uniform with a = √5, which is U(±1/√fan-in). */
const kaimingUniform =
  (fanIn: number): Initial =>
  (key, size) =>
    uniforms(key, size, 1 / Math.sqrt(fanIn));

/** Numbers from N(0, deviation). */
export const normal =
  (deviation: number): Initial =>
  (key, size) =>
    normals(key, size).map((value) => value * deviation);

const constant =
  (value: number): Initial =>
  (_, size) =>
    new Float32Array(size).fill(value);

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

/** For what has done no activation yet: the same and one after it, if that is what comes next. */
const withActivation =
  (done: ops.Activation | undefined, activated: (activation: ops.Activation) => BoundLayer): BoundLayer['with'] & {} =>
  ({ activation }) =>
    done === undefined && activation !== undefined ? activated(activation) : undefined;

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

/** How a batch norm is laid out. */
export interface BatchNormLayer {
  /** Added to the variance; default 1e-5, PyTorch's. */
  readonly epsilon?: number;
  /** Whether it has a weight and a bias of its own, or a bias alone; default true. Without, they are 1 and 0. */
  readonly affine?: boolean | 'bias';
  /** The new batch's share in the running statistics; default 0.1, PyTorch's. */
  readonly momentum?: number;
}

/** Batch norm of images or vectors. */
export const batchNorm =
  (name: string, { epsilon = 1e-5, affine = true, momentum = 0.1 }: BatchNormLayer = {}): Layer =>
  ({ input, prefix }) => {
    const full = `${prefix}${name}`;
    const overImages = input.kind === 'image';
    const shape = [input.kind === 'image' ? input.channels : input.size];
    const variable = (part: string, kind: 'param' | 'stat', value: number): Variable => ({
      name: `${full}.${part}`,
      shape,
      kind,
      ...(kind === 'stat' ? { over: overImages ? 'images' : 'vectors' } : {}),
      layout: 'plain',
      initial: constant(value),
    });
    const running = { mean: `${full}.running_mean`, share: momentum };
    const fitted = (activation?: ops.Activation): BoundLayer => ({
      output: input,
      variables: [
        ...(affine === true ? [variable('weight', 'param', 1)] : []),
        ...(affine ? [variable('bias', 'param', 0)] : []),
        variable('running_mean', 'stat', 0),
        variable('running_var', 'stat', 1),
      ],
      running,
      listens: true,
      ...(activation === undefined && affine === true ? { norm: { name: full, epsilon } } : {}),
      with: (next) =>
        withActivation(activation, fitted)(next) ?? convolved(next, activation) ?? pooled(next, activation),
      run: (x, { variables, mode, asked, ...found }) => {
        const at = (part: string) => variables[`${full}.${part}`] as tf.Tensor;
        const [mean, variance] = [at('running_mean'), at('running_var')];
        const [scale, offset] = [
          affine === true ? at('weight') : tf.ones(shape),
          affine ? at('bias') : tf.zeros(shape),
        ];
        const [images, own] = [x as tf.Tensor4D, { scale, offset, mean, variance }];
        const batchStats = asked.batchStats === 'all' || (asked.batchStats === true && overImages);
        if (asked.imageStats && overImages) found.imageStats[full] = ops.momentsByImage(images);
        const result = () => {
          if (mode === 'train') {
            if (batchStats) found.batchStats[full] = ops.moments(x);
            return ops.batchNormTrain(images, own, { epsilon, momentum, activation });
          }
          if (!batchStats) return { y: ops.batchNormEval(images, own, { epsilon, activation }), mean, variance };
          const { y, ...moments } = ops.batchNormWithMoments(images, own, { epsilon, activation });
          found.batchStats[full] = moments;
          return { y, mean, variance };
        };
        const { y, ...statistics } = result();
        if (affine !== true) scale.dispose();
        if (!affine) offset.dispose();
        found.stats[`${full}.running_mean`] = statistics.mean;
        found.stats[`${full}.running_var`] = statistics.variance;
        return y;
      },
    });
    const ownOf = (variables: Named) => {
      const at = (part: string) => variables[`${full}.${part}`] as tf.Tensor;
      return { scale: at('weight'), offset: at('bias'), mean: at('running_mean'), variance: at('running_var') };
    };
    /** The same and the convolution after it, if that is what comes next. */
    const convolved = (next: BoundLayer, activation?: ops.Activation, tells = false): BoundLayer | undefined => {
      const { filter } = next;
      if (filter === undefined || affine !== true) return undefined;
      const norm = fitted(activation);
      const telling = tells ? undefined : convolved(next, activation, true);
      return {
        output: next.output,
        variables: [...norm.variables, ...next.variables],
        running,
        listens: true,
        ...(telling && { telling }),
        run: (x, pass) => {
          const { variables, mode, asked, stats } = pass;
          const { weight, ...places } = filter;
          const own = ownOf(variables);
          const training = mode === 'train';
          const found =
            !training || asked.batchStats || asked.imageStats
              ? undefined
              : ops.normalisedConv2d(x as tf.Tensor4D, variables[weight] as tf.Tensor4D, own, {
                  ...places,
                  epsilon,
                  momentum,
                  activation,
                  tells,
                });
          if (found === undefined) {
            const images = norm.run(x, pass);
            const y = ((tells ? next.telling : undefined) ?? next).run(images, pass);
            images.dispose();
            return y;
          }
          stats[`${full}.running_mean`] = found.mean;
          stats[`${full}.running_var`] = found.variance;
          return found.y;
        },
      };
    };
    /** The same, the max-pooling after it, if that is what comes next, and the activation after that. */
    const pooled = (
      next: BoundLayer,
      before: ops.Activation | undefined,
      activation?: ops.Activation,
    ): BoundLayer | undefined => {
      if (next.pools !== 2 || before !== undefined || affine !== true) return undefined;
      const norm = fitted();
      const ofBiased: BoundLayer['ofBiased'] = (x, { variables, stats }, bias) => {
        const own = ownOf(variables);
        stats[`${full}.running_mean`] = own.mean;
        stats[`${full}.running_var`] = own.variance;
        return ops.batchNormPoolEval(x as tf.Tensor4D, { ...own, bias }, { epsilon, activation });
      };
      return {
        output: next.output,
        variables: norm.variables,
        running,
        ofBiased,
        with: withActivation(activation, (given) => pooled(next, undefined, given) as BoundLayer),
        run: (x, pass) => {
          const answered = onlyAnswers(pass) ? ofBiased(x, pass) : undefined;
          if (answered !== undefined) return answered;
          const { variables, mode, asked, stats } = pass;
          const own = ownOf(variables);
          const found =
            mode === 'eval' || asked.batchStats || asked.imageStats
              ? undefined
              : ops.batchNormPoolTrain(x as tf.Tensor4D, own, { epsilon, momentum, activation });
          if (found === undefined) {
            const images = norm.run(x, pass) as tf.Tensor4D;
            const y = ops.maxPool(images, 2, 2, activation);
            images.dispose();
            return y;
          }
          stats[`${full}.running_mean`] = found.mean;
          stats[`${full}.running_var`] = found.variance;
          return found.y;
        },
      };
    };
    return fitted();
  };

/** How a dense layer is laid out. */
export interface DenseLayer {
  /** `kaiming-normal`: weights from N(0, √(2 / in)), biases of 0. Of one's own: the weights, and biases of 0. */
  readonly initial?: 'pytorch' | 'kaiming-normal' | Initial;
  /** Default true. */
  readonly bias?: boolean;
}

/** Dense layer to `out` numbers. */
export const dense =
  (name: string, out: number, { initial = 'pytorch', bias: biased = true }: DenseLayer = {}): Layer =>
  ({ input, prefix }) => {
    if (input.kind !== 'vector') throw misfit(`it takes a vector, not an image of ${show(input)}`, `${prefix}${name}`);
    const weight = `${prefix}${name}.weight`;
    const bias = `${prefix}${name}.bias`;
    const { size, flattened } = input;
    const start =
      initial === 'pytorch'
        ? { weight: kaimingUniform(size), bias: kaimingUniform(size) }
        : {
            weight: initial === 'kaiming-normal' ? normal(Math.sqrt(2 / size)) : initial,
            bias: constant(0),
          };
    const weights: Variable = {
      name: weight,
      shape: [size, out],
      kind: 'param',
      layout: flattened ? { flattened } : 'dense',
      initial: start.weight,
    };
    const biases: Variable = { name: bias, shape: [out], kind: 'param', layout: 'plain', initial: start.bias };
    return {
      output: { kind: 'vector', size: out },
      variables: biased ? [weights, biases] : [weights],
      run: (x, { variables }) =>
        ops.dense(
          x as tf.Tensor2D,
          variables[weight] as tf.Tensor2D,
          biased ? (variables[bias] as tf.Tensor1D) : tf.zeros<tf.Rank.R1>([out]),
        ),
    };
  };

const unchanged = ({ input }: LayerContext): Shape => input;

const activation =
  (name: ops.Activation, run: (x: tf.Tensor) => tf.Tensor): Layer =>
  ({ input }) => ({ output: input, variables: [], nature: 'rises', activation: name, run });

/** max(x, 0). */
export const relu: Layer = activation('relu', ops.relu);

/** At most 6; its gradient at 0 and at 6 is 0. */
export const relu6: Layer = activation('relu6', ops.relu6);

/** x where positive, else slope · x; default slope 0.01, PyTorch's. */
export const leakyRelu = (slope = 0.01): Layer =>
  stateless(unchanged, (x) => ops.leakyRelu(x, slope), slope >= 0 ? 'rises' : undefined);

/** Hyperbolic tangent. */
export const tanh: Layer = stateless(unchanged, (x) => tf.tanh(x));

/** x Φ(x), where Φ is the standard normal distribution function: PyTorch's exact one. */
export const gelu: Layer = stateless(unchanged, ops.gelu);

/** Every number times a factor. */
export const scaled = (factor: number): Layer =>
  stateless(unchanged, (x) => tf.mul(x, factor), factor >= 0 ? 'rises' : undefined);

/** 1 / (1 + e⁻ˣ). */
export const sigmoid: Layer = stateless(unchanged, (x) => tf.sigmoid(x));

/** Max-pooling without overlap; a remainder at the edge is dropped. */
export const maxPool =
  (size: number): Layer =>
  (site) => {
    const { channels } = imageAt(site, `max-pool ${size}`);
    const output: Shape = { kind: 'image', ...windows(site, `max-pool ${size}`, size, size, 0), channels };
    const fitted = (activation?: ops.Activation): BoundLayer => ({
      output,
      variables: [],
      ...(activation === undefined ? { nature: 'selects', pools: size } : {}),
      with: withActivation(activation, fitted),
      run: (x) => ops.maxPool(x as tf.Tensor4D, size, size, activation),
    });
    return fitted();
  };

/** Means of windows without overlap, PyTorch's `AvgPool2d(size)`; a remainder at the edge is dropped. */
export const avgPool = (size: number): Layer =>
  stateless(
    (site) => {
      const layer = `average-pool ${size}`;
      return { kind: 'image', ...windows(site, layer, size, size, 0), channels: imageAt(site, layer).channels };
    },
    (x) => ops.avgPool(x as tf.Tensor4D, size),
  );

/** Each pixel twice in each direction: PyTorch's `interpolate(scale_factor=2)`, whose mode is nearest. */
export const upsample: Layer = stateless(
  (site) => twice(site, 'upsample'),
  (x) => ops.upsample(x as tf.Tensor4D),
);

/** Twice the sides: PyTorch's `Upsample(scale_factor=2, mode='bilinear')`, which does not align corners. */
export const upsampleBilinear: Layer = stateless(
  (site) => twice(site, 'bilinear upsample'),
  (x) => ops.upsampleBilinear(x as tf.Tensor4D),
);

const twice = (site: LayerContext, layer: string): Shape => {
  const { height, width, channels } = imageAt(site, layer);
  return { kind: 'image', height: 2 * height, width: 2 * width, channels };
};

/** Mean over height and width, so that images of any size fit. */
export const globalMean: Layer = stateless(
  (site) => ({ kind: 'vector', size: imageAt(site, 'global mean').channels }),
  (x) => ops.globalMean(x as tf.Tensor4D),
);

/** An image as a vector, in (height, width, channel) order. */
export const flatten: Layer = stateless(
  (site) => {
    const { height, width, channels } = imageAt(site, 'flatten');
    const flattened = { height, width, channels };
    return { kind: 'vector', size: height * width * channels, ...(height * width > 1 ? { flattened } : {}) };
  },
  (x) => ops.flatten(x as tf.Tensor4D),
);

/** A vector's numbers as an image, in (height, width, channel) order; PyTorch's `view` has (channel, height, width). */
export const unflatten =
  (height: number, width: number, channels: number): Layer =>
  ({ input, prefix }) => {
    const image = { kind: 'image', height, width, channels } as const;
    if (input.kind !== 'vector' || input.size !== height * width * channels)
      throw misfit(`${show(input)} do not make an image of ${show(image)}`, `${prefix}unflatten`);
    return {
      output: image,
      variables: [],
      run: (x) => tf.reshape(x, [x.shape[0] as number, height, width, channels]),
    };
  };

/** Marks what flows here as the network's features, a vector: put it before the head's first dense layer. */
export const features: Layer = stateless(
  ({ input, prefix }) => {
    if (input.kind === 'vector') return input;
    throw misfit(
      `features are a vector, not an image of ${show(input)}`,
      `${prefix}features`,
      'Put globalMean or flatten before it.',
    );
  },
  (x, pass) => {
    pass.features = x as tf.Tensor2D;
    return x;
  },
);

/**
 * Marks what flows here as the network's activation of that name: `Network.activations` has it, and it is given to whoever
 * asks for it. Where it is asked for, nothing is fused across it: between a convolution with a bias and its batch norm, the
 * bias is then added where in training it is otherwise left out, and what follows is equal to rounding alone.
 */
export const marked =
  (name: string): Layer =>
  ({ input, prefix }) => {
    const full = `${prefix}${name}`;
    return {
      output: input,
      variables: [],
      activations: { [full]: input },
      mark: full,
      run: (x, { asked, activations }) => {
        if (asked.activations?.includes(full)) activations[full] = x.clone();
        return x;
      },
    };
  };

/** `named`, and the output is the network's activation of that name, as PyTorch's forward hook on that module gives it. */
export const module = (name: string | number, layer: Layer): Layer => sequential(named(name, layer), marked(`${name}`));

/** The last dense layer, to as many numbers as there are classes. */
export const classifier =
  (name: string, options?: DenseLayer): Layer =>
  (site) =>
    dense(name, site.classes, options)(site);

/**
 * max(f(x)) = f(max(x)) for a non-decreasing f. So max-pooling goes before biases and activations, and leaves them a quarter
 * of their work; the numbers are the same to the last bit.
 */
const selectedFirst = (parts: readonly BoundLayer[]): BoundLayer[] =>
  parts.reduce<BoundLayer[]>((order, part) => {
    const last = part.nature === 'selects' ? order.findLastIndex(({ nature }) => nature !== 'rises') : order.length - 1;
    return order.toSpliced(last + 1, 0, part);
  }, []);

/** What is less work together is done at once. */
const atOnce = (parts: readonly BoundLayer[]): BoundLayer[] =>
  parts.reduce<BoundLayer[]>((done, part) => {
    const both = done.at(-1)?.with?.(part);
    return both === undefined ? done.concat(part) : done.with(-1, both);
  }, []);

/** What comes before a batch norm tells it what it needs. */
const toldInTime = (parts: readonly BoundLayer[]): readonly BoundLayer[] =>
  parts.map((part, i) => (parts[i + 1]?.listens && part.telling) || part);

/** Whether nothing but a net's answers is wanted, in evaluation. */
const onlyAnswers = ({ mode, asked }: Pass): boolean =>
  mode === 'eval' && !asked.batchStats && !asked.imageStats && ops.onlyAnswers();

/** Layers one after the other. Each intermediate is disposed of once used; gradients keep what they need themselves. */
const through = (parts: readonly BoundLayer[], x: tf.Tensor, pass: Pass): tf.Tensor =>
  parts.reduce((current, part) => {
    const next = part.run(current, pass);
    if (current !== x && current !== next && current !== pass.features) current.dispose();
    return next;
  }, x);

/**
 * A convolution among its like: the batch norm before it, its bias and the batch norm after it, with their activations; or that norm
 * with a max-pooling and the activation after this.
 */
interface Around {
  readonly parts: readonly BoundLayer[];
  readonly filter: NonNullable<BoundLayer['filter']>;
  readonly before?: BesideConv;
  readonly after?: BesideConv;
  /** The max-pooling, with its activation. */
  readonly pool?: BoundLayer;
}
type BesideConv = NonNullable<BoundLayer['norm']> & {
  readonly activation?: ops.Activation | undefined;
  /** Of the convolution, which the norm takes away. */
  readonly bias?: string | undefined;
};

/**
 * What is around the convolution that comes next among some layers; undefined where none does, or nothing is around it and more comes
 * after it: to the result of the last one something may be added.
 */
const aroundConv = (parts: readonly BoundLayer[]): Around | undefined => {
  let at = 0;
  const normAt = (bias?: string): BesideConv | undefined => {
    const norm = parts[at]?.norm;
    if (norm === undefined) return undefined;
    const activation = parts[++at]?.activation;
    if (activation !== undefined) at++;
    return { ...norm, activation, bias };
  };
  const before = normAt();
  const filter = parts[at]?.filter;
  if (filter === undefined) return undefined;
  at++;
  const alone = at;
  const bias = parts[at]?.bias;
  if (bias !== undefined) at++;
  const after = normAt(bias);
  // A bias that no norm follows stays by itself.
  if (after === undefined) at = alone;
  if (before === undefined && after === undefined && at < parts.length) return undefined;
  const norm = at;
  if (after !== undefined && after.activation === undefined && parts[at]?.pools === 2) at++;
  if (at > norm && parts[at]?.activation !== undefined) at++;
  const [pool] = atOnce(parts.slice(norm, at));
  return {
    parts: parts.slice(0, at),
    filter,
    ...(before && { before }),
    ...(after && { after }),
    ...(pool && { pool }),
  };
};

/** A batch norm beside a convolution, for an operation that does both. */
const normIn = (pass: Pass, of: BesideConv | undefined, activation = of?.activation): ops.Norm | undefined => {
  if (of === undefined) return undefined;
  const at = (part: string) => pass.variables[`${of.name}.${part}`] as tf.Tensor;
  const [mean, variance] = [at('running_mean'), at('running_var')];
  pass.stats[`${of.name}.running_mean`] = mean;
  pass.stats[`${of.name}.running_var`] = variance;
  const without = of.bias === undefined ? mean : tf.sub(mean, pass.variables[of.bias] as tf.Tensor);
  return { variables: [at('weight'), at('bias'), without, variance], epsilon: of.epsilon, activation };
};

/** Layers around a convolution at once, where only answers are wanted. */
const finished = ({ parts, filter: { weight, ...places }, before, after, pool }: Around): BoundLayer => {
  const apart = toldInTime(atOnce(parts));
  const once = (x: tf.Tensor, pass: Pass, plus?: tf.Tensor, activation?: ops.Activation): tf.Tensor | undefined =>
    ops.finishedConv2d(
      x as tf.Tensor4D,
      pass.variables[weight] as tf.Tensor4D,
      { before: normIn(pass, before), after: normIn(pass, after, activation), plus },
      places,
    );
  return {
    output: (parts.at(-1) as BoundLayer).output,
    variables: [],
    run: (x, pass) => {
      const y = before === undefined && after === undefined ? undefined : once(x, pass);
      if (y === undefined) return through(apart, x, pass);
      if (pool === undefined) return y;
      const pooled = pool.run(y, pass);
      y.dispose();
      return pooled;
    },
    // Nothing can be added before an activation or a pooling, and no activation follows where there is no norm.
    ...(after?.activation === undefined && pool === undefined
      ? {
          adds: (x, pass, plus, activation) => {
            const sum = after !== undefined || activation === undefined ? once(x, pass, plus, activation) : undefined;
            if (sum !== undefined) return sum;
            const y = through(apart, x, pass);
            const both = ops.add(y as tf.Tensor4D, plus as tf.Tensor4D, activation);
            y.dispose();
            return both;
          },
        }
      : {}),
  };
};

/** Layers around a convolution and those around the next one, where nothing but a batch norm is between the two; else undefined. */
const finishedTwice = (one: Around, other: Around): BoundLayer | undefined => {
  if (one.after === undefined || one.pool !== undefined || other.before !== undefined || other.pool !== undefined)
    return undefined;
  const { weight, ...places } = one.filter;
  const { weight: second, stride, padding } = other.filter;
  if (stride !== places.stride || padding !== places.padding) return undefined;
  const [first, last] = [finished(one), finished(other)];
  const once = (x: tf.Tensor, pass: Pass, plus?: tf.Tensor, activation?: ops.Activation): tf.Tensor | undefined =>
    ops.finishedConv2dTwice(
      x as tf.Tensor4D,
      pass.variables[weight] as tf.Tensor4D,
      {
        ...{ before: normIn(pass, one.before), between: normIn(pass, one.after) as ops.Norm },
        ...{ second: pass.variables[second] as tf.Tensor4D, after: normIn(pass, other.after, activation), plus },
      },
      places,
    );
  const { adds } = last;
  return {
    output: last.output,
    variables: [],
    run: (x, pass) => once(x, pass) ?? through([first, last], x, pass),
    ...(adds && {
      adds: (x, pass, plus, activation) => {
        const sum = other.after !== undefined || activation === undefined ? once(x, pass, plus, activation) : undefined;
        if (sum !== undefined) return sum;
        const between = first.run(x, pass);
        const both = adds(between, pass, plus, activation);
        between.dispose();
        return both;
      },
    }),
  };
};

/** Layers in the order in which they run where only answers are wanted: convolutions with what is around them. */
const forAnswers = (parts: readonly BoundLayer[]): readonly BoundLayer[] => {
  const done: BoundLayer[] = [];
  let others: BoundLayer[] = [];
  const settle = (): void => {
    done.push(...toldInTime(atOnce(others)));
    others = [];
  };
  for (let at = 0; at < parts.length; ) {
    const around = aroundConv(parts.slice(at));
    if (around === undefined) {
      others.push(parts[at++] as BoundLayer);
      continue;
    }
    settle();
    at += around.parts.length;
    const next = aroundConv(parts.slice(at));
    const both = next && finishedTwice(around, next);
    done.push(both ?? finished(around));
    if (both !== undefined) at += next?.parts.length ?? 0;
  }
  settle();
  return done;
};

/** The activations of several layers. */
const allOf = (layers: readonly (BoundLayer | undefined)[]): Readonly<Record<string, Shape>> =>
  Object.assign({}, ...layers.map((layer) => layer?.activations));

/** Fitted layers one after the other. */
const inOrder = (layers: readonly BoundLayer[], output: Shape): BoundLayer => {
  const parts = layers.flatMap((layer) => layer.parts ?? layer);
  const order = (asked: readonly string[]) =>
    selectedFirst(parts.filter(({ mark }) => mark === undefined || asked.includes(mark)));
  const bare = toldInTime(atOnce(order([])));
  const answering = forAnswers(order([]));
  const last = answering.at(-1);
  return {
    output,
    parts,
    variables: layers.flatMap(({ variables }) => variables),
    activations: allOf(layers),
    run: (x, pass) => {
      const { activations = [] } = pass.asked;
      if (activations.length > 0) return through(toldInTime(atOnce(order(activations))), x, pass);
      return through(onlyAnswers(pass) ? answering : bare, x, pass);
    },
    ...(last?.adds && {
      adds: (x, pass, plus, activation) => {
        const y = through(answering.slice(0, -1), x, pass);
        const sum = (last.adds as NonNullable<BoundLayer['adds']>)(y, pass, plus, activation);
        if (y !== x) y.dispose();
        return sum;
      },
    }),
  };
};

/** Layers one after the other. */
export const sequential =
  (...layers: readonly Layer[]): Layer =>
  (site) => {
    const fitted: BoundLayer[] = [];
    let output = site.input;
    for (const layer of layers) {
      const next = layer({ ...site, input: output });
      fitted.push(next);
      output = next.output;
    }
    return inOrder(fitted, output);
  };

/** The same layer under a name: `named('layer1', named(0, block))` has variables `layer1.0.…`. */
export const named =
  (name: string | number, layer: Layer): Layer =>
  (site) =>
    layer({ ...site, prefix: `${site.prefix}${name}.` });

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

/** Two images of one shape. */
type Pair = readonly [tf.Tensor4D, tf.Tensor4D];

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

/** The channels of the image that reaches a layer, for layers whose make depends on them. */
export const channelsAt = (site: LayerContext): number => imageAt(site, 'block').channels;

/** What a network is made of. */
export interface NetworkDescription {
  readonly name: string;
  readonly params?: Readonly<Record<string, unknown>>;
  /** `import.meta.url` of the network's own module. */
  readonly source: string;
  /** Ends in one number per class, and marks its `features`. */
  readonly layers: Layer;
  /** Says why an image shape does not fit, where the layers themselves would not notice. */
  readonly check?: (input: ImageShape) => string | undefined;
}

/** A network's `check` that no side of its images is of fewer pixels than `least`: below, its last layers would see little but the border. */
export const sidesOf =
  (least: number): NonNullable<NetworkDescription['check']> =>
  ({ height, width }) =>
    height >= least && width >= least ? undefined : `it takes images of at least ${least}×${least}`;

/** A network plugin from its layers. */
export const network = ({ name, params = {}, source, layers, check }: NetworkDescription): NetworkPlugin => ({
  name,
  params,
  source,
  build: (input, classes) => fitNetwork(name, layers, input, classes, check?.(input)),
});

const fitNetwork = (
  name: string,
  layers: Layer,
  input: ImageShape,
  classes: number,
  problem: string | undefined,
): Network => {
  const image = { kind: 'image', ...input } as const;
  const where = `${name} on ${show(image)} images`;
  if (problem !== undefined) throw misfit(problem, where);
  const { output, variables, activations, init, run } = fitLayers(layers, { where, input: image, classes });
  if (output.kind === 'image' || output.size !== classes)
    throw misfit(
      `it ends in ${output.kind === 'image' ? 'an image of ' : ''}${show(output)}, where there are ${classes} classes`,
      where,
      "End its layers in classifier('fc'), which gives one number a class.",
    );
  return {
    name,
    input,
    classes,
    variables,
    activations,
    init,
    apply: (values, images, options) => {
      const { y, features: found = y, ...others } = run(values, images, options);
      return { logits: y as tf.Tensor2D, features: found as tf.Tensor2D, ...others };
    },
  };
};

/** Layers fitted to an input: all that a network is computed with, be it one of images or of vectors. */
export interface FittedLayers {
  /** What comes out, without the batch. */
  readonly output: Shape;
  readonly variables: readonly VariableSpec[];
  /** What can be asked for, by name, in the order of computation. */
  readonly activations: Readonly<Record<string, Shape>>;
  /** Fresh variables, owned by the caller; the same key gives the same bits. `images` as in `Network.init`. */
  init(key: Key, images?: () => tf.Tensor4D): Variables;
  /**
   * x: [batch, height, width, channels] or [batch, size]. What comes belongs to the enclosing `tf.tidy`, or to the caller.
   *
   * @throws FailureError of kind `plugin` when asked for an activation that they have not
   */
  run(variables: Variables, x: tf.Tensor, options: ApplyOptions): LayersOutput;
}

/** Every pass through fitted layers, for those who count them: through whose, and what they are. */
export const passes = instrumented<FittedLayers['run'], { readonly where: string; readonly layers: FittedLayers }>();

/** What layers give; the rest is as in a network's `Output`. */
export interface LayersOutput extends Pick<Output, 'stats' | 'batchStats' | 'imageStats' | 'activations'> {
  /** [batch, …] of the output's shape. */
  readonly y: tf.Tensor;
  /** Absent where no layer marks them. */
  readonly features?: tf.Tensor2D;
}

/**
 * Fits layers to the input that reaches the first of them. `where` says whose they are, for the failure of one that does
 * not fit; `classes` matter to `classifier` alone.
 *
 * @throws FailureError of kind `experiment` that names the layer which does not fit
 */
export const fitLayers = (
  layers: Layer,
  { where, input, classes = 0 }: { readonly where: string; readonly input: Shape; readonly classes?: number },
): FittedLayers => {
  const fitted = locate(where, () => layers({ input, prefix: '', classes }));
  const twice = repeated(fitted.variables.map(({ name }) => name));
  if (twice !== undefined)
    throw new FailureError(
      failure('experiment', `two of its layers are called ${twice.replace(/\.[^.]*$/, '')}`, {
        where,
        remedy: 'Give each layer a name of its own: its weights are kept under it.',
      }),
    );
  const { activations = {} } = fitted;
  const made: FittedLayers = {
    output: fitted.output,
    variables: fitted.variables.map(({ initial: _, ...spec }) => spec),
    activations,
    init: (key, images) => {
      const fresh = (kind: 'param' | 'stat'): Named =>
        Object.fromEntries(
          fitted.variables
            .filter((variable) => variable.kind === kind)
            .map(({ name: variable, shape, initial }) => [
              variable,
              tf.tensor(initial(key.split(variable), tf.util.sizeFromShape([...shape]), images), [...shape], 'float32'),
            ]),
        );
      return { params: fresh('param'), stats: fresh('stat') };
    },
    run: ({ params, stats }, x, { mode, ...asked }) => {
      checkAsked(asked.activations ?? [], activations, where);
      return tf.tidy(() => {
        const pass: Pass = {
          variables: { ...params, ...stats },
          mode,
          asked,
          stats: {},
          batchStats: {},
          imageStats: {},
          activations: {},
        };
        const y = fitted.run(x, pass);
        return {
          y,
          ...(pass.features === undefined ? {} : { features: pass.features }),
          stats: pass.stats,
          ...(asked.batchStats ? { batchStats: pass.batchStats } : {}),
          ...(asked.imageStats ? { imageStats: pass.imageStats } : {}),
          ...(asked.activations?.length ? { activations: pass.activations } : {}),
        };
      }) as unknown as LayersOutput;
    },
  };
  return { ...made, run: passes.of({ where, layers: made }, made.run) };
};

/** Throws when an activation is asked for that is none of those there are. */
export const checkAsked = (asked: readonly string[], there: Readonly<Record<string, Shape>>, where: string): void => {
  const unknown = asked.find((name) => !Object.hasOwn(there, name));
  if (unknown === undefined) return;
  const names = Object.keys(there);
  throw new FailureError(
    failure('plugin', `there is no activation “${unknown}”`, {
      where,
      remedy: names.length === 0 ? 'It marks none.' : `There are ${names.join(', ')}.`,
    }),
  );
};

/** Adds the network's name to where a layer failed to fit. */
const locate = <A>(where: string, run: () => A): A => {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof FailureError)) throw error;
    throw new FailureError({ ...error.failure, where: `${where}, ${error.failure.where}` });
  }
};
