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
  sidesOf,
} from './layers.js';

const cardinality = 8;

const convolution = (name: string, out: number, kernel: 1 | 3, { stride = 1, groups = 1 } = {}): Layer =>
  conv(name, out, { kernel, stride, groups, padding: kernel === 3 ? 1 : 0, initial: 'fan-out-normal' });

/** A bottleneck twice as wide as its output, with a 3×3 convolution in groups, and ReLU after the sum. */
const block =
  (out: number, stride: number): Layer =>
  (site) => {
    const body = sequential(
      convolution('conv_reduce', 2 * out, 1),
      batchNorm('bn_reduce'),
      relu,
      convolution('conv_conv', 2 * out, 3, { stride, groups: cardinality }),
      batchNorm('bn'),
      relu,
      convolution('conv_expand', out, 1),
      batchNorm('bn_expand'),
    );
    const projection = sequential(convolution('shortcut_conv', out, 1, { stride }), batchNorm('shortcut_bn'));
    const shortcut = channelsAt(site) === out ? undefined : named('shortcut', projection);
    return sequential(residual(body, shortcut), relu)(site);
  };

const stage = (index: number, out: number): Layer => {
  const unit = (i: number) => named(`stage_${index}_bottleneck_${i}`, block(out, i === 0 && index > 1 ? 2 : 1));
  return module(`stage_${index}`, sequential(...[0, 1, 2].map(unit)));
};

/**
 * ResNeXt-29 8×64d for small images (Xie et al., Aggregated residual transformations for deep neural networks, CVPR 2017)
 * as in the Nasty-Teacher repository: a 3×3 stem of 64 channels, then stages of 256, 512 and 1024 channels, three bottlenecks
 * each, whose 3×3 convolutions have 8 groups. 34,426,698 parameters with 10 classes, 34,518,948 with 100.
 *
 * Convolutions start from N(0, √(2 / (kernel² · out))), the classifier from N(0, √(2 / in)) and biases of 0. Names of
 * variables, strides, groups, biases and shortcuts are those of `model/resnext.py` there, compared one by one.
 *
 * Images are at least 4×4, since it halves them twice.
 */
export const resNeXt29 = defineNetwork({
  name: 'resNeXt29',
  source: import.meta.url,
  about: 'ResNeXt-29 8×64d: bottlenecks with convolutions in 8 groups',
  paper: 'Xie et al., Aggregated residual transformations for deep neural networks, CVPR 2017',
  make: () => ({
    check: sidesOf(4),
    layers: sequential(
      convolution('conv_1_3x3', 64, 3),
      batchNorm('bn_1'),
      relu,
      stage(1, 256),
      stage(2, 512),
      stage(3, 1024),
      globalMean,
      features,
      classifier('classifier', { initial: 'kaiming-normal' }),
    ),
  }),
});
