import type * as tf from '@tensorflow/tfjs';
import * as v from 'valibot';
import { checked, numeric, wholeAtLeast } from '../core/check.js';
import { FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import {
  batchNorm,
  conv,
  dense,
  fitLayers,
  type Layer,
  leakyRelu,
  sequential,
  tanh,
  unflatten,
  upsampledConv,
} from './layers.js';
import type { ImageShape, Mode, Named, VariableSpec, Variables } from './network.js';

/** Makes images of one shape from vectors: `init` and `apply` are pure. */
export interface Generator {
  /** Numbers in a vector. */
  readonly latent: number;
  readonly image: ImageShape;
  readonly variables: readonly VariableSpec[];
  /** Fresh variables, owned by the caller; the same key gives the same bits. */
  init(key: Key): Variables;
  /** z: [n, latent], normal numbers as in training. */
  apply(variables: Variables, z: tf.Tensor2D, options: { readonly mode: Mode }): Generated;
}

export interface Generated {
  /** [n, height, width, channels], normalised as what a network takes: of mean 0 and variance 1 in each channel in `train` mode. */
  readonly images: tf.Tensor4D;
  /** Running statistics after this batch in `train` mode; the given ones in `eval` mode. */
  readonly stats: Named;
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

/** Of two of the batch norms: the released code has `BatchNorm2d(128, 0.8)`, and PyTorch's second argument is ε. */
const epsilon = 0.8;

const layers = (width: number, { height, width: across, channels }: ImageShape): Layer =>
  sequential(
    dense('l1.0', (width * height * across) / 16),
    unflatten(height / 4, across / 4, width),
    batchNorm('conv_blocks0.0'),
    upsampledConv('conv_blocks1.0', width, { bias: true }),
    batchNorm('conv_blocks1.1', { epsilon }),
    leakyRelu(0.2),
    upsampledConv('conv_blocks2.0', width / 2, { bias: true }),
    batchNorm('conv_blocks2.1', { epsilon }),
    leakyRelu(0.2),
    conv('conv_blocks2.3', channels, { kernel: 3, padding: 1, bias: true }),
    tanh,
    batchNorm('conv_blocks2.5', { affine: false }),
  );

/** What a generator's width must be. */
export const evenChannels = numeric('an even whole number of at least 2', v.minValue(2), v.multipleOf(2));

/**
 * DAFL's generator (Chen et al., ICCV 2019, after its released code): a dense layer makes an image of a quarter of each side,
 * which two convolutions enlarge, and a third brings to tanh and a batch norm without weights of its own, so that the images
 * are normalised like photographs. The batch norms after the first two convolutions have an ε of 0.8.
 *
 * 1,049,985 parameters for 100 numbers and 32×32×1 images; 8,423,939 for 1000 and 32×32×3.
 *
 * Names are the released code's. Within an image the dense layer's outputs are in (height, width, channel) order here, and in
 * (channel, height, width) order there: at first they are alike, but weights of one are not weights of the other.
 *
 * @param latent numbers in a vector, ≥ 1: 100 for MNIST and 1000 for CIFAR-10 in the released code
 * @param width channels of the first half, even; of the second half there are half as many. 128 in the paper
 * @throws FailureError of kind `experiment`: from `build` where a side of the images is not divisible by 4
 */
export const generator = ({
  latent,
  width = 128,
}: {
  readonly latent: number;
  readonly width?: number;
}): GeneratorPlugin => {
  checked('generator', { latent: wholeAtLeast(1), width: evenChannels }, { latent, width });
  return {
    name: 'generator',
    params: { latent, width },
    source: import.meta.url,
    build: (image) => {
      checkSides(image);
      const { variables, init, run } = fitLayers(layers(width, image), {
        where: 'generator',
        input: { kind: 'vector', size: latent },
      });
      return {
        latent,
        image,
        variables,
        init,
        apply: (values, z, { mode }) => {
          const { y, stats } = run(values, z, { mode });
          return { images: y as tf.Tensor4D, stats };
        },
      };
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
