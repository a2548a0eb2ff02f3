import * as E from 'fp-ts/lib/Either.js';
import type { AttackContext, Extraction } from '../attacks/attack.js';
import { FailureError, failure, type Task, toFailure } from '../core/errors.js';
import { type Key, key } from '../core/random.js';
import { notFinite, type StoredTensor } from '../core/safetensors.js';
import { dispose } from '../core/tree.js';
import type { Dataset } from '../data/dataset.js';
import type { Defense } from '../defenses/defense.js';
import { publish, restrict, type Victim } from '../defenses/victim.js';
import {
  allImages,
  type DataInUse,
  dataFor,
  evaluationSets,
  ownedImages,
  stepsPerPass,
  type TrainingSet,
} from '../experiment/data-access.js';
import type { Experiment } from '../experiment/experiment.js';
import type { Stage, Work } from '../experiment/plan.js';
import { differences, readWeights } from '../experiment/pretrained.js';
import type { Network, NetworkPlugin, Variables } from '../models/network.js';
import { fromStateDict, toStateDict, withoutCounters } from '../models/state-dict.js';
import { type BuiltLearner, classifier } from '../train/classifier.js';
import { logitsOn } from '../train/evaluate.js';
import { crossEntropy } from '../train/losses.js';
import type { Learner } from '../train/recipe.js';
import { contextOf } from './context.js';
import { checkpointOf, files, input, readRecord } from './outputs.js';
import { refuseStrangers } from './pool.js';
import type { TrainingRecord } from './record.js';
import type { StageOutput, StagingDir } from './store.js';
import type { RunEnvironment, StageRun } from './types.js';

// All that a model and its logits depend on is in this module or imported by it, so that a stage's identity can hold the
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
  const keep = (network: Network, set: TrainingSet, trained: Extraction): Promise<TrainingRecord> =>
    keepModel(stageRun.staging, data, network, set, trained);

  switch (work.kind) {
    case 'teacher': {
      const set = allImages(images);
      const learner = built(work.learner);
      const { fit } = contextOf(stageRun, stageKey(work.seed, 'teacher', learner.network.name));
      return keep(learner.network, set, await ran(() => fit('teacher', normally(learner, set))));
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
      const { protect, name, adversary } = work.defense;
      if (protect === undefined) throw new Error(`${name} trains nothing`);
      const set = allImages(images);
      const learner = built(work.learner);
      const other = adversary === undefined ? learner : built({ ...work.learner, network: adversary });
      const context = contextOf(stageRun, stageKey(work.seed, 'protect', name));
      return borrowing('teacher', learner.network, (variables) =>
        borrowing('adversary', other.network, async (frozen) => {
          const given = { ...context, ...set, adversary: { learner: other, variables: frozen } };
          return keep(learner.network, set, await ran(() => protect({ learner, variables }, given)));
        }),
      );
    }
    case 'steal': {
      const { attack, wrappers } = work;
      const student = built(work.student);
      const set = ownedImages(images, attack.data, work.seed);
      const context: AttackContext = {
        // One key for all attacks on one student net: differences between them are paired by seed.
        ...contextOf(stageRun, stageKey(work.seed, 'student', student.network.name)),
        data: dataFor(attack, set),
        fullStepsPerEpoch: stepsPerPass(allImages(images).train, work.student),
      };
      const steal = async (victim: Victim): Promise<TrainingRecord> => {
        const stolen = await ran(() => attack.steal(victim, student, context));
        await refuseStrangers(stageRun.staging);
        return keep(student.network, set, stolen);
      };
      if (attack.needs === 'none') return steal({ frozen: {} });
      const network = netOf(work.teacher);
      return borrowing('victim', network, (variables) =>
        steal(
          restrict(wrappers.reduce<Victim>(wrapped, publish(network, variables, data.normalisation)), attack.needs),
        ),
      );
    }
    case 'evaluate': {
      const logits = await allLogits(await input(store, stage, 'model'), netOf(work.network), images);
      await stageRun.staging.writeTensors(files.logits, logits);
      return undefined;
    }
  }
};

/** The randomness of a stage. Equal seeds pair what is compared; a teacher and a student of one net differ all the same. */
const stageKey = (seed: number, role: 'teacher' | 'protect' | 'student', name: string): Key =>
  key(`seed ${seed}`).split(role).split(name);

/** Runs a plugin's task; what it throws, at once or later, is a failure of its stage. */
const ran = async <A>(start: () => Task<A>): Promise<A> => {
  const task: unknown = start();
  if (typeof task !== 'function') {
    throw new Error('a plugin returns a task, such as context.fit gives, and this one returned something else');
  }
  const result: E.Either<unknown, A> = await (task as Task<A>)();
  if (E.isLeft(result)) throw new FailureError(toFailure('plugin')(result.left));
  return result.right;
};

/** A defence's wrapper sees probabilities and labels, and so cannot pass on more. */
const wrapped = (victim: Victim, { expose }: Defense): Victim =>
  expose === undefined ? victim : expose(restrict(victim, 'probabilities') as Victim<'probabilities'>);

const normally = (learner: BuiltLearner, { train, validation }: TrainingSet) =>
  classifier({
    learner,
    data: train,
    validation,
    guardChance: true,
    frozen: {},
    target: () => ({}),
    loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels) }),
  });

/** Writes a trained model, which is disposed of, and says how it was trained. */
const keepModel = async (
  staging: StagingDir,
  data: Dataset,
  network: Network,
  set: TrainingSet,
  { last, best, pool, ...trained }: Extraction,
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
  return {
    steps: trained.steps,
    images: trained.images,
    queries: trained.queries,
    stepsPerSecond: trained.steps / trained.seconds,
    trainImages: pool ?? set.train.indices.length,
    validationImages: set.validation?.indices.length ?? 0,
    ...(best === undefined ? {} : { best: { epoch: best.epoch, validation: best.validation } }),
    history: trained.history,
  };
};

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

/** Weights of a finished stage: of the checkpoint asked for, or of the last where there is no best. The caller owns them. */
export const readModel = async (
  output: StageOutput,
  network: Network,
  checkpoint: Experiment['select'],
): Promise<Variables> => {
  const file = files[checkpointOf(await readRecord(output), checkpoint)];
  return fromStateDict(network, (await output.tensors(file)).tensors);
};
