import * as E from 'fp-ts/lib/Either.js';
import type { AttackContext } from '../attacks/attack.js';
import { type Failure, FailureError, failure, orThrow, type Task, toFailure } from '../core/errors.js';
import { key } from '../core/random.js';
import type { StoredTensor } from '../core/safetensors.js';
import { dispose } from '../core/tree.js';
import type { Dataset } from '../data/dataset.js';
import type { Defense, DefenseContext } from '../defenses/defense.js';
import { publish, restrict, type Victim } from '../defenses/victim.js';
import type { Engine } from '../engine/engine.js';
import type { Network, Variables } from '../models/network.js';
import { fromStateDict, toStateDict } from '../models/state-dict.js';
import { type BuiltLearner, classifier } from '../train/classifier.js';
import { logitsOn } from '../train/evaluate.js';
import type { Fitted } from '../train/fit.js';
import { crossEntropy } from '../train/losses.js';
import type { Learner } from '../train/recipe.js';
import { contextOf, type Sitting, type StageEvent } from './context.js';
import type { Experiment } from './experiment.js';
import { diverge, logitsFile, measure, notNasty } from './measure.js';
import {
  allImages,
  type DataInUse,
  evaluationSets,
  handOver,
  ownedImages,
  stepsPerPass,
  type TrainingSet,
} from './owned.js';
import type { Plan, Stage } from './plan.js';
import type { Provenance, StageRecord, TrainingRecord } from './record.js';
import type { Artefact, Store, Workshop } from './store.js';

/** Everything outside a stage that running it takes. */
export interface Bench {
  readonly plan: Plan;
  readonly store: Store;
  readonly data: Dataset;
  readonly engine: Engine;
  readonly version: string;
  readonly signal?: AbortSignal | undefined;
  readonly checkpointEvery: number;
}

/** The file of a model's weights, in PyTorch's names and layouts, by checkpoint. */
const weightsFile = { last: 'last.safetensors', best: 'best.safetensors' } as const;
const recordFile = 'record.json';
const resultFile = 'result.json';

/**
 * Makes one stage whose inputs are in the store, in a workshop that the caller has begun, and finishes it. Rejects with a
 * `FailureError`; a divergence is kept in the store as the stage's result before it is thrown.
 */
export const runStage = async (
  bench: Bench,
  stage: Stage,
  workshop: Workshop,
  emit: (event: StageEvent) => void,
): Promise<StageRecord> => {
  const warnings: string[] = [];
  const warn = (message: string): void => {
    if (warnings.includes(message)) return;
    warnings.push(message);
    emit({ type: 'warning', message });
  };
  const began = performance.now();
  const before = (await workshop.readJson<{ seconds: number }>('sittings.json'))?.seconds ?? 0;
  const seconds = () => before + (performance.now() - began) / 1000;
  const record = (more: Pick<StageRecord, 'training' | 'failure'>): StageRecord => ({
    id: stage.id,
    label: stage.label,
    kind: stage.work.kind,
    inputs: stage.inputs,
    parts: stage.parts,
    warnings,
    provenance: provenanceOf(bench),
    seconds: seconds(),
    ...more,
  });
  const finish = async (made: StageRecord): Promise<StageRecord> => {
    await workshop.remove('fits');
    await workshop.remove('sittings.json');
    await workshop.writeJson(recordFile, made);
    await workshop.finish();
    return made;
  };
  try {
    const sitting = { workshop, signal: bench.signal, checkpointEvery: bench.checkpointEvery, emit, warn };
    const training = await work(bench, stage, sitting);
    return await finish(record(training === undefined ? {} : { training }));
  } catch (error) {
    const failed = toFailure('plugin', stage.label)(error);
    if (failed.kind === 'diverged') await finish(record({ failure: failed }));
    else await workshop.writeJson('sittings.json', { seconds: seconds() }).catch(() => undefined);
    throw new FailureError(failed);
  }
};

/** A finished stage's record. */
export const readRecord = (artefact: Artefact): Promise<StageRecord> => artefact.json<StageRecord>(recordFile);
/** A finished measurement. */
export const readResult = <Value>(artefact: Artefact): Promise<Value> => artefact.json<Value>(resultFile);

const provenanceOf = ({ engine, version }: Bench): Provenance => ({
  undistill: version,
  engine: engine.class,
  engineVersion: engine.version,
  threads: engine.threads,
  gpus: engine.gpus,
  node: process.version,
  platform: `${process.platform}-${process.arch}`,
  finished: new Date().toISOString(),
});

/** Does what a stage is for, and leaves the result's files in its workshop. */
const work = async (bench: Bench, stage: Stage, sitting: Sitting): Promise<TrainingRecord | undefined> => {
  const { work } = stage;
  const { workshop, warn } = sitting;
  const { data, store } = bench;
  const { experiment } = bench.plan;
  const images: DataInUse = { data, experiment };
  const built = ({ network, recipe }: Learner): BuiltLearner => ({
    network: network.build(data.image, data.classes.length),
    recipe,
  });
  const optional = async (role: string): Promise<Artefact | undefined> => {
    const id = stage.inputs[role];
    return id === undefined ? undefined : store.find(id);
  };
  const input = async (role: string): Promise<Artefact> => {
    const found = await optional(role);
    if (found === undefined)
      throw new FailureError(failure('store', `the ${role} of ${stage.label} is missing`, { where: store.root }));
    return found;
  };
  /** A model of an earlier stage, for the length of `use`. */
  const borrowing = async <A>(
    role: string,
    learner: Learner,
    use: (variables: Variables) => Promise<A>,
  ): Promise<A> => {
    const variables = await readModel(await input(role), built(learner).network, experiment.select);
    try {
      return await use(variables);
    } finally {
      dispose(variables);
    }
  };
  const keep = async (network: Network, trained: Fitted<Variables>, set: TrainingSet): Promise<TrainingRecord> => {
    const { last, best, ...rest } = trained;
    const metadata = modelMetadata(data, network);
    await workshop.writeTensors(weightsFile.last, toStateDict(network, last), metadata);
    if (best !== undefined) await workshop.writeTensors(weightsFile.best, toStateDict(network, best.kept), metadata);
    dispose(best === undefined ? last : [last, best.kept]);
    return {
      steps: rest.steps,
      images: rest.images,
      queries: rest.queries,
      stepsPerSecond: rest.steps / rest.seconds,
      trainImages: set.train.indices.length,
      validationImages: set.validation?.indices.length ?? 0,
      ...(best === undefined ? {} : { best: { epoch: best.epoch, validation: best.validation } }),
      history: rest.history,
    };
  };

  switch (work.kind) {
    case 'teacher': {
      const set = allImages(images);
      const learner = built(work.learner);
      const context = contextOf(sitting, key(`seed ${work.seed}`).split('teacher').split(learner.network.name));
      return keep(learner.network, await orThrow(context.fit('teacher', normally(learner, set))), set);
    }
    case 'protect': {
      const { protect, name, adversary } = work.defense;
      if (protect === undefined) throw new FailureError(failure('plugin', `${name} trains nothing`));
      const set = allImages(images);
      const learner = built(work.learner);
      const adversaryLearner = adversary === undefined ? work.learner : { ...work.learner, network: adversary };
      const context = contextOf(sitting, key(`seed ${work.seed}`).split('protect').split(name));
      return borrowing('teacher', work.learner, (variables) =>
        borrowing('adversary', adversaryLearner, async (frozen) => {
          const given: DefenseContext = {
            ...context,
            ...set,
            adversary: { learner: built(adversaryLearner), variables: frozen },
          };
          return keep(learner.network, await ran(() => protect({ learner, variables }, given)), set);
        }),
      );
    }
    case 'steal': {
      const { attack, wrappers } = work;
      const student = built(work.student);
      const set = ownedImages(images, attack.data, work.seed);
      // One key for all attacks on one student net: differences between them are paired by seed.
      const context: AttackContext = {
        ...contextOf(sitting, key(`seed ${work.seed}`).split('student').split(student.network.name)),
        data: handOver(attack, set),
        fullStepsPerEpoch: stepsPerPass(allImages(images).train, work.student),
      };
      const steal = async (victim: Victim): Promise<TrainingRecord> =>
        keep(student.network, await ran(() => attack.steal(victim, student, context)), set);
      if (attack.needs === 'none') return steal({ frozen: {} });
      return borrowing('victim', work.teacher, (variables) =>
        steal(
          restrict(wrappers.reduce<Victim>(wrapped, publish(built(work.teacher).network, variables)), attack.needs),
        ),
      );
    }
    case 'evaluate': {
      const model = await input('model');
      const { network } = built(work.learner);
      const logits: Record<string, StoredTensor> = {};
      const hasBest = (await readRecord(model)).training?.best !== undefined;
      for (const checkpoint of hasBest ? (['last', 'best'] as const) : (['last'] as const)) {
        const variables = await readModel(model, network, checkpoint);
        for (const [part, set] of Object.entries(evaluationSets(images))) {
          const shape = [set.indices.length, network.classes];
          logits[`${checkpoint}/${part}`] = { shape, data: logitsOn(network, variables, set) };
        }
        dispose(variables);
      }
      await workshop.writeTensors(logitsFile, logits);
      return undefined;
    }
    case 'measure': {
      const model = await input('model');
      const adversary = await optional('adversary');
      if (adversary === undefined) {
        await workshop.writeJson(resultFile, await measure({ data, experiment }, model, await optional('victim')));
        return undefined;
      }
      const [normal, other] = [await optional('normal'), await optional('otherNormal')];
      const divergence = await diverge(
        experiment,
        model,
        adversary,
        normal === undefined || other === undefined ? undefined : [normal, other],
      );
      const warning = notNasty(divergence);
      if (warning !== undefined) warn(warning);
      await workshop.writeJson(resultFile, divergence);
      return undefined;
    }
  }
};

/** Runs a plugin's task; what it throws, at once or later, is a failure of its stage. */
const ran = async <A>(start: () => Task<A>): Promise<A> => {
  const task: unknown = start();
  if (typeof task !== 'function') {
    throw new Error('a plugin returns a task, such as context.fit gives, and this one returned something else');
  }
  const result: E.Either<Failure, A> = await (task as Task<A>)();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

const wrapped = (victim: Victim, { expose, name }: Defense): Victim => {
  if (expose === undefined) return victim;
  if (!('logProbabilities' in victim))
    throw new FailureError(failure('plugin', `${name} wraps probabilities, and there are none`));
  return expose(victim);
};

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

const modelMetadata = (data: Dataset, network: Network): Record<string, string> => ({
  network: network.name,
  classes: JSON.stringify(data.classes),
  image: JSON.stringify(data.image),
  normalisation: JSON.stringify(data.normalisation),
});

/** Weights of a finished stage; the caller owns them. */
const readModel = async (
  artefact: Artefact,
  network: Network,
  checkpoint: Experiment['select'],
): Promise<Variables> => {
  const { training } = await readRecord(artefact);
  const file = checkpoint === 'best' && training?.best !== undefined ? weightsFile.best : weightsFile.last;
  return fromStateDict(network, (await artefact.tensors(file)).tensors);
};
