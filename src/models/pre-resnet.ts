import { choice } from '../core/check.js';
import { required } from '../core/options.js';
import { defineNetwork } from './define.js';
import {
  batchNorm,
  channelsAt,
  classifier,
  conv,
  features,
  globalMean,
  type Layer,
  module,
  named,
  relu,
  residual,
  sequential,
} from './layers.js';

const convolution = (name: string, out: number, kernel: 1 | 3, stride = 1): Layer =>
  conv(name, out, { kernel, stride, padding: kernel === 3 ? 1 : 0, initial: 'fan-out-normal' });

/** Batch norm, ReLU, convolution. */
const unit = (index: number, out: number, kernel: 1 | 3, stride = 1): Layer =>
  sequential(batchNorm(`bn${index}`), relu, convolution(`conv${index}`, out, kernel, stride));

/** Two 3×3 units, or for the deeper nets a bottleneck that widens fourfold. */
const units = {
  basic: { expansion: 1, body: (width: number, stride: number) => [unit(1, width, 3, stride), unit(2, width, 3)] },
  bottleneck: {
    expansion: 4,
    body: (width: number, stride: number) => [unit(1, width, 1), unit(2, width, 3, stride), unit(3, 4 * width, 1)],
  },
} as const;

/** A residual block. The shortcut is a bare 1×1 convolution on the block's raw input, where the shape changes. */
const block =
  (kind: keyof typeof units, width: number, stride: number): Layer =>
  (site) => {
    const { expansion, body } = units[kind];
    const out = expansion * width;
    const same = stride === 1 && channelsAt(site) === out;
    const shortcut = same ? undefined : named('downsample', convolution('0', out, 1, stride));
    return residual(sequential(...body(width, stride)), shortcut)(site);
  };

/**
 * The pre-activation ResNet of CIFAR size that the Nasty-Teacher paper calls ResNetC: three stages of 16, 32 and 64
 * channels, (depth − 2) / 6 blocks each. At depth 44 and more the released code turns to bottlenecks and keeps that
 * number of blocks. Parameters with 10 classes: 272,282 (20), 466,714 (32), 683,162 (44), 868,634 (56), 1,703,258 (110).
 *
 * Convolutions start from N(0, √(2 / (kernel² · out))). Any image size: the head takes a mean over height and width.
 */
export const preResNet = defineNetwork({
  name: 'preResNet',
  source: import.meta.url,
  about: 'The pre-activation ResNet of CIFAR size ("ResNetC"); bottlenecks from depth 44 on',
  paper: 'He et al., Identity mappings in deep residual networks, ECCV 2016; after the Nasty-Teacher repository',
  options: { depth: required(choice(20, 32, 44, 56, 110), 'Layers') },
  positional: 'depth',
  make: ({ depth }) => {
    const kind = depth >= 44 ? 'bottleneck' : 'basic';
    const stage = (index: number, width: number): Layer =>
      module(
        `layer${index}`,
        sequential(
          ...Array.from({ length: (depth - 2) / 6 }, (_, i) =>
            named(i, block(kind, width, i === 0 && index > 1 ? 2 : 1)),
          ),
        ),
      );
    return {
      layers: sequential(
        convolution('conv1', 16, 3),
        stage(1, 16),
        stage(2, 32),
        stage(3, 64),
        batchNorm('bn'),
        relu,
        globalMean,
        features,
        classifier('fc'),
      ),
    };
  },
});
