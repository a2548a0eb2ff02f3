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

/** Convolution and batch norm. */
const unit = (index: number, out: number, kernel: 1 | 3, stride = 1): Layer =>
  sequential(conv(`conv${index}`, out, { kernel, stride, padding: kernel === 3 ? 1 : 0 }), batchNorm(`bn${index}`));

const units = {
  basic: {
    expansion: 1,
    body: (width: number, stride: number) => [unit(1, width, 3, stride), relu, unit(2, width, 3)],
  },
  bottleneck: {
    expansion: 4,
    body: (width: number, stride: number) => [
      unit(1, width, 1),
      relu,
      unit(2, width, 3, stride),
      relu,
      unit(3, 4 * width, 1),
    ],
  },
} as const;

const layout = {
  18: { kind: 'basic', blocks: [2, 2, 2, 2] },
  34: { kind: 'basic', blocks: [3, 4, 6, 3] },
  50: { kind: 'bottleneck', blocks: [3, 4, 6, 3] },
} as const;

/** A residual block with ReLU after the sum; the shortcut is a 1×1 convolution with batch norm where the shape changes. */
const block =
  (kind: keyof typeof units, width: number, stride: number): Layer =>
  (site) => {
    const { expansion, body } = units[kind];
    const out = expansion * width;
    const same = stride === 1 && channelsAt(site) === out;
    const projection = sequential(conv('0', out, { kernel: 1, stride }), batchNorm('1'));
    const shortcut = same ? undefined : named('shortcut', projection);
    return sequential(residual(sequential(...body(width, stride)), shortcut), relu)(site);
  };

/**
 * ResNet for small images: a 3×3 stem of 64 channels without pooling, stages of 64, 128, 256 and 512 channels.
 * Parameters with 10 classes: 11,173,962 (18), 21,282,122 (34), 23,520,842 (50). Any image size: the head takes a mean
 * over height and width.
 */
export const resNet = defineNetwork({
  name: 'resNet',
  source: import.meta.url,
  about: 'ResNet for small images: a 3×3 stem and no pooling after it',
  paper: 'He et al., Deep residual learning for image recognition, CVPR 2016; after the Nasty-Teacher repository',
  options: { depth: required(choice(18, 34, 50), 'Layers') },
  positional: 'depth',
  make: ({ depth }) => {
    const { kind, blocks } = layout[depth];
    const stages = blocks.map((count, stage) =>
      module(
        `layer${stage + 1}`,
        sequential(
          ...Array.from({ length: count }, (_, i) =>
            named(i, block(kind, 64 * 2 ** stage, i === 0 && stage > 0 ? 2 : 1)),
          ),
        ),
      ),
    );
    return { layers: sequential(unit(1, 64, 3), relu, ...stages, globalMean, features, classifier('linear')) };
  },
});
