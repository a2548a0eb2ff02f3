import * as E from 'fp-ts/lib/Either.js';
import type { AttackContext, Extraction } from '../attacks/attack.js';
import { FailureError, failure, type Task, toFailure } from '../core/errors.js';
import { type Key, key } from '../core/random.js';
import { notFinite, type StoredTensor } from '../core/safetensors.js';
import { dispose, type Tree } from '../core/tree.js';
import type { Dataset } from '../data/dataset.js';
import type { Defense, DefenseContext, Teacher } from '../defenses/defense.js';
import {
  allImages,
  type DataInUse,
  dataFor,
  evaluationSets,
  imagesOf,
  ownedImages,
  stepsPerPass,
  type TrainingSet,
  withoutLabels,
} from '../experiment/data-access.js';
import type { Experiment } from '../experiment/experiment.js';
import { preparedRole, type Stage, type Work } from '../experiment/plan.js';
import { differences, readWeights } from '../experiment/pretrained.js';
import type { Network, NetworkPlugin, Variables } from '../models/network.js';
import { fromStateDict, toStateDict, withoutCounters } from '../models/state-dict.js';
import { question } from '../train/ask.js';
import { type BuiltLearner, classifier } from '../train/classifier.js';
import type { Doing } from '../train/context.js';
import { logitsOn } from '../train/evaluate.js';
import { crossEntropy } from '../train/losses.js';
import { type Access, type AnswerShift, publish, retire, type Victim, type Wrapper } from '../train/oracle.js';
import type { Learner } from '../train/recipe.js';
import { contextOf, type Footprint, type MadePool, type StageContext, storedTree, treeFrom } from './context.js';
import { checkpointOf, files, input, optionalInput, readRecord } from './outputs.js';
import { readLots, refuseStrangers } from './pool.js';
import type { TrainingRecord } from './record.js';
import type { StageOutput, StagingDir } from './store.js';
import type { RunEnvironment, StageRun } from './types.js';

// All that a model and its logits depend on is in this module or imported by it, so that a stage's identity can hold
// the
// hash of its code; keeping records and measuring are elsewhere.

/** Trains or evaluates a model and leaves it in the stageRun's staging. */
export const trainStage = async (
  environment: RunEnvironment,
  stage: Stage,
  work: Exclude<Work, { readonly kind: 'inspect' | 'measure' }>,
  stageRun: StageRun,
): Promise<TrainingRecord | undefined> => {
  const { data, others, store } = environment;
  const { experiment } = environment.plan;
  const images: DataInUse = { data, others, experiment };
  const netOf = (network: NetworkPlugin): Network => network.build(data.image, data.classes.length);
  const built = ({ network, recipe }: Learner): BuiltLearner => ({ network: netOf(network), recipe });
  /** A model of an earlier stage, for the length of `use`. */
  const borrowing = async <A>(
    role: string,
    network: Network,
    use: (variables: Variables) => Promise<A>,
  ): Promise<A> => {
    const variables = await readModel(await input(store, stage, role), network, experiment.select);
    return use(variables).finally(() => dispose(variables));
  };
  /** Tensors of an earlier stage, for the length of `use`. */
  const borrowingTree = async <A>(role: string, use: (tree: Tree) => Promise<A>): Promise<A> => {
    const prepared = await optionalInput(store, stage, role);
    const tree = prepared === undefined ? {} : treeFrom(await prepared.tensors(files.prepared), 'prepared');
    return use(tree).finally(() => dispose(tree));
  };
  /** A victim as it answers through its wrappers, for the length of `use`. */
  const asking = async <A>(
    { role, network: net, wrappers, secret, access, budget }: Asking,
    use: (victim: Victim) => Promise<A>,
  ): Promise<A> => {
    const network = netOf(net);
    const among = async (ready: readonly Wrapper[]): Promise<A> => {
      const part = wrappers[ready.length];
      if (part?.answers !== undefined) {
        const { name, answers, preserves } = part;
        return borrowingTree(preparedRole(ready.length), (prepared) =>
          among([...ready, { name, answers, preserves, prepared }]),
        );
      }
      return borrowing(role, network, async (variables) => {
        const { normalisation } = data;
        const victim = publish({
          network,
          variables,
          normalisation,
          access,
          wrappers: ready,
          secret: key(`seed ${secret}`).split('secret').int32Pair(),
          budget,
          // A stage's identity covers the net's code and the engine's arithmetic.
          identity: `${stage.inputs[role]} ${experiment.select}`,
        });
        return use(victim).finally(() => retire(victim));
      });
    };
    return among([]);
  };
  const keep = (
    network: Network,
    set: TrainingSet,
    trained: Extraction,
    footprint: Footprint,
    budget?: number,
  ): Promise<TrainingRecord> => keepModel(stageRun.staging, data, network, set, trained, footprint, budget);

  /** A defence's own work: on the teacher that it was given, beside an adversary. */
  const defending = async <A>(
    {
      defense: { name, adversary, outliers },
      learner: recipe,
      seed,
      kind,
    }: Extract<Work, { readonly kind: 'protect' | 'prepare' }>,
    use: (teacher: Teacher, context: DefenseContext & Pick<StageContext, 'footprint'>) => Promise<A>,
  ): Promise<A> => {
    const set = allImages(images);
    const learner = built(recipe);
    const other = adversary === undefined ? learner : built({ ...recipe, network: adversary });
    const context = {
      ...contextOf(stageRun, stageKey(seed, kind, name)),
      ...set,
      ...(outliers === undefined ? {} : { outliers: withoutLabels(imagesOf(images, outliers)) }),
    };
    return borrowing('teacher', learner.network, (variables) =>
      borrowing('adversary', other.network, (frozen) =>
        use({ learner, variables }, { ...context, adversary: { learner: other, variables: frozen } }),
      ),
    );
  };

  switch (work.kind) {
    case 'teacher': {
      const set = allImages(images);
      const learner = built(work.learner);
      const { fit, footprint } = contextOf(stageRun, stageKey(work.seed, 'teacher', learner.network.name));
      return keep(learner.network, set, await fit('teacher', normally(learner, set)), footprint());
    }
    case 'import': {
      const { weights, network } = work.teacher;
      const found = await readWeights(weights);
      if (found.sha256 !== work.sha256) {
        const remedy = 'Run again: it is planned with what the file holds then.';
        throw new FailureError(
          failure('data', 'the file was altered since it was planned with', { where: weights, remedy }),
        );
      }
      for (const difference of differences(found, data)) stageRun.warn(difference);
      await stageRun.staging.writeTensors(files.last, withoutCounters(found.tensors), metadataOf(netOf(network), data));
      return undefined;
    }
    case 'protect': {
      const { protect, name } = work.defense;
      if (protect === undefined) throw new Error(`${name} trains nothing`);
      return defending(work, async (teacher, context) => {
        const trained = await ran(() => protect(teacher, context));
        return keep(teacher.learner.network, context, trained, context.footprint());
      });
    }
    case 'prepare': {
      const { prepare, name } = work.defense;
      if (prepare === undefined) throw new Error(`${name} prepares nothing`);
      return defending(work, async (teacher, context) => {
        const prepared: Tree = await ran(() => prepare(teacher, context));
        try {
          const { tensors, metadata } = storedTree(prepared, 'prepared');
          assertFinite(tensors);
          await stageRun.staging.writeTensors(files.prepared, tensors, metadata);
        } finally {
          dispose(prepared);
        }
        return undefined;
      });
    }
    case 'synthesise': {
      const { attack, wrappers, secret, budget } = work;
      const { pool, needs: access } = attack;
      if (pool === undefined) throw new Error(`${attack.name} makes no images beforehand`);
      return asking({ role: 'victim', network: work.teacher, wrappers, secret, access, budget }, async (victim) => {
        const { footprint, remembered, ...context } = contextOf(stageRun, studentKey(work.seed), { victim });
        await ran(() => pool.make(victim, { ...context, normalisation: data.normalisation }));
        await refuseStrangers(stageRun.staging);
        const { asked, shift, effort } = footprint();
        await stageRun.staging.writeTensors(files.asked, remembered(), { footprint: JSON.stringify(footprint()) });
        const made = (await context.pool()).reduce((sum, { labels }) => sum + labels.length, 0);
        return recordOf({ asked, shift, effort }, { trainImages: made, validationImages: 0, history: [] }, budget);
      });
    }
    case 'steal': {
      const { attack, wrappers, secret, budget } = work;
      const student = built(work.student);
      const set = ownedImages(images, attack.data, work.seed);
      const made = await optionalInput(store, stage, 'pool');
      const pool = made && (await readPoolOf(made));
      const steal = async (victim?: Victim): Promise<TrainingRecord> => {
        const { footprint, remembered: _, ...context } = contextOf(stageRun, studentKey(work.seed), { victim, pool });
        const given: AttackContext = {
          ...context,
          data: dataFor(attack, set),
          normalisation: data.normalisation,
          fullStepsPerEpoch: stepsPerPass(allImages(images).train, work.student),
        };
        const stolen = await ran(() => attack.steal((victim ?? {}) as Victim, student, given));
        await refuseStrangers(stageRun.staging);
        const { asked } = footprint();
        if (budget !== undefined && asked.queries > budget)
          throw new FailureError(
            failure('plugin', `it asked for ${asked.queries} answers, and its budget is ${budget}`),
          );
        return keep(student.network, set, stolen, footprint(), budget);
      };
      if (attack.needs === 'none') return steal();
      return asking({ role: 'victim', network: work.teacher, wrappers, secret, access: attack.needs, budget }, steal);
    }
    case 'answer': {
      const { network, wrappers, secret } = work;
      const given = await asking(
        { role: 'model', network, wrappers, secret, access: 'probabilities' },
        async (victim) =>
          Object.entries(evaluationSets(images)).map(([part, set]): readonly [string, StoredTensor] => {
            const { answers, memory } = question(victim, set, {
              key: key(`seed ${secret}`).split('looked at'),
              frozen: true,
            });
            dispose(memory);
            return [`last/${part}`, { shape: [set.indices.length, answers.size], data: answers.values }];
          }),
      );
      await stageRun.staging.writeTensors(files.logits, Object.fromEntries(given));
      return undefined;
    }
    case 'evaluate': {
      const logits = await allLogits(await input(store, stage, 'model'), netOf(work.network), images);
      await stageRun.staging.writeTensors(files.logits, logits);
      return undefined;
    }
  }
};

/** A model of an earlier stage as a victim. */
interface Asking {
  readonly role: 'victim' | 'model';
  readonly network: NetworkPlugin;
  readonly wrappers: readonly Defense[];
  readonly secret: number;
  readonly access: Access;
  readonly budget?: number | undefined;
}

/** The randomness of a stage. Equal seeds pair what is compared; a teacher and a student differ all the same. */
const stageKey = (seed: number, role: 'teacher' | 'protect' | 'prepare' | 'student', name?: string): Key => {
  const own = key(`seed ${seed}`).split(role);
  return name === undefined ? own : own.split(name);
};

/** One for all attacks and all nets: differences between them are paired by seed, and all see the same images. */
const studentKey = (seed: number): Key => stageKey(seed, 'student');

/** What a stage made for all students. */
const readPoolOf = async (output: StageOutput): Promise<MadePool> => {
  const { tensors, metadata } = await output.tensors(files.asked);
  return { lots: await readLots(output), footprint: JSON.parse(metadata.footprint as string), tensors };
};

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
    loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels) }),
  });

/** Writes a trained model, which is disposed of, and says how it was trained. */
const keepModel = async (
  staging: StagingDir,
  data: Dataset,
  network: Network,
  set: TrainingSet,
  { last, best, pool, history }: Extraction,
  footprint: Footprint,
  budget: number | undefined,
): Promise<TrainingRecord> => {
  const metadata = metadataOf(network, data);
  try {
    const models = [[files.last, last] as const, ...(best === undefined ? [] : [[files.best, best.kept] as const])];
    for (const [file, variables] of models) {
      const weights = toStateDict(network, variables);
      assertFinite(weights);
      await staging.writeTensors(file, weights, metadata);
    }
  } finally {
    dispose(best === undefined ? last : [last, best.kept]);
  }
  const outcome = {
    trainImages: pool ?? set.train.indices.length,
    validationImages: set.validation?.indices.length ?? 0,
    ...(best === undefined ? {} : { best: { epoch: best.epoch, validation: best.validation } }),
    history,
  };
  return recordOf(footprint, outcome, budget);
};

/** What a stage did and asked, and what came of it. */
const recordOf = (
  { asked, shift, effort: { steps, images, seconds, replayed } }: Footprint,
  outcome: Pick<TrainingRecord, 'trainImages' | 'validationImages' | 'best' | 'history'>,
  budget: number | undefined,
): TrainingRecord => ({
  steps,
  images,
  ...asked,
  ...(replayed === 0 ? {} : { replayed }),
  ...(budget === undefined ? {} : { budget }),
  ...(asked.queries === 0 || shift.l1 === 0 ? {} : { answers: perQuery(shift, asked.queries) }),
  stepsPerSecond: seconds === 0 ? 0 : steps / seconds,
  ...outcome,
});

const perQuery = ({ l1, kl, changed }: AnswerShift, queries: number): Required<TrainingRecord>['answers'] => ({
  l1: l1 / queries,
  kl: kl / queries,
  changed: changed / queries,
});

/** What a model's weights say of themselves. */
const metadataOf = (network: Network, { classes, image, normalisation }: Dataset): Record<string, string> => ({
  network: network.name,
  classes: JSON.stringify(classes),
  image: JSON.stringify(image),
  normalisation: JSON.stringify(normalisation),
});

/** The last update of a fit comes after the last look at its loss, and a plugin may train without `fit`. */
const assertFinite = (weights: Readonly<Record<string, StoredTensor>>): void => {
  const name = notFinite(weights);
  if (name === undefined) return;
  throw new FailureError(
    failure('diverged', `the trained weights are not finite (${name})`, {
      remedy: 'Lower the learning rate, clip the gradients, or weaken the term that grew.',
    }),
  );
};

/** Logits of each checkpoint of a model on each set of images it is evaluated on. */
const allLogits = async (
  model: StageOutput,
  network: Network,
  images: DataInUse,
): Promise<Record<string, StoredTensor>> => {
  const logits: Record<string, StoredTensor> = {};
  const { training } = await readRecord(model);
  const best = training?.best;
  // Often the last epoch is the best, and its weights are the last.
  const same = best?.epoch === training?.history.at(-1)?.epoch;
  for (const checkpoint of best === undefined || same ? (['last'] as const) : (['last', 'best'] as const)) {
    const variables = await readModel(model, network, checkpoint);
    try {
      for (const [part, set] of Object.entries(evaluationSets(images))) {
        const shape = [set.indices.length, network.classes];
        const answers = { shape, data: logitsOn(network, variables, set) };
        logits[`${checkpoint}/${part}`] = answers;
        if (best !== undefined && same) logits[`best/${part}`] = answers;
      }
    } finally {
      dispose(variables);
    }
  }
  return logits;
};

/**
 * Weights of a finished stage: of the checkpoint asked for, or of the last where there is no best. The caller owns
 * them.
 */
export const readModel = async (
  output: StageOutput,
  network: Network,
  checkpoint: Experiment['select'],
): Promise<Variables> => {
  const file = files[checkpointOf(await readRecord(output), checkpoint)];
  return fromStateDict(network, (await output.tensors(file)).tensors);
};
