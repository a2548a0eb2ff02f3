/**
 * What an attack, a defence or a network is declared with: `undistill/plugin`.
 *
 * The built-in attacks and defences are written against this module, `undistill/train`, `undistill/synthesis` and
 * `undistill/ops`, and nothing else.
 *
 * @module undistill/plugin
 */

// The schemas of options that are more than a number or a choice.
export * as v from 'valibot';
export {
  type AnyAttack,
  type Attack,
  type AttackContext,
  type Circumstances,
  type Extraction,
  type Labelled,
  labelled,
  type Objection,
  type Owned,
  type Ownership,
  unlabelled,
} from '../attacks/attack.js';
export { defineAttack } from '../attacks/define.js';
export { type Distilling, distilBy, type Heard } from '../attacks/distil.js';
export {
  atLeast,
  belowOne,
  between,
  checked,
  choice,
  numeric,
  positive,
  share,
  text,
  wholeAtLeast,
  wholeBetween,
  yesOrNo,
} from '../core/check.js';
export { type Awaitable, type Failure, FailureError, failure, type Task } from '../core/errors.js';
export { defaultsOf, type Given as GivenOptions, option, optional, type Parsed, required } from '../core/options.js';
export { type Declaration, type Declared, determined, isDeclared, type Maker, type OptionsOf } from '../core/plugin.js';
export { type Key, key, normals, permutation, uniforms } from '../core/random.js';
export { type Collected, datasetOf } from '../data/assemble.js';
export {
  type Augmentation,
  anyAugmentation,
  anyDataset,
  anyNormalisation,
  type Dataset,
  type DatasetPlugin,
  type Normalisation,
  noAugmentation,
} from '../data/dataset.js';
export { defineDataset } from '../data/define.js';
export { type Defense, type DefenseContext, partsOf, type Recovery, type Teacher } from '../defenses/defense.js';
export { anyDefense, defineDefense } from '../defenses/define.js';
export type { Imitation, StandIn } from '../defenses/imitation.js';
export { anyNetwork, defineNetwork } from '../models/define.js';
export * as layers from '../models/layers.js';
export type {
  ApplyOptions,
  BatchStats,
  ImageShape,
  ImageStats,
  Named,
  Network,
  NetworkPlugin,
  Output,
  Shape,
  VariableSpec,
  Variables,
} from '../models/network.js';
export { type Interview, interview } from '../train/ask.js';
export type { Context, Doing, Loop, Synthesised } from '../train/context.js';
export {
  type Access,
  type Answers,
  type AtLeast,
  type LabelOracle,
  type LogitOracle,
  type Oracle,
  type ProbabilityOracle,
  publish,
  type Query,
  rank,
  retire,
  type Victim,
  type WeightOracle,
  type Wrapper,
} from '../train/oracle.js';
