import { defineNetwork } from './define.js';
import {
  batchNorm,
  channelsAt,
  classifier,
  conv,
  features,
  globalMean,
  interleaved,
  type Layer,
  module,
  named,
  relu,
  sequential,
  sidesOf,
} from './layers.js';

// Names are places in a list, in which a ReLU has one too.

const pointwise = (index: number, out: number): Layer =>
  sequential(conv(`${index}`, out, { kernel: 1, bias: true }), batchNorm(`${index + 1}`), relu);

const depthwise =
  (index: number, stride: number): Layer =>
  (site) => {
    const channels = channelsAt(site);
    const convolution = conv(`${index}`, channels, { kernel: 3, stride, padding: 1, groups: channels, bias: true });
    return sequential(convolution, batchNorm(`${index + 1}`))(site);
  };

const branch =
  (out: number, stride: number): Layer =>
  (site) =>
    named('residual', sequential(pointwise(0, channelsAt(site)), depthwise(3, stride), pointwise(5, out)))(site);

/** Halves the sides: both branches see the whole image. */
const reduction = (out: number): Layer =>
  interleaved(named('shortcut', sequential(depthwise(0, 2), pointwise(2, out / 2))), branch(out / 2, 2));

/** Half of the channels pass unchanged. */
const unit = (out: number): Layer => interleaved(sequential(), branch(out / 2, 1), 'halves');

const stage = (index: number, out: number, units: number): Layer =>
  module(
    `stage${index}`,
    sequential(named(0, reduction(out)), ...Array.from({ length: units }, (_, i) => named(i + 1, unit(out)))),
  );

/**
 * ShuffleNetV2 ×1 for small images (Ma et al., ShuffleNet V2: Practical guidelines for efficient CNN architecture design,
 * ECCV 2018) as in the Nasty-Teacher repository: every convolution has a bias, and the stem is a 3×3 convolution to 24
 * channels with batch norm and no ReLU. 1,360,896 parameters with 100 classes; 1024 features.
 *
 * Names of variables, strides, groups, biases and shortcuts are those of `model/shufflenetv2.py` there, compared one by one.
 *
 * Images are at least 8×8, since it halves them three times.
 */
export const shuffleNetV2 = defineNetwork({
  name: 'shuffleNetV2',
  source: import.meta.url,
  about: 'Half of the channels pass each unit unchanged and are shuffled with the rest; ×1',
  paper: 'Ma et al., ShuffleNet V2: Practical guidelines for efficient CNN architecture design, ECCV 2018',
  make: () => ({
    check: sidesOf(8),
    layers: sequential(
      module('pre', sequential(conv('0', 24, { kernel: 3, padding: 1, bias: true }), batchNorm('1'))),
      stage(2, 116, 3),
      stage(3, 232, 7),
      stage(4, 464, 3),
      module('conv5', pointwise(0, 1024)),
      globalMean,
      features,
      classifier('fc'),
    ),
  }),
});
