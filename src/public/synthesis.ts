/** Stealing without data: synthesisers, generators, and the losses that images are made by. `undistill/synthesis`. */

export {
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
  zeroSchedule,
} from '../train/synthesis.js';
export {
  absolute,
  activationLoss,
  batchNormDistance,
  imageNorm,
  informationEntropy,
  jensenShannon,
  oneHotLoss,
  totalVariation,
} from '../train/synthesis-losses.js';
