import { ownsAShare } from '../attacks/attack.js';
import { batchesPerEpoch } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { shareOf } from '../data/subset.js';
import { countInUse } from '../experiment/data-access.js';
import type { Json } from '../experiment/identity.js';
import type { Plan, Stage } from '../experiment/plan.js';
import type { Learner } from '../train/recipe.js';
import type { StageRecord } from './record.js';

/** What is known of the time that stages take, from finished ones. */
export interface Speeds {
  /** Seconds of a stage like this one in all but its seed. */
  readonly ofLike: (stage: Stage) => number | undefined;
  /** Steps per second of the same network with the same batch, doing the same if there is such a record. */
  readonly steps: (stage: Stage) => number | undefined;
}

type Described = Pick<StageRecord, 'kind' | 'parts'>;

/** All but the seed, and the inputs that depend on it. */
const likeness = ({ kind, parts }: Described): string => {
  const { seed, inputs, ...rest } = parts;
  return JSON.stringify([kind, Object.keys((inputs as object | undefined) ?? {}), rest]);
};

const at = (value: Json | undefined, name: string): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, Json>>)[name]
    : undefined;

/** The network that a stage trains, with its batch. */
const trained = ({ parts }: Described): string | undefined => {
  const learner = parts.student ?? parts.learner;
  const network = at(learner, 'network');
  if (network === undefined) return undefined;
  return JSON.stringify([at(network, 'name'), at(network, 'params'), at(at(learner, 'recipe'), 'batch')]);
};

const doing = (of: Described): string =>
  JSON.stringify([trained(of), of.kind, at(of.parts.attack, 'name'), at(of.parts.defense, 'name')]);

const described = ({ work, parts }: Stage): Described => ({ kind: work.kind, parts });

export const speedsFrom = (records: readonly StageRecord[]): Speeds => {
  const seconds = new Map(records.map((record) => [likeness(record), record.seconds]));
  const trainings = records.flatMap((record) =>
    record.training === undefined ? [] : [{ record, speed: record.training.stepsPerSecond }],
  );
  const same = new Map(trainings.map(({ record, speed }) => [doing(record), speed]));
  const similar = new Map(trainings.map(({ record, speed }) => [trained(record), speed]));
  return {
    ofLike: (stage) => seconds.get(likeness(described(stage))),
    steps: (stage) => same.get(doing(described(stage))) ?? similar.get(trained(described(stage))),
  };
};

/** Steps of a training stage; undefined where its plugin decides. */
export const stepsOf = ({ work }: Stage, plan: Plan, data: Dataset): number | undefined => {
  // Counted, not chosen: every stage asks it of all that ask a victim the same.
  const { train } = countInUse(data.train.count, plan.experiment);
  const stepsOn = (images: number, { recipe: { epochs, batch } }: Learner) => epochs * batchesPerEpoch(images, batch);
  if (work.kind === 'teacher' || work.kind === 'protect') return stepsOn(train, work.learner);
  if (work.kind !== 'steal') return undefined;
  const { data: owned, params } = work.attack;
  if (!ownsAShare(owned)) return undefined;
  return stepsOn(params.steps === 'same' ? train : shareOf(owned.fraction, train), work.student);
};

/** Images about which a theft asks its victim, at most, where a plan tells; else 0. */
export const imagesAsked = (stage: Stage, plan: Plan, data: Dataset): number =>
  stage.work.kind === 'steal' ? (stepsOf(stage, plan, data) ?? 0) * stage.work.student.recipe.batch : 0;

/** Seconds that a stage will take, as far as earlier ones tell; never a guess. */
export const estimate = (stage: Stage, speeds: Speeds, plan: Plan, data: Dataset): number | undefined => {
  const like = speeds.ofLike(stage);
  if (like !== undefined) return like;
  const [steps, speed] = [stepsOf(stage, plan, data), speeds.steps(stage)];
  return steps === undefined || speed === undefined ? undefined : steps / speed;
};
