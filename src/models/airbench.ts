import { wholeAtLeast } from '../core/check.js';
import { option } from '../core/options.js';
import { defineNetwork } from './define.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  flatten,
  gelu,
  type Layer,
  maxPool,
  module,
  scaled,
  sequential,
  sidesOf,
  whitened,
} from './layers.js';

const norm = (name: string): Layer => batchNorm(name, { affine: 'bias', epsilon: 1e-12, momentum: 0.4 });

const group = (width: number): Layer =>
  sequential(
    conv('conv1', width, { kernel: 3, padding: 1, initial: 'dirac' }),
    maxPool(2),
    norm('norm1'),
    gelu,
    conv('conv2', width, { kernel: 3, padding: 1, initial: 'dirac' }),
    norm('norm2'),
    gelu,
  );

/**
 * The net of a ten-epoch training: fixed kernels of 2×2 that whiten the images' patches, then three groups of two convolutions.
 * 1,971,640 parameters at its own widths on 32×32×3 images with 10 classes, of which 288 are fixed. Images are at least 25 × 25.
 * Activations are `group1` to `group3`.
 *
 * Source: airbench94 (KellerJordan/cifar10-airbench), whose weights go by other names, and whose first biases are trained in the
 * first three epochs alone: here in all of them.
 */
export const airbench = defineNetwork({
  name: 'airbench',
  source: import.meta.url,
  about: 'The net that a ten-epoch training was made for',
  paper: 'Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024',
  options: {
    first: option(wholeAtLeast(1), 64, 'Channels of the first group'),
    width: option(wholeAtLeast(1), 256, 'Channels of the other two'),
  },
  make: ({ first, width }) => ({
    check: sidesOf(25),
    layers: sequential(
      whitened('whiten', { kernel: 2, epsilon: 5e-4 }),
      gelu,
      module('group1', group(first)),
      module('group2', group(width)),
      module('group3', group(width)),
      maxPool(3),
      flatten,
      features,
      classifier('fc', { bias: false }),
      scaled(1 / 9),
    ),
  }),
});
