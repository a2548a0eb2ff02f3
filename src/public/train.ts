/**
 * How something is trained: the fit and its steps, losses, gradients, optimisers, schedules: `undistill/train`.
 *
 * @module undistill/train
 */

export { clone, dispose, type Tree } from '../core/tree.js';
export { batchesPerEpoch } from '../data/batches.js';
export type { Runner, Step, StepInputs } from '../engine/step.js';
export { type Head, withHeads, withoutHeads } from '../models/heads.js';
export { adaptivePool, attentionDistance, attentionMap } from '../train/attention.js';
export {
  averagedBy,
  type BuiltLearner,
  type ClassifierSpec,
  type ClassifierState,
  classifier,
  classifierStep,
  initialState,
  inPrecision,
  type Learnt,
  type Loss,
  stepped,
  type TargetGiven,
  type Updated,
  updateOn,
  withRecipe,
} from '../train/classifier.js';
export { accuracyOn, logitsOn } from '../train/evaluate.js';
export type { EpochEnd, FitResult, FitSpec } from '../train/fit.js';
export type { EpochRecord } from '../train/fit-log.js';
export type { FitStep, Given } from '../train/fit-step.js';
export { unrecorded, valueAndGradient } from '../train/gradient.js';
export {
  byPixels,
  countOf,
  type ImageSet,
  imageSource,
  type LabelledBatch,
  normalise,
  normalisePixels,
  type RawBatch,
  type Resident,
  type StoredAnswers,
  toPixels,
  type UnlabelledBatch,
  unpacked,
  withAnswers,
} from '../train/images.js';
export { predicted } from '../train/logits.js';
export {
  besideLabels,
  crossEntropy,
  detach,
  distillation,
  distillationKl,
  klDivergence,
  nasty as nastyLoss,
  recoveredLogits,
  soften,
  type Terms,
} from '../train/losses.js';
export {
  adam,
  anyOptimizer,
  chain,
  clipByGlobalNorm,
  decoupledWeightDecay,
  defineOptimizer,
  descent,
  type Optimizer,
  type OptimizerState,
  scaleByAdam,
  scaleByLearningRate,
  sgd,
  type Transform,
  trace,
  weightDecay,
} from '../train/optimizers.js';
export { anyRecipe, type Lookahead, type Recipe, scaledRecipe } from '../train/recipe.js';
export {
  anySchedule,
  constant,
  cosine,
  defineSchedule,
  multiStep,
  oneCycle,
  type Progress,
  type Schedule,
  scaledSchedule,
  triangular,
} from '../train/schedules.js';
export type { NoTensors, Source } from '../train/source.js';
export { type Estimated, type Evaluated, type ForwardDifferences, forwardDifferences } from '../train/zeroth-order.js';
