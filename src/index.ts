/**
 * All that an experiment's file imports: the built-in attacks, defences, networks and data sets, `experiment`, `runExperiment`.
 *
 * @module undistill
 */

export { annealedKd } from './attacks/annealed-kd.js';
export { askingAgain } from './attacks/asking-again.js';
export { attentionTransfer } from './attacks/attention-transfer.js';
export { authorisedKd } from './attacks/authorised-kd.js';
export { classMeanKd } from './attacks/class-mean-kd.js';
export { cmi } from './attacks/cmi.js';
export { completedKd } from './attacks/completed-kd.js';
export { dafl } from './attacks/dafl.js';
export { deepInversion, type Inversion } from './attacks/deep-inversion.js';
export { dfad } from './attacks/dfad.js';
export { dfme } from './attacks/dfme.js';
export { dfms } from './attacks/dfms.js';
export { dfq } from './attacks/dfq.js';
export { disguide } from './attacks/disguide.js';
export { dist } from './attacks/dist.js';
export { dkd } from './attacks/dkd.js';
export { dualStudents } from './attacks/dual-students.js';
export { fast } from './attacks/fast.js';
export { fitNet } from './attacks/fit-net.js';
export { hardLabel } from './attacks/hard-label.js';
export { inverseKd } from './attacks/inverse-kd.js';
export { jbda } from './attacks/jbda.js';
export { kd, partialKd } from './attacks/kd.js';
export { adaptiveKnockoff, inverseKnockoff, knockoff } from './attacks/knockoff.js';
export { labelKd } from './attacks/label-kd.js';
export { logitStandardisation } from './attacks/logit-standardisation.js';
export { maze } from './attacks/maze.js';
export { noise } from './attacks/noise.js';
export { bayesKd, ddaeKd } from './attacks/recovery.js';
export { reweightedKd } from './attacks/reweighted-kd.js';
export { labelSmoothing, scratch } from './attacks/scratch.js';
export { skeptical } from './attacks/skeptical.js';
export { sureKd } from './attacks/sure-kd.js';
export { transfer } from './attacks/transfer.js';
export { transitionKd } from './attacks/transition-kd.js';
export { zskt } from './attacks/zskt.js';
export { cifar10, cifar100 } from './data/cifar-binary.js';
export { drawnShapes } from './data/drawn-shapes.js';
export { fashionMnist, mnist } from './data/idx.js';
export { imageFolder } from './data/image-folder.js';
export { parquet } from './data/parquet.js';
export { svhn } from './data/svhn.js';
export { synthetic } from './data/synthetic.js';
export { tinyImageNet } from './data/tiny-imagenet.js';
export { adaptiveMisinformation } from './defenses/adaptive-misinformation.js';
export { adversarialSparse } from './defenses/adversarial-sparse.js';
export { highConfidence, labelOnly, rounding, topK } from './defenses/answers.js';
export { antidistillation, productOfExperts } from './defenses/antidistillation.js';
export { compose } from './defenses/compose.js';
export { emma } from './defenses/emma.js';
export { gaussianNoise, randomClass } from './defenses/gaussian-noise.js';
export { grad2 } from './defenses/grad2.js';
export { ini } from './defenses/ini.js';
export { keepArgmax } from './defenses/keep-argmax.js';
export { mad } from './defenses/mad.js';
export { meco } from './defenses/meco.js';
export { mildlyNasty } from './defenses/mildly-nasty.js';
export { misleader } from './defenses/misleader.js';
export { modelGuard } from './defenses/model-guard.js';
export { nasty } from './defenses/nasty.js';
export { none } from './defenses/none.js';
export { dcp, reverseSigmoid } from './defenses/reverse-sigmoid.js';
export { safeDistillationBox } from './defenses/safe-distillation-box.js';
export { selfDistilled, smoothTeacher } from './defenses/soft-teacher.js';
export { reversedLogits, stingy } from './defenses/stingy.js';
export {
  type Experiment,
  type ExperimentSpec,
  experiment,
  type Pair,
  pair,
  type Seed,
} from './experiment/experiment.js';
export type { Published } from './experiment/published.js';
export { type StrongestOptions, strongest } from './experiment/strongest.js';
export { sweep } from './experiment/sweep.js';
export type { AttackerAsks, AttackerHas, ThreatModel } from './experiment/threat-model.js';
export { type Elsewhere, slurm } from './harness/on-cluster.js';
export { type Ran, type RunExperimentOptions, runExperiment } from './harness/run-experiment.js';
export { answerShift } from './metrics/divergence.js';
export { accuracyOverViews, type Evaluation, type Metric } from './metrics/metric.js';
export { airbench } from './models/airbench.js';
export { leNet5, leNet5Half } from './models/lenet.js';
export { mobileNetV2 } from './models/mobilenet-v2.js';
export { plainCnn } from './models/plain-cnn.js';
export { preResNet } from './models/pre-resnet.js';
export { resNet } from './models/resnet.js';
export { resNeXt29 } from './models/resnext.js';
export { shuffleNetV2 } from './models/shufflenet-v2.js';
export * as ops from './public/ops.js';
export * from './public/plugin.js';
export * from './public/synthesis.js';
export * from './public/train.js';
export type { Matrix } from './results/types.js';
export type { StageRecord } from './run/record.js';
export { confidence, type Logits, logProbabilities, meanOverRows, predicted } from './train/logits.js';
export { type Pretrained, pretrained } from './train/pretrained.js';
export { type Learner, learner } from './train/recipe.js';
export { recipes } from './train/recipes.js';
