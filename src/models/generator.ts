import type * as tf from '@tensorflow/tfjs';
import * as v from 'valibot';
import { checked, choice, numeric, positive, wholeAtLeast, yesOrNo } from '../core/check.js';
import { FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import {
  batchNorm,
  conv,
  dense,
  fitLayers,
  type Layer,
  leakyRelu,
  marked,
  normal,
  relu,
  sequential,
  sigmoid,
  tanh,
  transposedConv,
  unflatten,
  upsampledConv,
} from './layers.js';
import type { ApplyOptions, ImageShape, Named, Shape, VariableSpec, Variables } from './network.js';

/** Makes images of one shape from vectors: `init` and `apply` are pure. */
export interface Generator {
  /** Numbers in a vector. */
  readonly latent: number;
  readonly image: ImageShape;
  readonly variables: readonly VariableSpec[];
  /** What can be asked for: `preTanh`, what the tanh before or at the end is of, shaped as the images. */
  readonly activations: Readonly<Record<string, Shape>>;
  /** Fresh variables, owned by the caller; the same key gives the same bits. */
  init(key: Key): Variables;
  /** z: [n, latent], normal numbers as in training. */
  apply(variables: Variables, z: tf.Tensor2D, options: Pick<ApplyOptions, 'mode' | 'activations'>): Generated;
}

/** What a generator gives. */
export interface Generated {
  /**
   * [n, height, width, channels]. From `batchNorm`, normalised as what a network takes: of mean 0 and variance 1 in
   * each channel in `train` mode. From `tanh`, within (−1, 1).
   */
  readonly images: tf.Tensor4D;
  /** Running statistics after this batch in `train` mode; the given ones in `eval` mode. */
  readonly stats: Named;
  /** Those that were asked for, [n, height, width, channels], with gradients. */
  readonly activations?: Named;
}

/** A generator as a value in an attack. `build` fits it to the images that are wanted. */
export interface GeneratorPlugin {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** `import.meta.url` of the module that defines it. */
  readonly source: string;
  /** Throws a `FailureError` of kind `experiment` when the shape does not fit. */
  build(image: ImageShape): Generator;
}

/** How a generator is laid out. */
export interface GeneratorOptions {
  /** Numbers in a vector, ≥ 1: 100 for MNIST and 1000 for CIFAR-10 in DAFL's code, 256 in DFME's. */
  readonly latent: number;
  /** Channels of the first half, even; of the second half there are half as many. Default 128, as in both papers. */
  readonly width?: number;
  /**
   * How images end: tanh and then a batch norm (`batchNorm`, DAFL's and the default), so that they are normalised like
   * photographs; a batch norm and then tanh (`tanh`, DFME's), so that they fill (−1, 1); a batch norm alone (`bare`, ZSKT's),
   * normalised as well; or a sigmoid alone (`sigmoid`, Fast-Datafree's), so that they are pixels.
   */
  readonly output?: 'batchNorm' | 'tanh' | 'bare' | 'sigmoid';
  /** Whether the last batch norm has weights of its own; default false. */
  readonly affine?: boolean;
  /** Whether the first two convolutions, which batch norms follow, have a bias; default true. */
  readonly bias?: boolean;
  /**
   * ε of the batch norms after the first two convolutions; default 0.8, since DAFL's code has `BatchNorm2d(128, 0.8)`,
   * whose second argument is ε.
   */
  readonly epsilon?: number;
}

/**
 * Settings of released generators: DFME's (Truong et al., CVPR 2021; `GeneratorA` of its code's `network/gan.py`); that of
 * Fast-Datafree and CMI (zju-vipa/Fast-Datafree; `Generator`), of 2,328,899 parameters for 32×32×3; DFAD's, which is DFME's with
 * tanh and batch norm the other way round; and those of ZSKT and MAZE, of 1,051,145.
 */
export const generatorPresets = {
  dfme: { latent: 256, output: 'tanh', epsilon: 1e-5 },
  fast: { latent: 256, output: 'sigmoid', epsilon: 1e-5, bias: false },
  dfad: { latent: 256, output: 'batchNorm', epsilon: 1e-5 },
  zskt: { latent: 100, output: 'bare', affine: true, epsilon: 1e-5 },
  maze: { latent: 100, output: 'tanh', affine: true, epsilon: 1e-5 },
} as const satisfies Readonly<Record<string, GeneratorOptions>>;

/** What comes after the last convolution, by PyTorch's names in the released codes. */
const endings = {
  batchNorm: (affine) => sequential(marked('preTanh'), tanh, batchNorm('conv_blocks2.5', { affine })),
  tanh: (affine) => sequential(batchNorm('conv_blocks2.4', { affine }), marked('preTanh'), tanh),
  bare: (affine) => batchNorm('conv_blocks2.4', { affine }),
  sigmoid: () => sigmoid,
} as const satisfies Record<Required<GeneratorOptions>['output'], (affine: boolean) => Layer>;

const layers = (
  { width, output, affine, epsilon, bias }: Required<GeneratorOptions>,
  { height, width: across, channels }: ImageShape,
): Layer =>
  sequential(
    dense('l1.0', (width * height * across) / 16),
    unflatten(height / 4, across / 4, width),
    batchNorm('conv_blocks0.0'),
    upsampledConv('conv_blocks1.0', width, { bias }),
    batchNorm('conv_blocks1.1', { epsilon }),
    leakyRelu(0.2),
    upsampledConv('conv_blocks2.0', width / 2, { bias }),
    batchNorm('conv_blocks2.1', { epsilon }),
    leakyRelu(0.2),
    conv('conv_blocks2.3', channels, { kernel: 3, padding: 1, bias: true }),
    endings[output](affine),
  );

/** What a generator's width must be. */
export const evenChannels = numeric('an even whole number of at least 2', v.minValue(2), v.multipleOf(2));

/**
 * DAFL's generator (Chen et al., ICCV 2019, after its released code): a dense layer makes an image of a quarter of each
 * side, which two convolutions enlarge, and a third brings to tanh and a batch norm. `generatorPresets.dfme` is DFME's,
 * which is the same but for its end and its batch norms' ε.
 *
 * 1,049,985 parameters for 100 numbers and 32×32×1 images; 8,423,939 for 1000 and 32×32×3; 2,329,091 for 256 and
 * 32×32×3.
 *
 * Names are the released code's. Within an image the dense layer's outputs are in (height, width, channel) order here,
 * and in (channel, height, width) order there: at first they are alike, but weights of one are not weights of the
 * other.
 *
 * @throws FailureError of kind `experiment`: from `build` where a side of the images is not divisible by 4
 */
export const generator = ({
  latent,
  width = 128,
  output = 'batchNorm',
  affine = false,
  epsilon = 0.8,
  bias = true,
}: GeneratorOptions): GeneratorPlugin => {
  const options = { latent, width, output, affine, epsilon, bias };
  checked(
    'generator',
    {
      latent: wholeAtLeast(1),
      width: evenChannels,
      output: choice('batchNorm', 'tanh', 'bare', 'sigmoid'),
      affine: yesOrNo,
      epsilon: positive,
      bias: yesOrNo,
    },
    options,
  );
  return {
    name: 'generator',
    params: options,
    source: import.meta.url,
    build: (image) => {
      checkSides(image);
      return fitted('generator', layers(options, image), { latent, image });
    },
  };
};

/**
 * DCGAN's generator (Radford et al., 2016; of val-iisc/Hard-Label-Model-Stealing d2e3010): a dense layer makes a small image, which
 * transposed convolutions double, each to half the channels, and a 1×1 convolution brings to tanh. No biases, weights
 * from N(0, 0.02). 3,573,824 parameters for 100 numbers, a width of 512 and 32×32×3 images.
 *
 * @throws FailureError of kind `experiment`: from `build` where a side of the images is not divisible by 4
 */
export const dcgan = ({ latent, width }: { readonly latent: number; readonly width: number }): GeneratorPlugin => ({
  name: 'dcgan',
  params: { latent, width },
  source: import.meta.url,
  build: (image) => {
    checkSides(image);
    const { height, width: across, channels } = image;
    const doublings = height % 8 === 0 && across % 8 === 0 ? 3 : 2;
    const [rows, columns] = [height / 2 ** doublings, across / 2 ** doublings];
    const initial = normal(0.02);
    const doubled = Array.from({ length: doublings }, (_, i) => [
      transposedConv(`${i + 1}`, width / 2 ** (i + 1), { initial }),
      batchNorm(`bn${i + 1}`),
      relu,
    ]);
    const made = sequential(
      dense('0', rows * columns * width, { bias: false, initial }),
      unflatten(rows, columns, width),
      batchNorm('bn0'),
      relu,
      ...doubled.flat(),
      conv('last', channels, { kernel: 1, initial }),
      marked('preTanh'),
      tanh,
    );
    return fitted('dcgan', made, { latent, image });
  },
});

/** Layers from vectors to images as a generator. */
const fitted = (where: string, layer: Layer, about: Pick<Generator, 'latent' | 'image'>): Generator => {
  const { variables, activations, init, run } = fitLayers(layer, {
    where,
    input: { kind: 'vector', size: about.latent },
  });
  return {
    ...about,
    variables,
    activations,
    init,
    apply: (values, z, asked) => {
      const { y, ...others } = run(values, z, asked);
      return { images: y as tf.Tensor4D, ...others };
    },
  };
};

const checkSides = ({ height, width, channels }: ImageShape): void => {
  if (height % 4 === 0 && width % 4 === 0) return;
  throw new FailureError(
    failure('experiment', `sides of ${height} and ${width} pixels are not divisible by 4`, {
      where: `generator of ${height}×${width}×${channels} images`,
      remedy: 'Bring the images to a size that is, as 28×28 or 32×32.',
    }),
  );
};
