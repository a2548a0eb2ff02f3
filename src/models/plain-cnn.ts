import { wholeAtLeast } from '../core/check.js';
import { option } from '../core/options.js';
import { defineNetwork } from './define.js';
import {
  batchNorm,
  classifier,
  conv,
  dense,
  features,
  flatten,
  type Layer,
  marked,
  maxPool,
  relu,
  sequential,
} from './layers.js';

const stage = (index: number, channels: number): Layer =>
  sequential(
    conv(`conv${index}`, channels, { kernel: 3, padding: 1, bias: true }),
    batchNorm(`bn${index}`),
    maxPool(2),
    relu,
    marked(`block${index}`),
  );

/**
 * The 5-layer CNN of the Nasty-Teacher repository: three convolutions of width, 2 · width and 4 · width channels, each
 * with batch norm, max-pooling and ReLU, then two dense layers. Its dropout has rate 0 as released and is left out.
 * 357,514 parameters at width 32 on 32×32×3 images with 10 classes. Images are at least 8 × 8.
 * Activations are `block1` to `block3`, after ReLU.
 */
export const plainCnn = defineNetwork({
  name: 'plainCnn',
  source: import.meta.url,
  about: 'The 5-layer CNN',
  paper: 'Ma et al., Undistillable: Making a nasty teacher that cannot teach students, ICLR 2021 (its repository)',
  options: {
    width: option(wholeAtLeast(1), 32, 'Channels of the first convolution; the others have 2 and 4 times as many'),
  },
  make: ({ width }) => ({
    layers: sequential(
      stage(1, width),
      stage(2, 2 * width),
      stage(3, 4 * width),
      flatten,
      features,
      dense('fc1', 4 * width),
      batchNorm('fcbn1'),
      relu,
      classifier('fc2'),
    ),
  }),
});
