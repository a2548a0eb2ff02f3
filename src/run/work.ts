import * as tf from '@tensorflow/tfjs';
import * as E from 'fp-ts/lib/Either.js';
import type { AttackContext, Extraction } from '../attacks/attack.js';
import { FailureError, failure, type Task, toFailure } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { type Key, key } from '../core/random.js';
import type { StoredTensor } from '../core/safetensors.js';
import { counted } from '../core/text.js';
import { dispose, type Tree } from '../core/tree.js';
import {
  type Defense,
  type DefenseContext,
  type Recovery,
  recoveryRemedy,
  type Teacher,
  undoing,
  unfairRecovery,
} from '../defenses/defense.js';
import { type Imitation, imitationOf } from '../defenses/imitation.js';
import { standardUniform } from '../engine/ops.js';
import {
  allImages,
  type DataInUse,
  dataFor,
  imagesOf,
  ownedImages,
  stepsPerPass,
  type TrainingSet,
  withoutLabels,
} from '../experiment/data-access.js';
import type { Json } from '../experiment/identity.js';
import { preparedRole, type Stage, type Work } from '../experiment/stage.js';
import { networkOf } from '../models/checked.js';
import type { Network, NetworkPlugin, Variables } from '../models/network.js';
import { askAside } from '../train/ask.js';
import { type BuiltLearner, classifier } from '../train/classifier.js';
import type { Doing, Synthesised } from '../train/context.js';
import { crossEntropy } from '../train/losses.js';
import { type Access, isBlackBox, publish, retire, type Victim, type Wrapper } from '../train/oracle.js';
import type { Learner } from '../train/recipe.js';
import type { Footprint, MadePool, StageContext } from './context.js';

/** What a stage's plugins work with: what earlier stages made, and a context. */
export interface Surroundings {
  /** The model of an earlier stage; the caller owns it. */
  readonly model: (role: string, network: Network) => Promise<Variables>;
  /** What a defence prepared; the caller owns it. */
  readonly prepared: (role: string) => Promise<Tree>;
  /** The images that were made for all students of an attack. */
  readonly pool: () => Promise<MadePool | undefined>;
  /** What the net of a model computes, in a word. */
  readonly identity: (role: string) => string | undefined;
  /** What the stage's wrappers make of that, in a word. */
  readonly telling: string | undefined;
  readonly context: (
    key: Key,
    of?: { readonly victim?: Victim | undefined; readonly pool?: MadePool | undefined },
  ) => StageContext;
  /** How a copy of a defence is made where that is not to take its time; see `Copying`. */
  readonly imitating?: {
    readonly images: number;
    readonly watched: (copy: Imitation) => Imitation;
  };
}

/** What plugins made; the caller owns its tensors. */
export type Made =
  | {
      readonly kind: 'model';
      readonly network: Network;
      /** What it was trained on, beside images that were made. */
      readonly set: TrainingSet;
      readonly trained: Extraction;
      readonly footprint: Footprint;
      readonly budget?: number | undefined;
    }
  | { readonly kind: 'prepared'; readonly tree: Tree }
  | {
      readonly kind: 'pool';
      readonly lots: readonly Synthesised[];
      readonly footprint: Footprint;
      readonly remembered: Readonly<Record<string, StoredTensor>>;
      readonly budget?: number | undefined;
    };

/** A stage's work that plugins do. */
export type PluginWork = Extract<Work, { readonly kind: 'teacher' | 'protect' | 'prepare' | 'synthesise' | 'steal' }>;

/** Does a stage's work, in its surroundings. */
export const doWork = async (images: DataInUse, work: PluginWork, around: Surroundings): Promise<Made> => {
  switch (work.kind) {
    case 'teacher': {
      const set = seenBy(work.learner, allImages(images));
      const learner = built(images, work.learner);
      const { fit, footprint } = around.context(stageKey(work.seed, 'teacher', learner.network.name));
      const trained = await fit('teacher', normally(learner, set));
      return { kind: 'model', network: learner.network, set, trained, footprint: footprint() };
    }
    case 'protect': {
      const { protect, name } = work.defense;
      if (protect === undefined) throw new Error(`${name} trains nothing`);
      return defending(images, work, around, async (teacher, { footprint, ...context }) => {
        const trained = await ran(() => protect(teacher, context));
        return { kind: 'model', network: teacher.learner.network, set: context, trained, footprint: footprint() };
      });
    }
    case 'prepare': {
      const { prepare, name } = work.defense;
      if (prepare === undefined) throw new Error(`${name} prepares nothing`);
      return defending(images, work, around, async (teacher, context) => ({
        kind: 'prepared',
        tree: await ran(() => prepare(teacher, context)),
      }));
    }
    case 'synthesise': {
      const { attack, budget } = work;
      const { pool } = attack;
      if (pool === undefined) throw new Error(`${attack.name} makes no images beforehand`);
      return robbing(images, work, around, async (victim) => {
        const { footprint, remembered, ...context } = around.context(studentKey(work.seed), { victim });
        await ran(() => pool.make(victim, { ...context, normalisation: images.data.normalisation }));
        const lots = await context.pool();
        return { kind: 'pool', lots, footprint: footprint(), remembered: remembered(), budget };
      });
    }
    case 'steal': {
      const { attack, budget } = work;
      const student = built(images, work.student);
      const set = seenBy(work.student, ownedImages(images, attack.data, work.seed));
      const pool = await around.pool();
      const steal = async (victim?: Victim, prepared: readonly Tree[] = []): Promise<Made> => {
        const { footprint, remembered: _, ...context } = around.context(studentKey(work.seed), { victim, pool });
        const given: AttackContext = {
          ...context,
          data: dataFor(attack, set),
          normalisation: images.data.normalisation,
          fullStepsPerEpoch: stepsPerPass(allImages(images).train, work.student),
          // Whether it can is known from the plan.
          recover:
            attack.knows === 'inverse' ? recovering(work.wrappers, prepared, student, victim as Victim) : undefined,
          imitate:
            attack.knows === 'answers'
              ? async (standIn) => {
                  const { images: most, watched = (copy: Imitation) => copy } = around.imitating ?? {};
                  const outliersOf = (each: Defense) => strangersOf(images, each);
                  return watched(await imitationOf(work.wrappers, standIn, context, { outliersOf, ran, images: most }));
                }
              : undefined,
        };
        const trained = await ran(() => attack.steal((victim ?? {}) as Victim, student, given));
        if (trained?.last === undefined)
          throw new FailureError(
            failure('plugin', 'its steal gave no student', {
              remedy: 'It returns what fit gives: return fit(…), or a fp-ts task of it.',
            }),
          );
        const { asked } = footprint();
        if (isBlackBox(attack.needs) && asked.queries === 0)
          given.warn(
            `it asked the victim nothing, and declares that it needs ${attack.needs}: its student is one that was trained without. Ask in the target of a step (victim.logProbabilities(pixels)), or declare needs: 'none'`,
          );
        if (trained.ended === 'budget' && attack.data.kind !== 'none')
          given.warn(
            `its budget of ${budget} answers ended its training after ${counted(trained.steps, 'step')}, where the student trained alone takes all`,
          );
        if (budget !== undefined && asked.queries > budget)
          throw new FailureError(
            failure('plugin', `it asked for ${asked.queries} answers, and its budget is ${budget}`),
          );
        return { kind: 'model', network: student.network, set, trained, footprint: footprint(), budget };
      };
      return attack.needs === 'none' ? steal() : robbing(images, work, around, steal);
    }
  }
};

const netOf = ({ data }: DataInUse, network: NetworkPlugin): Network =>
  networkOf(network, data.image, data.classes.length);
const built = (images: DataInUse, { network, recipe }: Learner): BuiltLearner => ({
  network: netOf(images, network),
  recipe,
});

/** Images as a recipe changes them in training. */
const seenBy = ({ recipe: { augmentation } }: Learner, { train, validation }: TrainingSet): TrainingSet => ({
  train: augmentation === undefined ? train : { ...train, augmentation },
  validation,
});

/** A model of an earlier stage, for the length of `use`. */
const borrowing = async <A>(
  { model }: Surroundings,
  role: string,
  network: Network,
  use: (variables: Variables) => Promise<A>,
): Promise<A> => {
  const variables = await model(role, network);
  return use(variables).finally(() => dispose(variables));
};

/** A model of an earlier stage as a victim. */
export interface Asking {
  readonly role: 'victim' | 'model';
  readonly network: NetworkPlugin;
  readonly wrappers: readonly Defense[];
  readonly secret: number;
  readonly access: Access;
  readonly budget?: number | undefined;
}

/** A victim as it answers through its wrappers, and what each of these prepared, for the length of `use`. */
export const asking = async <A>(
  images: DataInUse,
  { role, network: net, wrappers, secret, access, budget }: Asking,
  around: Surroundings,
  use: (victim: Victim, prepared: readonly Tree[]) => Promise<A>,
): Promise<A> => {
  const network = netOf(images, net);
  const among = async (ready: readonly Wrapper[]): Promise<A> => {
    const part = wrappers[ready.length];
    if (part?.answers !== undefined) {
      const { name, answers, preserves } = part;
      const prepared = await around.prepared(preparedRole(ready.length));
      return among([...ready, { name, answers, preserves, prepared }]).finally(() => dispose(prepared));
    }
    return borrowing(around, role, network, async (variables) => {
      const victim = publish({
        network,
        variables,
        normalisation: images.data.normalisation,
        access,
        wrappers: ready,
        secret: key(`seed ${secret}`).split('secret').int32Pair(),
        budget,
        identity: around.identity(role),
        telling: around.telling,
      });
      const prepared = ready.map((each) => each.prepared);
      return use(victim, prepared).finally(() => retire(victim));
    });
  };
  return among([]);
};

/**
 * What several defences did to an answer, undone from the last to the first, as far as inverses are known. Each is looked at as it is used,
 * in the batches that the student learns from.
 */
const recovering = (
  wrappers: readonly Defense[],
  prepared: readonly Tree[],
  { network: { input: image, classes }, recipe: { batch } }: BuiltLearner,
  victim: Victim,
): Recovery => {
  const ask = (rows: number): void => {
    const { height, width, channels } = image;
    const pixels = standardUniform([rows, height, width, channels], tf.tensor1d([rows, 0], 'int32'));
    askAside(victim, pixels as tf.Tensor4D);
  };
  const known = wrappers.flatMap((defense, i): Recovery[] => {
    if (defense.recover === undefined) return [];
    const own = prepared[i] as Tree;
    const why = unfairRecovery(defense, { image, classes }, own, [1, batch], ask);
    if (why !== undefined)
      throw new FailureError(failure('plugin', why, { where: defense.name, remedy: recoveryRemedy }));
    return [defense.recover(own)];
  });
  return undoing(known);
};

/** What a stage's wrappers make of the answers of a net, in a word; undefined where it has none. */
export const tellingOf = ({ inputs, parts: { wrappers, secret } }: Stage): string | undefined => {
  if (wrappers === undefined) return undefined;
  const prepared = (wrappers as readonly Json[]).map((_, i) => inputs[preparedRole(i)] ?? '');
  return sha256(JSON.stringify([wrappers, secret, prepared]));
};

/** The victim of a theft, for the length of `use`. */
const robbing = <A>(
  images: DataInUse,
  { teacher, attack, wrappers, secret, budget }: Extract<PluginWork, { readonly kind: 'synthesise' | 'steal' }>,
  around: Surroundings,
  use: (victim: Victim, prepared: readonly Tree[]) => Promise<A>,
): Promise<A> =>
  asking(images, { role: 'victim', network: teacher, wrappers, secret, access: attack.needs, budget }, around, use);

/** A defence's own work: on the teacher that it was given, beside an adversary. */
const defending = async <A>(
  images: DataInUse,
  { defense, learner: recipe, seed, kind }: Extract<PluginWork, { readonly kind: 'protect' | 'prepare' }>,
  around: Surroundings,
  use: (teacher: Teacher, context: DefenseContext & Pick<StageContext, 'footprint'>) => Promise<A>,
): Promise<A> => {
  const { name, adversary } = defense;
  const learner = built(images, recipe);
  const other = adversary === undefined ? learner : built(images, { ...recipe, network: adversary });
  const context = {
    ...around.context(stageKey(seed, kind, name)),
    ...seenBy(recipe, allImages(images)),
    ...strangersOf(images, defense),
  };
  return borrowing(around, 'teacher', learner.network, (variables) =>
    borrowing(around, 'adversary', other.network, (frozen) =>
      use({ learner, variables }, { ...context, adversary: { learner: other, variables: frozen } }),
    ),
  );
};

/** The images that a defence names as `outliers`, where it names some. */
const strangersOf = (images: DataInUse, { outliers }: Defense): Pick<DefenseContext, 'outliers'> =>
  outliers === undefined ? {} : { outliers: withoutLabels(imagesOf(images, outliers)) };

/** The randomness of a stage. Equal seeds pair what is compared; a teacher and a student differ all the same. */
const stageKey = (seed: number, role: 'teacher' | 'protect' | 'prepare' | 'student', name?: string): Key => {
  const own = key(`seed ${seed}`).split(role);
  return name === undefined ? own : own.split(name);
};

/** One for all attacks and all nets: differences between them are paired by seed, and all see the same images. */
const studentKey = (seed: number): Key => stageKey(seed, 'student');

/** Runs what a plugin gives, a promise or a task; what it throws, at once or later, is a failure of its stage. */
const ran = async <A>(start: () => Doing<A>): Promise<A> => {
  const doing: unknown = start();
  if (typeof (doing as PromiseLike<A> | undefined)?.then === 'function') return doing as PromiseLike<A>;
  if (typeof doing !== 'function') {
    throw new Error(
      'a plugin returns a promise or a task, such as context.fit gives, and this one returned something else',
    );
  }
  const result: E.Either<unknown, A> = await (doing as Task<A>)();
  if (E.isLeft(result)) throw new FailureError(toFailure('plugin')(result.left));
  return result.right;
};

const normally = (learner: BuiltLearner, { train, validation }: TrainingSet) =>
  classifier({
    learner,
    data: train,
    validation,
    guardChance: true,
    loss: ({ logits, batch }) => ({
      loss: crossEntropy(logits, batch.labels, { smoothing: learner.recipe.smoothing ?? 0 }),
    }),
  });
