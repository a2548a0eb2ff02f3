import * as tf from '@tensorflow/tfjs';
import type { AnyAttack, AttackContext, Extraction } from '../../src/attacks/attack.js';
import { awaitable, type Failure, orThrow } from '../../src/core/errors.js';
import { type Key, key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import type { Dataset, Examples, Normalisation } from '../../src/data/dataset.js';
import { batchNorm, classifier, conv, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { NetworkPlugin, Variables } from '../../src/models/network.js';
import { question } from '../../src/train/ask.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import type { Context, Doing, Synthesised } from '../../src/train/context.js';
import { type FitResult, type FitSpec, fit } from '../../src/train/fit.js';
import { frameOf, wholeStep } from '../../src/train/fit-step.js';
import { type ImageSet, type LabelledBatch, type RawBatch, type Resident, unpacked } from '../../src/train/images.js';
import { type Access, remember, sessionOf, type Victim } from '../../src/train/oracle.js';
import type { Recipe } from '../../src/train/recipe.js';
import type { Recordings } from '../../src/train/recordings.js';
import type { Source } from '../../src/train/source.js';
import { failureOf as failureIn } from '../failures.js';
import { recipe, thirds } from '../run/helpers.js';

/** A net with everything that a step may change: weights, biases and running statistics. */
export const normalised = (channels = 3): NetworkPlugin =>
  network({
    name: 'normalised',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn'),
      relu,
      flatten,
      features,
      classifier('fc'),
    ),
  });

export const data: Dataset = thirds({ train: 40, test: 12 });

export const built = (changes: Partial<Recipe> = {}, net = normalised()): BuiltLearner => ({
  network: net.build(data.image, data.classes.length),
  recipe: recipe({ batch: 16, ...changes }),
});

/** Training images of a data set by their places, from one up to another. */
export const imagesOf =
  ({ train, image, normalisation }: Pick<Dataset, 'train' | 'image' | 'normalisation'>, augmentation = still) =>
  (from: number, to: number): ImageSet => ({
    examples: train,
    indices: Int32Array.from({ length: to - from }, (_, i) => from + i),
    shape: image,
    normalisation,
    augmentation,
    labelled: true,
  });

const still: Dataset['augmentation'] = { crop: 0, flip: false };

export const setOf = (examples: Examples = data.train, from = 0, to = examples.count): ImageSet =>
  imagesOf({ ...data, train: examples }, data.augmentation)(from, to);

/** The batch of a step as the step computes with it, and how many images it holds. */
export const opened = ({ data, at }: Source<RawBatch, Resident>, step: number) => {
  const { batch: raw, images } = at(step);
  const batch = tree.clone(unpacked<LabelledBatch>(data, raw));
  tree.dispose(raw);
  return { batch, images };
};

/** Three training batches, and images held out. */
export const sets = { train: setOf(data.train, 0, 34), validation: setOf(data.train, 34) };

// biome-ignore lint/suspicious/noExplicitAny: any fit at all
export type AnySpec = FitSpec<any, any, any, any, any, any>;

/** A context without files, and what was asked of it. */
export interface Tried extends Context {
  readonly normalisation: Normalisation;
  readonly specs: AnySpec[];
  /** Names of the fits, in order. */
  readonly names: string[];
  /** Tensors alive at the end of each epoch. */
  readonly alive: number[];
  readonly warnings: string[];
}

/** What a test does instead of a fit, or before it. */
export type Fitting = (name: string, spec: AnySpec, run: () => Promise<FitResult<tree.Tree>>) => Promise<unknown>;

/** What a test does with images. */
export type Keeping = (name: string, make: () => Promise<Synthesised>) => Promise<Synthesised>;

export const context = (
  from: Key = key('stage'),
  {
    fitting = (_, __, run) => run(),
    keeping = (_, make) => make(),
    normalisation = data.normalisation,
    recordings,
  }: {
    readonly fitting?: Fitting;
    readonly keeping?: Keeping;
    readonly normalisation?: Normalisation;
    readonly recordings?: Recordings;
  } = {},
): Tried => {
  const [specs, names, alive, warnings]: [AnySpec[], string[], number[], string[]] = [[], [], [], []];
  const lots: Synthesised[] = [];
  const warn = (message: string): void => void warnings.push(message);
  /** As in a stage: what a loop's body makes is called by the iteration as well. */
  const within = (suffix: string, own: Key): Context => {
    const full = (name: string) => `${name}${suffix}`;
    return {
      key: own,
      warn,
      value: (name, make) => awaitable('plugin', make, full(name)),
      images: (name, make) =>
        awaitable('plugin', async () => {
          const made = await keeping(full(name), make);
          lots.push(made);
          return made;
        }),
      pool: async () => lots,
      ask: (name, victim, images) =>
        awaitable('plugin', async () => {
          const { answers, ...rest } = await question(victim, images, { key: own.split(full(name)) });
          remember(sessionOf(victim), rest);
          return answers;
        }),
      loop: (name, { count, init, body }) =>
        awaitable('plugin', async () => {
          const loopKey = own.split(full(name));
          let state = await init(loopKey.split('init'));
          try {
            for (let i = 0; i < count; i++) {
              const after = await body(state, i, within(`${suffix}-${i}`, loopKey.split(i)));
              if (after !== state) tree.dispose(state);
              state = after;
            }
            return state;
          } catch (error) {
            tree.dispose(state);
            throw error;
          }
        }),
      fit: (name, spec) =>
        awaitable('plugin', async () => {
          const fitted = await fitting(full(name), spec as unknown as AnySpec, () => {
            specs.push(spec as unknown as AnySpec);
            names.push(full(name));
            return fit(spec, {
              key: own.split(name),
              checkpointEvery: 1000,
              load: async () => undefined,
              save: async () => undefined,
              epoch: async () => void alive.push(tf.memory().numTensors),
              progress: () => undefined,
              warn,
              recordings,
            });
          });
          return fitted as never;
        }),
    };
  };
  return { ...within('', from), normalisation, specs, names, alive, warnings };
};

/** What a plugin gives, a promise or a task. */
export const succeed = async <A>(doing: Doing<A>): Promise<A> =>
  typeof doing === 'function' && !('then' in doing) ? orThrow(doing) : (doing as PromiseLike<A>);

/** All of a theft in one context: the images that are made for all students, and what one of them learns. */
export const theftOf = async (
  { pool, steal }: AnyAttack,
  victim: Victim,
  learner: BuiltLearner,
  given: AttackContext,
): Promise<Extraction> => {
  if (pool !== undefined) await succeed(pool.make(victim, given) as Doing<unknown>);
  return succeed(steal(victim, learner, given));
};

/** The failure that something ends with. */
export const failureOf = (doing: Doing<unknown> | (() => Promise<unknown>)): Promise<Failure> =>
  failureIn(() => succeed(doing as Doing<unknown>));

/** A spec's step as an ordinary step that a runner takes, and what it begins with; for tests of single steps. */
export const takenBy = <
  F extends tree.Tree,
  S extends tree.Tree,
  B extends tree.Tree,
  D extends tree.Tree,
  A extends Access,
>(
  spec: FitSpec<F, S, B, tree.Tree, D, A>,
  data: D,
) => ({ step: wholeStep(spec), frame: frameOf(spec, data) });

/** Weights and statistics as numbers by name; the tensors are disposed of. */
export const numbersOf = (variables: Variables): Record<string, number[]> => {
  const all = Object.entries({ ...variables.params, ...variables.stats });
  const numbers = Object.fromEntries(all.map(([name, tensor]) => [name, Array.from(tensor.dataSync())]));
  for (const [, tensor] of all) tensor.dispose();
  return numbers;
};

/** What a fit ended with, as numbers. */
export const endOf = ({ last, best, ...rest }: FitResult<Variables>) => {
  return { ...rest, last: numbersOf(last), best: best && numbersOf(best.kept) };
};
