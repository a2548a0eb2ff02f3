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

export { gelu, leakyRelu, relu, relu6, scaled, sigmoid, tanh } from './layers/activations.js';
export { type BatchNormLayer, batchNorm } from './layers/batch-norm.js';
export { concatenated, gated, interleaved, residual } from './layers/branches.js';
export { type ConvLayer, conv, transposedConv, upsampledConv, whitened } from './layers/convolutions.js';
export { classifier, type DenseLayer, dense } from './layers/dense.js';
export { normal } from './layers/initial.js';
export {
  type BoundLayer,
  channelsAt,
  type Layer,
  type LayerContext,
  type Pass,
  type Variable,
} from './layers/layer.js';
export { features, marked } from './layers/marks.js';
export {
  checkAsked,
  type FittedLayers,
  fitLayers,
  type LayersOutput,
  type NetworkDescription,
  network,
  passes,
  sidesOf,
} from './layers/network.js';
export { module, named, sequential } from './layers/sequence.js';
export { avgPool, flatten, globalMean, maxPool, unflatten, upsample, upsampleBilinear } from './layers/shapes.js';
