import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AnyAttack, ownsAShare } from '../attacks/attack.js';
import { cacheFolder } from '../core/cache-folder.js';
import { sha256 } from '../core/hash.js';
import { jsonText } from '../core/text.js';
import { processorName } from '../engine/setup/processor.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { recordedSharings } from './recordings.js';
import { stepsOf } from './steps.js';
import { writeWhole } from './store.js';
import { type StageTime, timeStage } from './timing.js';
import type { RunEnvironment } from './types.js';

/** How long stages will take. */
export interface Forecast {
  /** Undefined where nothing is known. */
  readonly seconds: (stage: Stage) => number | undefined;
  /** Of all stages that were asked about, one after the other on all cores. */
  readonly total: number;
  /** Stages that take their time and of which nothing is known, since a few steps of their kind could not be taken. */
  readonly unknown: number;
  /** Those of kinds that were not come to. */
  readonly untimed: number;
}

/** What was timed of a kind of stages; `steps` where a plan tells how many there were. */
interface Timed extends StageTime {
  readonly steps?: number;
}

type Times = Readonly<Record<string, Timed>>;

export interface ForecastOptions {
  /** Seconds after which no other kind of stage is timed. Default 60. */
  readonly limit?: number;
  /** Told how many kinds are timed, of how many. */
  readonly tell?: (done: number, of: number) => void;
  /** The file in which times are kept for the next time. Default: in the cache folder. */
  readonly file?: string;
  /** Times a stage. Default: in this process. */
  readonly time?: (stage: Stage) => Promise<StageTime | undefined>;
}

/**
 * Times a few steps of each kind of stage among those that are still to be made, unless they were timed before on such
 * a machine, and tells how long all will take: where several thefts ask the same, the first as it is and the others
 * with its answers.
 */
export const forecast = async (
  environment: RunEnvironment,
  stages: readonly Stage[],
  {
    limit = 60,
    tell = () => undefined,
    file = join(cacheFolder(), 'times.json'),
    time: timed = (stage) => timeStage(environment, stage),
  }: ForecastOptions = {},
): Promise<Forecast> => {
  const { plan, data } = environment;
  const kind = (stage: Stage): string => kindOf(stage, environment);
  const byKind = new Map<string, Stage[]>();
  for (const stage of stages)
    if (takesLong(stage.work) || stage.work.kind === 'evaluate')
      byKind.set(kind(stage), [...(byKind.get(kind(stage)) ?? []), stage]);
  let times = await readTimes(file);
  const lacking = [...byKind].filter(([name]) => times[name] === undefined);
  // What there is most of first.
  const size = ([, all]: readonly [string, readonly Stage[]]): number =>
    all.reduce((sum, stage) => sum + (stepsOf(stage, plan, data) ?? 1), 0);
  // Why a kind cannot be timed may have gone the next time: memory that others took, a plugin that is mended.
  const failed = new Set<string>();
  const began = performance.now();
  for (const [i, [name, [stage]]] of lacking.sort((a, b) => size(b) - size(a)).entries()) {
    if (environment.signal?.aborted || performance.now() - began > 1000 * limit) break;
    tell(i, lacking.length);
    const time = await timed(stage as Stage);
    // Stopped, it says nothing of the stage.
    if (environment.signal?.aborted) break;
    const steps = stepsOf(stage as Stage, plan, data);
    if (time === undefined) failed.add(name);
    else times = { ...times, [name]: { ...time, ...(steps === undefined ? {} : { steps }) } };
  }
  tell(lacking.length, lacking.length);
  // That they are not kept is no reason to stop.
  if (lacking.length > 0) await writeWhole(file, jsonText(times)).catch(() => undefined);

  const reading = readers(environment, stages);
  const seconds = (stage: Stage): number | undefined => {
    const timed = times[kind(stage)];
    if (timed === undefined) return takesLong(stage.work) ? undefined : 0;
    const own = stepsOf(stage, plan, data);
    const factor = own === undefined || timed.steps === undefined ? 1 : own / timed.steps;
    return factor * (reading.has(stage) ? timed.replayed : timed.live);
  };
  const without = (isFailed: boolean): number =>
    [...byKind]
      .filter(([name]) => times[name] === undefined && failed.has(name) === isFailed)
      .reduce((sum, [, all]) => sum + all.length, 0);
  return {
    seconds,
    total: stages.reduce((sum, stage) => sum + (seconds(stage) ?? 0), 0),
    unknown: without(true),
    untimed: without(false),
  };
};

/** Thefts that will find their answers recorded by another one. */
const readers = (environment: RunEnvironment, stages: readonly Stage[]): ReadonlySet<Stage> => {
  const open = new Set(stages);
  return new Set(
    recordedSharings(environment, stages).flatMap((sharing) =>
      sharing.stages.filter((stage) => open.has(stage)).slice(1),
    ),
  );
};

/** Parameters that say how long an attack takes beside its student's recipe: those that a shorter schedule shortens. */
const iterationsOf = ({ params, scaled }: AnyAttack): unknown => {
  const half = scaled?.(0.5).params ?? params;
  return Object.entries(params).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(half[name]));
};

/** All that the time of a stage depends on, but for its number of steps where a plan tells it. */
const kindOf = ({ work, parts }: Stage, { engine, version }: Pick<RunEnvironment, 'engine' | 'version'>): string => {
  const { own = '', threads, execution, gpus } = engine;
  const machine = [version, engine.version, own, threads, execution, ...(gpus.length > 0 ? gpus : [processorName()])];
  const { seed: _, inputs: __, harness: ___, undistill: ____, engine: _____, data, ...rest } = parts;
  const fingerprint = (data as { readonly fingerprint?: string } | undefined)?.fingerprint;
  if (work.kind !== 'steal') return hashOf([machine, work.kind, rest, fingerprint]);
  const { attack, student, teacher, wrappers } = work;
  return hashOf([
    machine,
    work.kind,
    [
      attack.name,
      ...(ownsAShare(attack.data) ? [attack.data.kind, attack.questions, iterationsOf(attack)] : [attack.params]),
    ],
    [student.network.name, student.network.params, student.recipe.batch, student.recipe.precision ?? ''],
    [teacher.name, teacher.params, wrappers.map(({ name, params }) => [name, params])],
    fingerprint,
  ]);
};

const hashOf = (parts: unknown): string => sha256(JSON.stringify(parts)).slice(0, 32);

const readTimes = async (file: string): Promise<Times> => {
  try {
    const found: unknown = JSON.parse(await readFile(file, 'utf8'));
    // Earlier versions noted by null what could not be timed.
    return Object.fromEntries(Object.entries(found ?? {}).filter(([, time]) => time !== null)) as Times;
  } catch {
    // What is missing or damaged is timed again.
    return {};
  }
};
