import * as E from 'fp-ts/lib/Either.js';
import { attempt, FailureError, failure, orThrow, type Refusal, refusal } from '../core/errors.js';
import { readPlain } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { decodeSafetensors, notFinite, type Safetensors } from '../core/safetensors.js';
import type { Dataset } from '../data/dataset.js';
import type { Network } from '../models/network.js';
import { checkStateDict, type StateDict, stateDictShape } from '../models/state-dict.js';
import type { Pretrained } from '../train/pretrained.js';

/** A pretrained teacher's file. */
export interface Weights extends Safetensors {
  readonly path: string;
  /** Of all its bytes, hexadecimal: by what a pretrained teacher is known. */
  readonly sha256: string;
}

const remedy =
  'Give a file of undistill export, or write one: safetensors.torch.save_file(model.state_dict(), "teacher.safetensors").';

const refuse: Refusal = refusal('data');

/** Rejects with a `FailureError` of kind `data` for a file that is missing, altered, or no sound safetensors file. */
export const readWeights = async ({
  weights: path,
  sha256: known,
}: Pick<Pretrained, 'weights' | 'sha256'>): Promise<Weights> => {
  const bytes = await orThrow(attempt('data', () => readPlain(path), path, remedy));
  if (known !== undefined && sha256(bytes) !== known)
    refuse('the file is not as it was published', path, 'Install undistill again.');
  const decoded = decodeSafetensors(bytes);
  if (E.isRight(decoded)) return { path, sha256: sha256(bytes), ...decoded.right };
  const { what, where } = decoded.left;
  throw new FailureError(failure('data', what, { where: where === undefined ? path : `${path}: ${where}`, remedy }));
};

/** Whether the last layer is for as many classes as the network's: another number is no mistake in the network. */
const checkClasses = (tensors: StateDict, network: Network): void => {
  // Of a dense layer, or of a 1×1 convolution in its place.
  const head = network.variables.filter(({ kind, name }) => kind === 'param' && name.endsWith('.weight')).at(-1);
  const shape = head && tensors[head.name]?.shape;
  if (head === undefined || shape === undefined) return;
  const wanted = stateDictShape(head);
  if (shape[0] === wanted[0] || `${shape.slice(1)}` !== `${wanted.slice(1)}`) return;
  refuse(
    `the weights are of ${shape[0]} classes, and the data set has ${network.classes} ([${shape.join(', ')}], not [${wanted.join(', ')}])`,
    head.name,
    'Choose the data set that the teacher was trained on.',
  );
};

const checkFinite = (tensors: StateDict): void => {
  const name = notFinite(tensors);
  if (name !== undefined) refuse('the weights are not finite', name, 'Such a teacher answers nothing: train it again.');
};

/** A batch norm divides by the root of its variance. */
const checkVariances = (tensors: StateDict): void => {
  const bad = Object.keys(tensors).find(
    (name) => /(^|\.)running_var$/.test(name) && tensors[name]?.data.some((value) => value < 0),
  );
  if (bad !== undefined) {
    const remedy = 'Such a teacher answers nothing: the file is damaged or was converted wrongly; make it again.';
    refuse('a variance is negative', bad, remedy);
  }
};

/**
 * Whether the weights are a network's.
 *
 * @throws FailureError of kind `data` that names the file and the tensor: missing, too many, of another shape, of other
 * classes than the data set's, not finite, or a negative variance
 */
export const checkWeights = ({ path, tensors }: Weights, network: Network): void => {
  try {
    checkClasses(tensors, network);
    checkStateDict(network, tensors);
    checkFinite(tensors);
    checkVariances(tensors);
  } catch (error) {
    if (!(error instanceof FailureError)) throw error;
    throw new FailureError({ ...error.failure, where: `${path}: ${error.failure.where}` });
  }
};

const shortened = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

/**
 * In what the data set is not the one that a file of `undistill export` was trained on; of other files nothing is
 * known.
 */
export const differences = ({ metadata }: Weights, data: Dataset): readonly string[] => {
  if (metadata.undistill === undefined) return [];
  return (['normalisation', 'classes'] as const).flatMap((field) => {
    const [there, here] = [metadata[field] ?? 'unknown', JSON.stringify(data[field])];
    return there === here
      ? []
      : [`the teacher was trained with ${field} ${shortened(there)}; here it is ${shortened(here)}`];
  });
};
