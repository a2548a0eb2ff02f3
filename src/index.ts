export type { AnyAttack, Attack, AttackContext, Extraction, Owned, Ownership } from './attacks/attack.js';
export { labelled, unlabelled } from './attacks/attack.js';
export { type DaflOptions, dafl, daflPresets } from './attacks/dafl.js';
export {
  type DeepInversionOptions,
  deepInversion,
  type Inversion,
  inversionPresets,
} from './attacks/deep-inversion.js';
export { hardLabel } from './attacks/hard-label.js';
export { kd, kdPresets, partialKd } from './attacks/kd.js';
export { noise } from './attacks/noise.js';
export { labelSmoothing, scratch } from './attacks/scratch.js';
export {
  distillFromPool,
  type JointDistillation,
  type Phase,
  type PoolDistillation,
  roundRobinLabels,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisInputs,
  type SynthesisOutputs,
  trainJointly,
} from './attacks/synthesis.js';
export { transfer } from './attacks/transfer.js';
export { atLeast, between, checked, nothingElse, oneOf, positive, share, wholeAtLeast } from './core/check.js';
export { type Failure, FailureError, failure, type Task } from './core/errors.js';
export { type Key, key, normals } from './core/random.js';
export type { Tree } from './core/tree.js';
export { cifar10, cifar100 } from './data/cifar-binary.js';
export type { Dataset, DatasetPlugin } from './data/dataset.js';
export { fashionMnist, mnist } from './data/idx.js';
export { imageFolder } from './data/image-folder.js';
export { type ParquetOptions, parquet } from './data/parquet.js';
export { svhn } from './data/svhn.js';
export { type SyntheticOptions, synthetic } from './data/synthetic.js';
export { type TinyImageNetOptions, tinyImageNet } from './data/tiny-imagenet.js';
export { labelOnly, rounding, topK } from './defenses/answers.js';
export { compose } from './defenses/compose.js';
export type { Defense, DefenseContext, Teacher } from './defenses/defense.js';
export { nasty, nastyPresets } from './defenses/nasty.js';
export { none } from './defenses/none.js';
export { type Access, publish, type Victim } from './defenses/victim.js';
export * as ops from './engine/ops.js';
export type { Runner, Step, StepInputs } from './engine/step.js';
export {
  type Experiment,
  type ExperimentSpec,
  experiment,
  type Pair,
  pair,
  type Seed,
} from './experiment/experiment.js';
export type { Published } from './experiment/published.js';
export { sweep } from './experiment/sweep.js';
export { type Ran, type RunExperimentOptions, runExperiment } from './harness/run-experiment.js';
export { answerShift } from './metrics/divergence.js';
export type { Evaluation, Metric } from './metrics/metric.js';
export * as layers from './models/layers.js';
export { leNet5, leNet5Half } from './models/lenet.js';
export { mobileNetV2 } from './models/mobilenet-v2.js';
export type { Network, NetworkPlugin, Output, Variables } from './models/network.js';
export { plainCnn } from './models/plain-cnn.js';
export { preResNet } from './models/pre-resnet.js';
export { resNet } from './models/resnet.js';
export { resNeXt29 } from './models/resnext.js';
export { shuffleNetV2 } from './models/shufflenet-v2.js';
export type { Matrix } from './results/types.js';
export type { StageRecord } from './run/record.js';
export {
  type BuiltLearner,
  classifier,
  classifierStep,
  initialState,
  type Loss,
  updateOn,
} from './train/classifier.js';
export type { Context, Synthesised } from './train/context.js';
export type { FitResult, FitSpec, Given, Source } from './train/fit.js';
export { valueAndGradient } from './train/gradient.js';
export type { ImageSet, LabelledBatch, RawBatch, UnlabelledBatch } from './train/images.js';
export { confidence, type Logits, logProbabilities, meanOverRows, predicted } from './train/logits.js';
export {
  crossEntropy,
  detach,
  distillation,
  distillationKl,
  klDivergence,
  nasty as nastyLoss,
  soften,
} from './train/losses.js';
export { adam, type Optimizer, type OptimizerState, sgd } from './train/optimizers.js';
export { type Learner, learner, type Pretrained, pretrained, type Recipe } from './train/recipe.js';
export { recipes } from './train/recipes.js';
export { constant, cosine, multiStep, type Schedule } from './train/schedules.js';
