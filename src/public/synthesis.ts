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
export {
  comparablePool,
  constantSource,
  type Distillation,
  type Distilled,
  distillFromPool,
  distilPool,
  type JointDistillation,
  jointFit,
  makePool,
  type Phase,
  type PoolContext,
  type PoolDistillation,
  type Pooling,
  phaseFit,
  roundRobinLabels,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisInputs,
  type SynthesisOutputs,
  scheduleSlice,
  trainJointly,
} from '../train/synthesis.js';
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
  type GeneratedImages,
  type Generating,
  type GeneratorTraining,
  pixelsOfTanh,
  trainedGenerator,
} from '../train/trained-generator.js';
