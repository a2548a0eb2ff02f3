import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { FailureError, failure, orFail, toFailure } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { repeated, unique } from '../core/lists.js';
import type { Dataset, DatasetPlugin, LoadOptions } from '../data/dataset.js';
import { load } from '../data/load.js';
import { partsOf } from '../defenses/defense.js';
import { arithmeticOf, defaultExecution, type Engine, engineChoice, loadEngine } from '../engine/engine.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import { ownHash } from '../engine/setup/own-source.js';
import { thisProcessor, vectorLevel } from '../engine/setup/processor.js';
import { TENSORFLOW, TFJS_NODE } from '../engine/setup/wheels.js';
import { refuseAlikeIn } from '../experiment/alike.js';
import type { Others } from '../experiment/data-access.js';
import { type Experiment, isExperiment } from '../experiment/experiment.js';
import { type Source, sourcesIn } from '../experiment/identity.js';
import { readCode } from '../experiment/numbers.js';
import { type Plan, plan, plannedValues } from '../experiment/plan.js';
import { readWeights } from '../experiment/pretrained.js';
import { stageLabels } from '../experiment/stage.js';
import type { MetricValues } from '../metrics/metric.js';
import { type Finished, matrix } from '../results/matrix.js';
import type { Matrix } from '../results/types.js';
import { readLocally } from '../run/executor.js';
import { readResult } from '../run/outputs.js';
import type { Divergence, Measures, Outcome } from '../run/record.js';
import { alteredFile, type Store, storeOf } from '../run/store.js';
import { isPretrained } from '../train/pretrained.js';

/**
 * Makes TypeScript importable, with `undistill` in it as this package, and stacks tell of its lines, as tsx has it. Compiled or not, `bin` lies two
 * folders above.
 */
const registerLoader = async (): Promise<void> => {
  const loader = await import(new URL('../../bin/loader.js', import.meta.url).href);
  await loader.registerLoader();
};

/** An experiment and where it is found again: its file, and `#name` after it where the file has several. */
export interface Located {
  readonly file: string;
  /** The path alone. */
  readonly path: string;
  readonly experiment: Experiment;
}

/**
 * The experiments that a file exports by default: one, or a list of them, of which `file#name` is one. Rejects with a
 * `FailureError` of kind `experiment` when the file is missing, does not compile, throws, or exports something else, or plugins of several
 * experiments of it that nothing tells apart.
 */
export const readExperiments = async (file: string): Promise<readonly Located[]> => {
  const [, before, name] = existsSync(resolve(file)) ? [] : (/^(.+)#([^#]+)$/.exec(file) ?? []);
  const place = before ?? file;
  const exported = await exportedBy(place);
  const several = Array.isArray(exported);
  const found: readonly unknown[] = several ? exported : [exported];
  if (found.length === 0 || !found.every(isExperiment)) {
    throw new FailureError(
      failure('experiment', 'the file has no experiment as its default export', {
        where: place,
        remedy:
          'End it with: export default experiment({ … }), or with a list of experiments. What only looks like one, or is a copy with other fields, is none.',
      }),
    );
  }
  // Also where one is chosen: the others may have been run before, or be run next.
  if (several) refuseAlikeIn(found);
  const names = found.map((experiment) => experiment.name);
  const twice = repeated(names);
  if (twice !== undefined) {
    throw new FailureError(
      failure('experiment', `two of its experiments are called ${twice}`, {
        where: place,
        remedy: 'Give each a name of its own.',
      }),
    );
  }
  const wanted = name === undefined ? found : found.filter((experiment) => experiment.name === name);
  if (wanted.length === 0) {
    throw new FailureError(
      failure('usage', `there is no experiment ${name}`, { where: place, remedy: `It has: ${names.join(', ')}.` }),
    );
  }
  return wanted.map((experiment) => ({
    file: several ? `${place}#${experiment.name}` : place,
    path: place,
    experiment: { ...experiment, file: resolve(place) },
  }));
};

const exportedBy = async (file: string): Promise<unknown> => {
  const path = resolve(file);
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new FailureError(
      failure('experiment', existsSync(path) ? 'it is a folder' : 'there is no such file', {
        where: file,
        remedy: existsSync(`${path}.ts`) ? `There is ${file}.ts.` : 'Give the path of an experiment file.',
      }),
    );
  }
  await registerLoader();
  try {
    const module: { default?: unknown } = await import(pathToFileURL(path).href);
    return module.default;
  } catch (error) {
    throw new FailureError(withPlace(error, file));
  }
};

/** A failure of ours with the file before its field; a syntax error as the compiler words it; anything else as it is. */
const withPlace = (error: unknown, file: string) => {
  const failed = toFailure('experiment')(error);
  const missing = /Cannot find (?:package|module) '([^']+)'/.exec(failed.what)?.[1];
  const remedy = missing?.startsWith('/') ? 'Check the path.' : `Check the path, or install the package: ${missing}.`;
  // Of a name that a module does not have, Node tells which file asks for it before the message alone.
  const asking = / does not provide an export named /.test(failed.what)
    ? /^(?:file:\/\/)?(.+:\d+)\n/.exec((error as Error).stack ?? '')?.[1]
    : undefined;
  if (asking !== undefined) return { ...failed, where: asking, remedy: 'Correct the name, or take it out.' };
  const assigned = /^Cannot assign to read only property '(\w+)'/.exec(failed.what)?.[1];
  const copied = `Plugins stay as they were made: change a copy, { ...plugin, ${assigned}: … }.`;
  return {
    ...failed,
    where: failed.where === undefined ? file : `${file}: ${failed.where}`,
    ...(missing === undefined || failed.remedy !== undefined ? {} : { remedy }),
    ...(assigned === undefined ? {} : { remedy: copied }),
  };
};

/** A plan, and what it was made of. */
export interface Planned {
  readonly plan: Plan;
  readonly data: Dataset;
  /** The other data sets that attackers own. */
  readonly others: Others;
  /** By the hash of some code that is in the plan's identities: its files, with a hash each. */
  readonly code: Readonly<Record<string, Source['files']>>;
}

export interface Prepared extends Planned {
  readonly engine: Engine;
}

/** Says of which stage of a plan a file was altered on disk: what a store is opened with that makes it anew. */
export const tellingAltered = (plan: Plan, say: (note: string) => void): ((id: string, file: string) => void) => {
  const labels = stageLabels(plan);
  return (id, file) => say(`${labels.get(id) ?? id}: ${alteredFile(file)}`);
};

/** Loads the data of an experiment and plans it for an engine's arithmetic. */
export const planFor = async (experiment: Experiment, engine: string, options: LoadOptions = {}): Promise<Planned> => {
  const { data, others } = await loadImages(experiment, options);
  const weights = isPretrained(experiment.teacher) ? await readWeights(experiment.teacher) : undefined;
  const plugins = sourcesIn(plannedValues(experiment));
  const mine = experiment.file === undefined ? [] : [experiment.file];
  const sources = await readCode([...plugins, ...mine, ...training, ...measuring]);
  const sourceOf = (url: string): Source => sources.get(url) as Source;
  const modules = new Map([...plugins].map((url) => [url, sourceOf(url)]));
  const [own] = mine.map(sourceOf);
  const harness = {
    training: mergedSources(training.map(sourceOf)),
    measuring: mergedSources(measuring.map(sourceOf)),
  };
  const hashes = { training: harness.training.hash, measuring: harness.measuring.hash };
  const planned = plan(experiment, {
    data,
    others,
    weights,
    code: { modules, experiment: own },
    harness: hashes,
    engine,
  });
  for (const warning of planned.warnings) options.onNote?.(warning);
  return {
    plan: planned,
    data,
    others,
    code: Object.fromEntries(
      [...modules.values(), ...(own ? [own] : []), ...Object.values(harness)].map(({ hash, files }) => [hash, files]),
    ),
  };
};

/** The data set of an experiment, and those that attackers own and defences look at. */
export const loadImages = async (
  experiment: Experiment,
  options: LoadOptions = {},
): Promise<Pick<Planned, 'data' | 'others'>> => {
  const data = await load(experiment.data, options);
  const others = new Map<DatasetPlugin, Dataset>();
  const asked = [
    ...experiment.attacks.flatMap(({ attack: { data } }) => (data.kind === 'other' ? [data.images] : [])),
    ...experiment.defenses.flatMap(({ defense }) => partsOf(defense).flatMap(({ outliers }) => outliers ?? [])),
  ];
  for (const images of unique(asked)) others.set(images, await load(images, options));
  return { data, others };
};

/** Loads the engine and the data of an experiment and plans it. */
export const prepare = async (experiment: Experiment, options: LoadOptions = {}): Promise<Prepared> => {
  const engine = await loadEngine();
  return { ...(await planFor(experiment, arithmeticOf(engine), options)), engine };
};

/** The arithmetic of the engine that a run would load; it is only loaded where that cannot be told otherwise. */
export const plannedEngine = async (
  execution: Execution | undefined,
  precision: CardPrecision | undefined,
): Promise<string> => {
  const choice = orFail(await engineChoice());
  if (choice.use === 'tfjs-cpu') return 'tfjs-cpu';
  // CUDA's wheel computes on the processor where there is no card.
  if (choice.use === 'tensorflow' && choice.recipe.variant === 'cpu') {
    const kind = 'tensorflow-cpu';
    const how = execution ?? defaultExecution(kind);
    const vectors = vectorLevel(thisProcessor());
    return arithmeticOf({ class: kind, execution: how, precision: 'float32', own: ownHash(), vectors });
  }
  return arithmeticOf(await loadEngine({ execution, precision }));
};

// The code that stages run through besides their plugins: recipes are values, so what they are made of is named here.
// Compiled or not, the modules lie beside this one with its ending.
const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const beside = (module: string): string => new URL(`${module}${ending}`, import.meta.url).href;
const training = ['../run/train-stage', '../train/optimizers', '../train/schedules'].map(beside);
const measuring = ['../run/measure', '../run/inspect'].map(beside);

const mergedSources = (sources: readonly Source[]): Source => ({
  hash: sha256([TENSORFLOW, TFJS_NODE, ...sources.map(({ hash }) => hash)].join()).slice(0, 16),
  files: Object.assign({ TensorFlow: TENSORFLOW, 'TensorFlow.js': TFJS_NODE }, ...sources.map(({ files }) => files)),
});

/** Where an experiment's tables and logs go, and where all experiments under one root keep their stages. */
export const foldersOf = (
  experiment: Experiment,
  out: string | undefined,
): { readonly run: string; readonly store: string } => {
  const run = resolve(out ?? join('runs', experiment.name));
  return { run, store: storeOf(run) };
};

/** The matrix of what became of a plan's stages; of those that were not asked for, what the store has of them. */
export const collect = async (
  { plan: of, data }: Pick<Prepared, 'plan' | 'data'>,
  store: Store,
  outcomes: ReadonlyMap<string, Outcome>,
): Promise<Matrix> => {
  const finished = new Map<string, Finished>();
  for (const stage of of.stages) {
    const { id, work } = stage;
    const outcome = outcomes.get(id) ?? (await readLocally(store, stage));
    if (outcome === undefined) continue;
    const measured = work.kind === 'measure' && (outcome.status === 'done' || outcome.status === 'cached');
    const output = measured ? await store.find(id) : undefined;
    finished.set(
      id,
      output === undefined
        ? { outcome }
        : { outcome, result: await readResult<Measures | MetricValues | Divergence>(output) },
    );
  }
  return matrix(of, finished, data.fingerprint);
};
