/**
 * Stealing without data: synthesisers, generators, and the losses that images are made by: `undistill/synthesis`.
 *
 * @module undistill/synthesis
 */

export {
  dcgan,
  evenChannels,
  type Generated,
  type Generator,
  type GeneratorOptions,
  type GeneratorPlugin,
  generator,
  generatorPresets,
} from '../models/generator.js';
export { answersTo } from '../train/ask.js';
export { type JointDistillation, jointFit, trainJointly } from '../train/joint.js';
export {
  comparablePool,
  type Distillation,
  distillFromPool,
  distilPool,
  makePool,
  type PoolDistillation,
  type Pooling,
} from '../train/pool.js';
export {
  absolute,
  activationLoss,
  batchNormDistance,
  euclideanNorm,
  imageNorm,
  imbalance,
  informationEntropy,
  jensenShannon,
  oneHotLoss,
  rowNorms,
  totalVariation,
  unitRows,
} from '../train/synthesis-losses.js';
export {
  constantSource,
  type Distilled,
  type Phase,
  type PoolContext,
  phaseFit,
  roundRobinLabels,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisInputs,
  type SynthesisOutputs,
  scheduleSlice,
} from '../train/synthesiser.js';
export {
  type GeneratedImages,
  type Generating,
  type GeneratorTraining,
  pixelsOfTanh,
  trainedGenerator,
} from '../train/trained-generator.js';
