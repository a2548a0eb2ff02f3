import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { counted, showSeconds } from '../core/text.js';
import { firstFew } from '../data/assemble.js';
import type { Execution, Precision } from '../engine/execution.js';
import type { Experiment } from '../experiment/experiment.js';
import { type Plan, type Stage, trains } from '../experiment/plan.js';
import { selected } from '../experiment/select.js';
import { whyStale } from '../experiment/stale.js';
import { foldersOf, type Planned, planFor, plannedEngine } from '../harness/session.js';
import { estimate, type Speeds, speedsFrom } from '../run/estimate.js';
import type { StageRecord } from '../run/record.js';
import { isThere } from '../run/store.js';
import { type ExperimentOptions, openExperiments, outFolder } from './experiment-file.js';
import type { PlanFile } from './plan-file.js';
import { planName } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface PlanOptions extends ExperimentOptions {
  readonly only?: readonly string[];
  readonly out?: string | undefined;
  readonly engine?: Execution;
  readonly precision?: Precision;
}

/** What a run would do with a stage. */
export interface StageState {
  readonly stage: Stage;
  readonly state: 'cached' | 'failed' | 'begun' | 'stale' | 'to do';
  /** Why it is stale, or how it failed. */
  readonly reasons: readonly string[];
  /** Present when something is to be done, and it is known. */
  readonly seconds?: number;
}

const readJson = async <Value>(path: string): Promise<Value | undefined> => {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Value;
  } catch {
    return undefined;
  }
};

/** The records of all stages in a store, of whichever experiment, oldest first. */
const recordsIn = async (store: string): Promise<readonly StageRecord[]> => {
  const names = await readdir(store).catch(() => []);
  const records = await Promise.all(names.map((name) => readJson<StageRecord>(join(store, name, 'record.json'))));
  return records
    .flatMap((record) => (record?.parts === undefined ? [] : [record]))
    .sort((a, b) => (a.provenance.finished < b.provenance.finished ? -1 : 1));
};

/** Looks, and changes nothing: checksums are a run's business. */
const stateOf = async (
  stage: Stage,
  { plan, data, code }: Planned,
  store: string,
  earlier: PlanFile | undefined,
  speeds: Speeds,
): Promise<StageState> => {
  const record = await readJson<StageRecord>(join(store, stage.id, 'record.json'));
  if (record !== undefined) {
    const failed = record.failure?.what;
    return { stage, state: failed === undefined ? 'cached' : 'failed', reasons: failed === undefined ? [] : [failed] };
  }
  const seconds = estimate(stage, speeds, plan, data);
  const time = seconds === undefined ? {} : { seconds };
  if (await isThere(join(store, `${stage.id}.partial`))) return { stage, state: 'begun', reasons: [], ...time };
  const before = earlier?.stages.find(({ label }) => label === stage.label);
  if (before === undefined || before.id === stage.id) return { stage, state: 'to do', reasons: [], ...time };
  const reasons = whyStale(before.parts, stage.parts, {
    before: (hash) => earlier?.code[hash],
    after: (hash) => code[hash],
  });
  return { stage, state: 'stale', reasons, ...time };
};

const shownState = ({ state, reasons }: StageState): string =>
  reasons.length === 0 ? state : `${state}: ${firstFew(reasons, 3)}`;

/** What is left to do, in time: only what earlier stages tell. */
export const timeLeft = (states: readonly StageState[]): string => {
  const open = states.filter(({ state }) => state !== 'cached' && state !== 'failed');
  if (open.length === 0) return 'Nothing is left to do.';
  const known = open.flatMap(({ seconds }) => seconds ?? []);
  const unknown = open.filter(({ seconds, stage }) => seconds === undefined && trains(stage)).length;
  const total = showSeconds(known.reduce((sum, seconds) => sum + seconds, 0));
  if (unknown === 0) return `Time left: about ${total} in one process, by what earlier stages took.`;
  if (known.length === 0) return 'Time left: unknown until the first stages of its networks ran.';
  return `Time left: about ${total} in one process, by what earlier stages took, and ${counted(unknown, 'training')} of which nothing is known yet.`;
};

const tallied = (states: readonly StageState[]): string =>
  (['cached', 'begun', 'stale', 'failed', 'to do'] as const)
    .map((state) => [state, states.filter((each) => each.state === state).length] as const)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ');

const notApplicable = ({ cells }: Plan): readonly string[] => [
  ...new Set(
    cells.flatMap(({ stages, attack, defense, reason }) =>
      stages === undefined ? [`n/a: ${attack} on ${defense}: ${reason}`] : [],
    ),
  ),
];

export const planCommand = async (file: string, options: PlanOptions, out: Terminal = terminal()): Promise<number> => {
  const experiments = await openExperiments(file, options);
  const engine = await plannedEngine(options.engine, options.precision);
  for (const [i, one] of experiments.entries()) {
    if (i > 0) out.log('');
    if (experiments.length > 1) out.log(`${one.experiment.name}:`);
    await planOne(one.experiment, { ...options, out: outFolder(options.out, one, experiments.length) }, engine, out);
  }
  return 0;
};

const planOne = async (experiment: Experiment, options: PlanOptions, engine: string, out: Terminal): Promise<void> => {
  const planned = await planFor(experiment, engine, {
    onNote: (note) => warn(out, note),
  });
  const { plan } = planned;
  const chosen = options.only === undefined ? plan : selected(plan, options.only, '--only');
  const folders = foldersOf(experiment, options.out);
  const earlier = await readJson<PlanFile>(join(folders.run, planName));
  const speeds = speedsFrom(await recordsIn(folders.store));
  const states = await Promise.all(
    chosen.stages.map((stage) => stateOf(stage, planned, folders.store, earlier, speeds)),
  );
  const [labels, kinds] = [
    Math.max(...states.map(({ stage }) => stage.label.length)),
    Math.max(...states.map(({ stage }) => stage.work.kind.length)),
  ];
  for (const state of states) {
    const { label, work } = state.stage;
    out.log(`${label.padEnd(labels)}  ${work.kind.padEnd(kinds)}  ${shownState(state)}`);
  }
  for (const line of notApplicable(plan)) out.log(line);
  out.log(
    `${counted(plan.cells.length, 'cell')}, ${counted(experiment.seeds.length, 'seed')}; ${counted(states.length, 'stage')}: ${tallied(states)}.`,
  );
  out.log(timeLeft(states));
};
