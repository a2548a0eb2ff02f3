import { FailureError, failure } from '../core/errors.js';
import { key } from '../core/random.js';
import { notFinite, type StoredTensor } from '../core/safetensors.js';
import { dispose } from '../core/tree.js';
import type { Dataset } from '../data/dataset.js';
import { allImages, type DataInUse, evaluationSets } from '../experiment/data-access.js';
import type { Experiment } from '../experiment/experiment.js';
import { differences, readWeights } from '../experiment/pretrained.js';
import type { Stage, Work } from '../experiment/stage.js';
import { networkOf } from '../models/checked.js';
import type { Network, Variables } from '../models/network.js';
import { fromStateDict, toStateDict, withoutCounters } from '../models/state-dict.js';
import type { AnswerShift } from '../train/answer-shift.js';
import { question } from '../train/ask.js';
import { logitsOn } from '../train/evaluate.js';
import { remember, sessionOf } from '../train/oracle.js';
import { contextOf, type Footprint, type MadePool, storedTree, treeFrom } from './context.js';
import { checkpointOf, files, input, optionalInput, readRecord } from './outputs.js';
import { readLots, refuseStrangers } from './pool.js';
import type { TrainingRecord } from './record.js';
import { overViews } from './stage-files.js';
import type { StageOutput, StagingDir } from './store.js';
import type { RunEnvironment, StageRun } from './types.js';
import { asking, doWork, type Made, type Surroundings, tellingOf } from './work.js';

// All that a model and its logits depend on is in this module or imported by it, so that a stage's identity can hold
// the hash of its code; keeping records and measuring are elsewhere.

/** Trains or evaluates a model and leaves it where the stage is made. */
export const trainStage = async (
  environment: RunEnvironment,
  stage: Stage,
  work: Exclude<Work, { readonly kind: 'inspect' | 'measure' }>,
  stageRun: StageRun,
): Promise<TrainingRecord | undefined> => {
  const { data, others, store } = environment;
  const { experiment } = environment.plan;
  const { staging, signal } = stageRun;
  const images: DataInUse = { data, others, experiment };
  switch (work.kind) {
    case 'import': {
      const { weights, network } = work.teacher;
      const found = await readWeights({ weights });
      if (found.sha256 !== work.sha256) {
        const remedy = 'Run again: it is planned with what the file holds then.';
        throw new FailureError(
          failure('data', 'the file was altered since it was planned with', { where: weights, remedy }),
        );
      }
      for (const difference of differences(found, data)) stageRun.warn(difference);
      const metadata = metadataOf(network.build(data.image, data.classes.length), data);
      await staging.writeTensors(files.last, withoutCounters(found.tensors), metadata);
      return undefined;
    }
    case 'answer': {
      const { network, wrappers, secret } = work;
      const drawn = key(`seed ${secret}`);
      const sets = Object.entries(evaluationSets(images));
      const asked = (what: string, access: 'probabilities' | 'label') =>
        asking(
          images,
          { role: 'model', network, wrappers, secret, access },
          among(environment, stage, stageRun),
          async (victim) => {
            // Before anything is asked a stateful defence answers as if there were none: it is looked at after others have asked.
            if (wrappers.some(({ answers }) => answers?.kind === 'stateful'))
              remember(
                sessionOf(victim),
                await question(victim, allImages(images).train, { key: drawn.split('before'), signal }),
              );
            const told: (readonly [string, StoredTensor])[] = [];
            for (const [part, set] of sets) {
              const looking = { key: drawn.split('looked at'), frozen: true, signal };
              const { answers, memory } = await question(victim, set, looking);
              dispose(memory);
              told.push([`${what}/${part}`, { shape: [set.indices.length, answers.size], data: answers.values }]);
            }
            return told;
          },
        );
      const given = await asked('last', 'probabilities');
      // The label that is told is not always the largest of what is given.
      const labels = wrappers.some(({ preserves }) => preserves !== undefined) ? await asked('told', 'label') : [];
      await staging.writeTensors(files.logits, Object.fromEntries([...given, ...labels]));
      return undefined;
    }
    case 'evaluate': {
      const network = networkOf(work.network, data.image, data.classes.length);
      await staging.writeTensors(
        files.logits,
        await allLogits(await input(store, stage, 'model'), network, images, work.views),
      );
      return undefined;
    }
    default: {
      const made = await doWork(images, work, among(environment, stage, stageRun));
      await refuseStrangers(staging);
      return keep(staging, data, made);
    }
  }
};

/** What earlier stages made, out of the store, and the context of this one. */
const among = (
  { store, plan: { experiment } }: Pick<RunEnvironment, 'store' | 'plan'>,
  stage: Stage,
  stageRun: StageRun,
): Surroundings => ({
  model: async (role, network) => readModel(await input(store, stage, role), network, experiment.select),
  prepared: async (role) => {
    const prepared = await optionalInput(store, stage, role);
    return prepared === undefined ? {} : treeFrom(await prepared.tensors(files.prepared), 'prepared');
  },
  pool: async () => {
    const made = await optionalInput(store, stage, 'pool');
    return made && readPoolOf(made);
  },
  // A stage's identity covers the net's code and the engine's arithmetic.
  identity: (role) => `${stage.inputs[role]} ${experiment.select}`,
  telling: tellingOf(stage),
  context: (stageKey, of) => contextOf(stageRun, stageKey, of),
});

/** Writes what was made, whose tensors are disposed of, and says how. */
const keep = async (staging: StagingDir, data: Dataset, made: Made): Promise<TrainingRecord | undefined> => {
  switch (made.kind) {
    case 'model':
      return keepModel(staging, data, made);
    case 'prepared':
      try {
        const { tensors, metadata } = storedTree(made.tree, 'prepared');
        assertFinite(tensors);
        await staging.writeTensors(files.prepared, tensors, metadata);
      } finally {
        dispose(made.tree);
      }
      return undefined;
    case 'pool': {
      const { footprint, remembered, lots, budget } = made;
      const images = lots.reduce((sum, { labels }) => sum + labels.length, 0);
      await staging.writeTensors(files.asked, remembered, { footprint: JSON.stringify(footprint) });
      return recordOf(footprint, { trainImages: images, validationImages: 0, history: [] }, budget);
    }
  }
};

/** What a stage made for all students. */
const readPoolOf = async (output: StageOutput): Promise<MadePool> => {
  const { tensors, metadata } = await output.tensors(files.asked);
  return { lots: await readLots(output), footprint: JSON.parse(metadata.footprint as string), tensors };
};

/** Writes a trained model, which is disposed of, and says how it was trained. */
const keepModel = async (
  staging: StagingDir,
  data: Dataset,
  {
    network,
    set,
    trained: { last, best, pool, history },
    footprint,
    budget,
  }: Extract<Made, { readonly kind: 'model' }>,
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

/** Logits of each checkpoint of a model on each set of images it is evaluated on, and over several views of them. */
const allLogits = async (
  model: StageOutput,
  network: Network,
  images: DataInUse,
  views = false,
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
        for (const name of views ? [part, overViews(part)] : [part]) {
          const answers = { shape, data: logitsOn(network, variables, set, { views: name !== part }) };
          logits[`${checkpoint}/${name}`] = answers;
          if (best !== undefined && same) logits[`best/${name}`] = answers;
        }
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
