import { defineNetwork } from './define.js';
import {
  batchNorm,
  channelsAt,
  conv,
  features,
  flatten,
  globalMean,
  type Layer,
  module,
  named,
  relu6,
  residual,
  sequential,
  sidesOf,
  unflatten,
} from './layers.js';

/** Convolution `index`, the batch norm after it and, but for the last one of a block, ReLU6; names are places in a list. */
const pointwise = (index: number, out: number): Layer =>
  sequential(conv(`${index}`, out, { kernel: 1, bias: true }), batchNorm(`${index + 1}`));

/** An inverted residual: `expansion` times as many channels, each convolved by itself, and brought to `out`. */
const block =
  (expansion: number, out: number, stride: number): Layer =>
  (site) => {
    const inputs = channelsAt(site);
    const wide = expansion * inputs;
    const body = named(
      'residual',
      sequential(
        pointwise(0, wide),
        relu6,
        conv('3', wide, { kernel: 3, stride, padding: 1, groups: wide, bias: true }),
        batchNorm('4'),
        relu6,
        pointwise(6, out),
      ),
    );
    return (stride === 1 && inputs === out ? residual(body) : body)(site);
  };

const stage = (index: number, count: number, out: number, stride: number): Layer =>
  module(
    `stage${index}`,
    sequential(...Array.from({ length: count }, (_, i) => named(i, block(6, out, i === 0 ? stride : 1)))),
  );

/** The classifier is a 1×1 convolution on the one pixel that is left. */
const head: Layer = (site) => sequential(conv('conv2', site.classes, { kernel: 1, bias: true }), flatten)(site);

/**
 * MobileNetV2 for small images (Sandler et al., MobileNetV2: Inverted residuals and linear bottlenecks, CVPR 2018) as in the
 * Nasty-Teacher repository: every convolution has a bias, the stem is a 1×1 convolution with a border of zeros (so that
 * 32×32 images become 34×34), and the classifier a 1×1 convolution. 2,369,380 parameters with 100 classes; 1280 features.
 *
 * Names of variables, strides, groups, biases and shortcuts are those of `model/mobilenetv2.py` there, compared one by one.
 *
 * Images are at least 8×8, since it halves them three times.
 */
export const mobileNetV2 = defineNetwork({
  name: 'mobileNetV2',
  source: import.meta.url,
  about: 'Inverted residuals with depthwise convolutions; no pooling in its stem',
  paper: 'Sandler et al., MobileNetV2: Inverted residuals and linear bottlenecks, CVPR 2018',
  make: () => ({
    check: sidesOf(8),
    layers: sequential(
      module('pre', sequential(conv('0', 32, { kernel: 1, padding: 1, bias: true }), batchNorm('1'), relu6)),
      module('stage1', block(1, 16, 1)),
      stage(2, 2, 24, 2),
      stage(3, 3, 32, 2),
      stage(4, 4, 64, 2),
      stage(5, 3, 96, 1),
      stage(6, 3, 160, 1),
      module('stage7', block(6, 320, 1)),
      module('conv1', sequential(pointwise(0, 1280), relu6)),
      globalMean,
      features,
      unflatten(1, 1, 1280),
      head,
    ),
  }),
});
