import { type Failure, FailureError } from '../core/errors.js';
import { extent, own, unique } from '../core/lists.js';
import { counted, firstFew, showBytes, showSeconds, whole } from '../core/text.js';
import { version } from '../core/version.js';
import type { Dataset } from '../data/dataset.js';
import { loadEngine } from '../engine/engine.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import type { Plan } from '../experiment/plan.js';
import type { Stage } from '../experiment/stage.js';
import { whyStale } from '../experiment/stale.js';
import type { PlanFile } from '../harness/plan-file.js';
import { foldersOf, type Located, loadImages, type Planned, planFor, plannedEngine } from '../harness/session.js';
import { checkpointEvery } from '../run/defaults.js';
import { type Forecast, forecast } from '../run/forecast.js';
import type { StageRecord } from '../run/record.js';
import { type Recording, recordingsIn } from '../run/recordings.js';
import { bytesOfStages } from '../run/room.js';
import { recordIn } from '../run/stage-files.js';
import { openStore, type StageFolder, type Store, stagesIn } from '../run/store.js';
import { chosenOf, type ExperimentOptions, openExperiments, outFolder } from './experiment-file.js';
import { readPlan } from './run-folder.js';
import { otherOwner } from './run-owner.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface PlanOptions extends ExperimentOptions {
  readonly only?: readonly string[];
  readonly out?: string | undefined;
  readonly execution?: Execution;
  readonly precision?: CardPrecision;
  /** Bytes. */
  readonly answers: number | 'off';
  /** Whether a few steps are timed. */
  readonly time: boolean;
  /** Whether every stage has a line. */
  readonly verbose?: boolean;
}

/** What a run would do with a stage. */
export interface StageState {
  readonly stage: Stage;
  readonly state: 'cached' | 'failed' | 'begun' | 'stale' | 'to do';
  /** Why it is stale, or how it failed. */
  readonly reasons: readonly string[];
}

/** The record of every finished stage in a store by the stage's id, of whichever experiment, oldest first. */
const recordsOf = async (stored: ReadonlyMap<string, StageFolder>): Promise<ReadonlyMap<string, StageRecord>> => {
  const finished = [...stored].filter(([, { state }]) => state === 'finished');
  const records = await Promise.all(finished.map(async ([id, { folder }]) => ({ id, record: await recordIn(folder) })));
  return new Map(
    records
      .flatMap(({ id, record }): [string, StageRecord][] => (record?.parts === undefined ? [] : [[id, record]]))
      .sort(([, a], [, b]) => (a.provenance.finished < b.provenance.finished ? -1 : 1)),
  );
};

/** What a run would do with a stage. Looks, and changes nothing: checksums are a run's business. */
const stateOf = (
  stage: Stage,
  { code }: Planned,
  { record, isBegun }: { readonly record: StageRecord | undefined; readonly isBegun: boolean },
  earlier: PlanFile | undefined,
): StageState => {
  if (record !== undefined) {
    const failed = record.failure?.what;
    return { stage, state: failed === undefined ? 'cached' : 'failed', reasons: failed === undefined ? [] : [failed] };
  }
  if (isBegun) return { stage, state: 'begun', reasons: [] };
  const before = earlier?.stages.find(({ label }) => label === stage.label);
  if (before === undefined || before.id === stage.id) return { stage, state: 'to do', reasons: [] };
  const reasons = whyStale(before.parts, stage.parts, {
    before: (hash) => own(earlier?.code, hash),
    after: (hash) => own(code, hash),
  });
  return { stage, state: 'stale', reasons };
};

const shownState = ({ state, reasons }: StageState): string =>
  reasons.length === 0 ? state : `${state}: ${firstFew(reasons, 3)}`;

const isOpen = ({ state }: StageState): boolean => state !== 'cached' && state !== 'failed';

/** What is left to do, in time. */
export const timeLeft = ({ total, unknown, untimed }: Pick<Forecast, 'total' | 'unknown' | 'untimed'>): string => {
  const left = (how: string): string =>
    `Time left: ${how} ${showSeconds(total)}, by a few steps of each kind on this machine`;
  const without = [
    ...(unknown === 0 ? [] : [`${counted(unknown, 'stage')} that cannot be timed beforehand`]),
    ...(untimed === 0 ? [] : [`${counted(untimed, 'stage')} left untimed when timing was ended`]),
  ];
  return without.length === 0 ? `${left('about')}.` : `${left('at least')}, without ${without.join(' and ')}.`;
};

/** The forecast of a plan's stages that are still to be made; where no engine runs, why there is none. */
const forecastOf = async (
  planned: Planned,
  open: readonly Stage[],
  { execution, precision, answers }: PlanOptions,
  store: Store,
  out: Terminal,
): Promise<Forecast | string> => {
  const engine = await loadEngine({ execution, precision, say: () => undefined }).catch((error: unknown) => {
    if (error instanceof FailureError && error.failure.kind === 'engine') return error.failure;
    throw error;
  });
  if ('kind' in engine) return `${engine.what}.${engine.remedy ? ` ${engine.remedy}` : ''}`;
  if (!engine.native) return 'nothing is timed in pure JavaScript.';
  const environment = {
    ...planned,
    engine,
    store,
    version: await version(),
    checkpointEvery,
    answers: answers === 'off' ? undefined : answers,
  };
  return forecast(environment, open, { tell: timingOn(out) });
};

/** Tells of a forecast that is made. */
export const timingOn =
  (out: Terminal) =>
  (done: number, of: number): void =>
    out.foot(done === of ? undefined : `  timing a few steps of each kind of stage: ${done} of ${of}`);

const tallied = (states: readonly StageState[]): string =>
  (['cached', 'begun', 'stale', 'failed', 'to do'] as const)
    .map((state) => [state, states.filter((each) => each.state === state).length] as const)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${whole(count)} ${state}`)
    .join(', ');

/** Victims that are told of one by one. */
const mostShared = 4;

/** Whom a run asks once for several students that are still to be trained, and whom each of them asks, for lack of room. */
export const answersShared = (
  plan: Plan,
  data: Dataset,
  states: readonly StageState[],
  limit: number | 'off',
): readonly string[] => {
  if (limit === 'off') return [];
  const open = states.filter(isOpen).map(({ stage }) => stage);
  const groups = recordingsIn({ plan, data, answers: limit }, open).filter(({ stages }) => stages.length > 1);
  if (groups.length <= mostShared) return groups.map(sharedInWords);
  const [recorded, others] = [true, false].map((which) => groups.filter(({ isRecorded }) => isRecorded === which));
  return [
    ...together(recorded as Recording[], (bytes) => `each is answered once and reused (${bytes}).`),
    ...together(others as Recording[], (bytes) => `there is no room to record the answers, ${bytes} (--answers).`),
  ];
};

const sharedInWords = ({ sharing: { victim }, stages, images, bytes, isRecorded }: Recording): string => {
  const asked = `${victim} is asked${images === 0 ? '' : ` about ${counted(images, 'image')}`}`;
  if (!isRecorded)
    return `${asked} by each of ${stages.length} attacks: there is no room to record the answers, ${showBytes(bytes)} (--answers).`;
  return `${asked} once for ${stages.length} attacks${images === 0 ? '' : `, recorded in ${showBytes(bytes)}`}.`;
};

const together = (groups: readonly Recording[], said: (bytes: string) => string): readonly string[] => {
  if (groups.length === 0) return [];
  const sum = (of: (group: Recording) => number): number => groups.reduce((total, group) => total + of(group), 0);
  const attacks = sum(({ stages }) => stages.length);
  return [
    `${attacks} attacks share ${counted(groups.length, 'set')} of queries: ${said(showBytes(sum(({ bytes }) => bytes)))}`,
  ];
};

/** Lines of a kind that a summary has at most. */
const fewLines = 5;

/** Every stage in a line. */
const listed = (states: readonly StageState[]): readonly string[] => {
  const widest = (of: (stage: Stage) => string): number => extent(states.map(({ stage }) => of(stage).length))[1];
  const [labels, kinds] = [widest(({ label }) => label), widest(({ work }) => work.kind)];
  return states.map(
    (state) => `${state.stage.label.padEnd(labels)}  ${state.stage.work.kind.padEnd(kinds)}  ${shownState(state)}`,
  );
};

/** For what reasons stages are stale or failed, each with how many. What only follows from others is told of them. */
const whyAnew = (states: readonly StageState[]): readonly string[] =>
  (['stale', 'failed'] as const).flatMap((state) => {
    const reasons = states
      .filter((each) => each.state === state)
      .flatMap((each) => each.reasons.filter((reason) => !/^its .* changed$/.test(reason)));
    const counts = unique(reasons).map((reason) => [reason, reasons.filter((each) => each === reason).length] as const);
    const most = [...counts].sort(([, a], [, b]) => b - a);
    return [
      ...most.slice(0, fewLines).map(([reason, count]) => `${state}: ${reason} (${counted(count, 'stage')})`),
      ...(most.length > fewLines ? [`${state}: ${most.length - fewLines} more reasons (--verbose)`] : []),
    ];
  });

/** What is made of each kind of stage, in words. */
const nouns: Readonly<Partial<Record<Stage['work']['kind'], string>>> = {
  teacher: 'teacher',
  protect: 'protected teacher',
  prepare: 'preparation',
  synthesise: 'pool of images',
  steal: 'student',
};

/** How many of what takes long is to be made, and how long that takes where it is known. */
const toMake = (
  open: readonly Stage[],
  seconds: ((stage: Stage) => number | undefined) | undefined,
): readonly string[] => {
  const taking = (stages: readonly Stage[]): string => {
    const time = stages.reduce((sum, stage) => sum + (seconds?.(stage) ?? 0), 0);
    return time > 0 ? ` (${showSeconds(time)})` : '';
  };
  const parts = (Object.keys(nouns) as (keyof typeof nouns)[]).flatMap((kind) => {
    const own = open.filter(({ work }) => work.kind === kind);
    if (own.length === 0) return [];
    const noun = nouns[kind] as string;
    const plural = noun === 'pool of images' ? 'pools of images' : `${noun}s`;
    return [`${counted(own.length, noun, plural)}${taking(own)}`];
  });
  const looking = taking(open.filter(({ work }) => nouns[work.kind] === undefined));
  if (looking !== '') parts.push(`their evaluation${looking}`);
  return parts.length === 0 ? [] : [`To make: ${parts.join(', ')}.`];
};

const notApplicable = ({ cells }: Plan): readonly string[] => [
  ...new Set(
    cells.flatMap(({ stages, attack, defense, reason }) =>
      stages === undefined ? [`n/a: ${attack} on ${defense}: ${reason}`] : [],
    ),
  ),
];

/** `12`; of what is only a part, `4 of 12`. */
const partOf = (part: number, all: number, noun: string): string =>
  part === all ? counted(all, noun) : `${whole(part)} of ${counted(all, noun)}`;

/** What the chosen stages of a plan come to: how many cells, seeds and stages, and of how many. */
export const scopeOf = (plan: Plan, chosen: Plan): string => {
  const ids = new Set(chosen.stages.map(({ id }) => id));
  const cells = plan.cells.filter(({ stages }) => stages !== undefined);
  const made = cells.filter(({ stages }) => ids.has(stages?.measure as string));
  const impossible = plan.cells.length - cells.length;
  const seedsIn = (of: Plan['cells']): number => unique(of.map(({ seed }) => seed)).length;
  const seeds = made.length === 0 ? '' : `, ${partOf(seedsIn(made), seedsIn(plan.cells), 'seed')}`;
  return `${partOf(made.length, cells.length, 'cell')}${
    impossible === 0 ? '' : ` (${whole(impossible)} more n/a)`
  }${seeds}; ${partOf(ids.size, plan.stages.length, 'stage')}`;
};

export const planCommand = async (file: string, options: PlanOptions, out: Terminal = terminal()): Promise<number> => {
  const experiments = await openExperiments(file, options);
  const engine = await plannedEngine(options.execution, options.precision);
  for (const [i, one] of experiments.entries()) {
    if (i > 0) out.log('');
    if (experiments.length > 1) out.log(`${one.experiment.name}:`);
    await planOne(one, { ...options, out: outFolder(options.out, one, experiments.length) }, engine, out);
  }
  return 0;
};

/** What `run` would refuse. */
const refusedAs = ({ where, what, remedy }: Failure): string => `run refuses ${where}: ${what}. ${remedy}`;

const planOne = async (
  { experiment, path }: Located,
  options: PlanOptions,
  engine: string,
  out: Terminal,
): Promise<void> => {
  // No image is looked at, unless steps are timed: what a set is called by is checked without them.
  const planned = await planFor(experiment, engine, { onNote: (note) => warn(out, note), inMemory: 0 });
  const { plan } = planned;
  const chosen = chosenOf(plan, options);
  const folders = foldersOf(experiment, options.out);
  const earlier = await readPlan(folders.run).catch(() => undefined);
  const owner = otherOwner(earlier, plan, { folder: folders.run, path });
  if (owner !== undefined) warn(out, 'warning' in owner ? owner.warning : refusedAs(owner.refusal));
  const stored = await stagesIn(folders.store);
  const records = await recordsOf(stored);
  const states = chosen.stages.map((stage) => {
    const { id } = stage;
    const found = { record: records.get(id), isBegun: stored.get(id)?.state === 'begun' };
    return stateOf(stage, planned, found, earlier);
  });
  const open = states.filter(isOpen).map(({ stage }) => stage);
  if (options.verbose) for (const line of listed(states)) out.log(line);
  const missing = notApplicable(plan);
  for (const line of options.verbose ? missing : missing.slice(0, fewLines)) out.log(line);
  if (!options.verbose && missing.length > fewLines) out.log(`n/a: ${missing.length - fewLines} more (--verbose)`);
  for (const line of whyAnew(states)) out.log(line);
  out.log(`${scopeOf(plan, chosen)}: ${tallied(states)}.`);
  for (const line of answersShared(plan, planned.data, states, options.answers)) out.log(line);
  if (open.length === 0) return out.log('Nothing is left to do.');
  const store = openStore(folders.store, () => undefined, { reading: true });
  const inMemory = async (): Promise<Planned> => ({ ...planned, ...(await loadImages(experiment)) });
  const left = options.time ? await forecastOf(await inMemory(), open, options, store, out) : undefined;
  const seconds = typeof left === 'object' ? left.seconds : undefined;
  for (const line of toMake(open, seconds)) out.log(line);
  if (left !== undefined) out.log(typeof left === 'string' ? `Time left: not known: ${left}` : timeLeft(left));
  out.log(`Disk: about ${showBytes(bytesOfStages(open, planned))}, without what is synthesised or recorded.`);
  if (!options.verbose) out.log('Every stage by itself: --verbose.');
};
