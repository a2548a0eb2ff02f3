import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FailureError, failure } from '../core/errors.js';
import type { NetworkPlugin } from '../models/network.js';
import { type Learner, learner, type Recipe } from './recipe.js';
import { zoo } from './zoo.js';

/** A teacher that comes trained. */
export interface Pretrained {
  readonly network: NetworkPlugin;
  /** The absolute path of its weights. */
  readonly weights: string;
  /** Of that file, where it is known which it must be. */
  readonly sha256?: string;
  readonly recipe?: Recipe;
}

const refuse = (what: string, remedy: string): never => {
  throw new FailureError(failure('experiment', what, { where: 'pretrained', remedy }));
};

/**
 * A teacher whose weights lie in a safetensors file, by PyTorch's `state_dict` names and in its layouts: as
 * `undistill export` or `safetensors.torch.save_file(model.state_dict(), path)` writes it. It is known by what the file
 * holds, and one teacher for all seeds. Images come to it in the normalisation of the experiment's data set.
 *
 * @param weights a path, which starts at the working folder, or `new URL('teacher.safetensors', import.meta.url)`; alone, the name of
 * a net that comes with undistill, such as `cifar10/airbench` (`undistill list zoo`), which has the recipe that it was trained by
 * @param recipe for what is trained in its place or beside it: a nasty teacher, an adversary, the student `self`
 * @throws FailureError of kind `experiment`; the file is read when the experiment is planned
 */
export const pretrained: {
  (name: string): Pretrained;
  (weights: string | URL, network: NetworkPlugin, recipe?: Recipe): Pretrained;
} = (weights: string | URL, network?: NetworkPlugin, recipe?: Recipe): Pretrained => {
  if (network === undefined) return fromZoo(weights);
  const isUrl = weights instanceof URL && weights.protocol === 'file:';
  if (!isUrl && (typeof weights !== 'string' || weights === ''))
    return refuse('the weights are no file', "Give its path: pretrained('teacher.safetensors', resNet(18)).");
  const path = isUrl ? fileURLToPath(weights) : resolve(weights as string);
  return { network, weights: path, ...(recipe === undefined ? {} : { recipe }) };
};

const fromZoo = (name: string | URL): Pretrained => {
  const known = typeof name === 'string' && Object.hasOwn(zoo, name) ? zoo[name] : undefined;
  if (known === undefined)
    return refuse(
      `undistill comes with no net of this name: ${name}`,
      `It comes with ${Object.keys(zoo).join(', ')}. A file needs its network: pretrained('teacher.safetensors', resNet(18)).`,
    );
  const { network, recipe, sha256 } = known;
  // Compiled or not, `zoo` lies two folders above.
  const weights = fileURLToPath(new URL(`../../zoo/${name}.safetensors`, import.meta.url));
  return { network, weights, sha256, recipe };
};

export const isPretrained = (teacher: Learner | Pretrained): teacher is Pretrained => 'weights' in teacher;

/**
 * A teacher's net and recipe, to be trained anew.
 *
 * @throws Error for a pretrained teacher without a recipe, which `experiment()` refuses where one is needed
 */
export const retrainable = (teacher: Learner | Pretrained): Learner => {
  const { network, recipe } = teacher;
  if (recipe === undefined) throw new Error(`the teacher ${network.name} has no recipe`);
  return isPretrained(teacher) ? learner(network, recipe) : teacher;
};
