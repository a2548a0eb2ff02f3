import { cp, mkdir, readdir, readFile, rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { cacheFolder } from '../src/core/cache-folder.js';
import { withLock } from '../src/core/lock.js';
import type { Matrix } from '../src/results/types.js';
import { isThere } from '../src/run/store.js';
import { lasting, type Project, project, type Ran, tensorsIn, tiny } from '../test/cli/project.js';
import { must } from './case.js';

/**
 * Asks one question several times, takes rounded answers, and makes images: every kind of file comes of it. An honest student is
 * trained for 27 steps, and DAFL's for more.
 */
export const everything = tiny({
  imports: "import { dafl, rounding } from 'undistill';",
  defenses: 'none(), rounding(2)',
  attacks: `kd(), kd({ temperature: 20 }),
    dafl({ batch: 8, epochs: 1, stepsPerEpoch: 32, latent: 6, width: 4, keep: 16, pictureEvery: 8 })`,
});

/**
 * What a defence prepares, what is asked for images that all students share, a loop of several trainings, and an attack that fails
 * where the environment says so: the kinds of files that `everything` has not.
 */
export const further = tiny({
  imports: `import { type Attack, adaptiveMisinformation, deepInversion, jbda, labelled } from 'undistill';

const failing: Attack<'probabilities', typeof labelled> = {
  ...{ name: 'failing', params: {}, source: import.meta.url, needs: 'probabilities', data: labelled },
  steal: (victim, learner, context) => {
    if (process.env.FAILS) throw new Error('it fails');
    return kd().steal(victim, learner, context);
  },
};
`,
  defenses: 'none(), adaptiveMisinformation({ epochs: 1 })',
  attacks: `failing,
    deepInversion({ batches: 2, batch: 10, iterations: 4, steps: 6 }),
    jbda({ rounds: 2, fraction: 0.3, roundEpochs: 8 })`,
});

/** Milliseconds in which a run of seconds must be over, on a busy machine too. */
export const patience = 240_000;

/** A folder of a user's with a cache of its own, in which there is what this machine has of the engine. */
export const place = async (experiment = everything): Promise<Project> => {
  const at = project();
  await at.write('tiny.ts', experiment);
  const own = join(at.folder, 'cache', 'undistill');
  await mkdir(own, { recursive: true });
  // An installed undistill runs a copy of the binding's package as well. On a new machine the first run that needs them makes both.
  for (const part of ['engines', 'packages']) {
    const shared = join(cacheFolder(), part);
    await mkdir(shared, { recursive: true });
    await symlink(shared, join(own, part));
  }
  return at;
};

export type Environment = Readonly<Record<string, string>>;

const preload = `--import ${pathToFileURL(fileURLToPath(new URL('preload.js', import.meta.url))).href}`;

/** What a run in a place is told by its environment; with a fault, it happens below the place: to runs, and to what is kept of graphs. */
export const environmentOf = (at: Project, more: Environment = {}): Environment => ({
  XDG_CACHE_HOME: join(at.folder, 'cache'),
  NODE_OPTIONS: preload,
  CHAOS_BELOW: at.folder,
  ...more,
});

/** `undistill run` of the experiment of a place, on one core; killed after so many milliseconds. */
export const run = (
  at: Project,
  env: Environment = environmentOf(at),
  {
    args = [],
    limit = patience,
    watch,
  }: { readonly args?: readonly string[] } & Pick<
    NonNullable<Parameters<Project['undistill']>[1]>,
    'limit' | 'watch'
  > = {},
): Promise<Ran> =>
  at.undistill(['run', 'tiny.ts', '--threads', '1', '--jobs', '1', '--checkpoint-every', '4', ...args], {
    env,
    limit,
    ...(watch === undefined ? {} : { watch }),
  });

/** A command in a place. */
export const command = (at: Project, ...args: readonly string[]): Promise<Ran> =>
  at.undistill(args, { env: environmentOf(at), limit: patience });

const isKilled = ({ code }: Ran): boolean => typeof code === 'string';

/** Throws a defect of sort `aborted` unless a process ended by itself, and said what it had to say in words. */
export const mustHaveEnded = (ran: Ran): void => {
  const said = `${ran.out}\n${ran.err}`;
  const end = said.trimEnd().split('\n').slice(-12).join('\n');
  must('aborted', !isKilled(ran), () => `it was ended by ${ran.code}: ${end}`);
  must('aborted', !said.includes('That is a mistake in undistill'), () => `it calls it its own mistake: ${end}`);
  // As Node prints it: the lines of a plugin's own files, which we say on purpose, have two spaces.
  const stack = /\n {4,}at .+:\d+:\d+\)?\n/.exec(said)?.[0];
  must('aborted', stack === undefined, () => `a raw stack: ${stack}: ${end}`);
};

/** Throws a defect unless a run came to its end and all its stages too. */
export const mustBeWhole = (ran: Ran): void => {
  mustHaveEnded(ran);
  must('lost', ran.code === 0, () => `it ended with ${ran.code}: ${ran.out.slice(-800)}${ran.err.slice(-800)}`);
};

/** All that a run leaves which is the same each time, by name: numbers, logs and pictures. */
export type Results = ReadonlyMap<string, Buffer>;

/** What tells how a result came about, and not what it is: how fast, with what, and how many answers had been recorded before. */
const timely = ['seconds', 'stepsPerSecond', 'provenance', 'finished', 'replayed'];

/** A file of JSON, or of a JSON a line, without what tells of time and machine. */
const timeless = (text: string): Buffer =>
  Buffer.from(
    text
      .split(/\n(?=\{)/)
      .map((each) => JSON.stringify(JSON.parse(each), (name, value) => (timely.includes(name) ? undefined : value)))
      .join('\n'),
  );

/** A file of tensors whose metadata does not tell how long anything took. */
const timelessTensors = (bytes: Buffer): Buffer => {
  const end = 8 + Number(bytes.readBigUInt64LE());
  const { __metadata__: metadata = {}, ...header } = JSON.parse(bytes.toString('utf8', 8, end));
  const { footprint, ...others } = metadata;
  if (footprint === undefined) return bytes;
  return Buffer.concat([timeless(footprint), Buffer.from(JSON.stringify([others, header])), bytes.subarray(end)]);
};

/** Every file below a folder, by its path from there. */
export const filesBelow = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();

/** What a run in a place left: its matrix, and of its stages all tensors, records, logs and pictures; the images it shows. */
export const resultsOf = async (place: string, runs = 'runs'): Promise<Results> => {
  const folder = join(place, runs);
  const found = new Map<string, Buffer>();
  const matrix: Matrix = JSON.parse(await readFile(join(folder, 'tiny', 'matrix.json'), 'utf8'));
  found.set('matrix.json', Buffer.from(JSON.stringify(lasting(matrix))));
  for (const [name, bytes] of await tensorsIn(join(folder, '.store')))
    found.set(`.store/${name}`, timelessTensors(bytes));
  for (const name of await filesBelow(folder)) {
    const isShown = /^tiny\/(stages|images)\//.test(name) || /^\.store\/[0-9a-f]{16}\//.test(name);
    if (!isShown || /manifest\.json$|\.safetensors$/.test(name)) continue;
    const bytes = await readFile(join(folder, name));
    found.set(name, /\.jsonl?$/.test(name) ? timeless(bytes.toString()) : bytes);
  }
  return found;
};

/** Throws a defect of sort `lost` for the first file that is not what it would be. */
export const mustEqual = (ours: Results, whole: Results, sort: 'lost' | 'silent' = 'lost'): void => {
  for (const name of new Set([...whole.keys(), ...ours.keys()])) {
    const [own, other] = [ours.get(name), whole.get(name)];
    must(sort, own !== undefined, () => `${name} is missing`);
    must(sort, other !== undefined, () => `${name} is there, and nobody's`);
    must(sort, other === undefined || own?.equals(other) === true, () => `${name} differs: ${difference(own, other)}`);
  }
};

/** Where two files part, as text. */
const difference = (a: Buffer | undefined, b: Buffer | undefined): string => {
  if (a === undefined || b === undefined) return 'one is missing';
  const at = a.findIndex((byte, i) => byte !== b[i]);
  const around = (of: Buffer) => JSON.stringify(of.subarray(Math.max(0, at - 60), at + 60).toString('latin1'));
  return at < 0 ? `${a.length} bytes, ${b.length} before` : `byte ${at}: ${around(a)}, before: ${around(b)}`;
};

/** What a process of an undisturbed run did. */
export interface Effort {
  readonly who: 'main' | 'worker';
  /** How many changes below the place it made, by operation. */
  readonly counts: Readonly<Record<string, number>>;
  /** Of a processor. */
  readonly seconds: number;
  /** At most. */
  readonly megabytes: number;
}

export const effortsIn = async (path: string): Promise<readonly Effort[]> =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** Something that all cases of a campaign share, by name: whoever needs it first makes it. */
const shared = async (folder: string, name: string, make: (path: string) => Promise<void>): Promise<string> =>
  withLock(join(folder, `${name}.lock`), async () => {
    const path = join(folder, name);
    if (!(await isThere(path))) await make(path);
    return path;
  });

/** How a place came into the state in which its files are looked at. */
interface Way {
  readonly experiment: string;
  readonly env?: Environment;
  /** What the run ends with. */
  readonly code: Ran['code'];
  /** A command that follows it. */
  readonly after?: readonly string[];
  /** The state that it has in the end when it is run again. */
  readonly whole: 'finished' | 'diagnosed';
}

const ways = {
  finished: { experiment: everything, code: 0, whole: 'finished' },
  /** Killed while a teacher is trained. */
  taught: { experiment: everything, env: { STOP: 'SIGKILL teacher 18' }, code: 'SIGKILL', whole: 'finished' },
  /** Killed while images are made. */
  imagined: { experiment: everything, env: { STOP: 'SIGKILL student 30' }, code: 'SIGKILL', whole: 'finished' },
  diagnosed: { experiment: further, code: 0, after: ['diagnose', 'tiny.ts'], whole: 'diagnosed' },
  /** Killed in the second turn of a loop. */
  looped: { experiment: further, env: { STOP: 'SIGKILL student 40' }, code: 'SIGKILL', whole: 'diagnosed' },
  failed: { experiment: further, env: { FAILS: 'yes' }, code: 1, whole: 'diagnosed' },
} as const satisfies Readonly<Record<string, Way>>;

export type State = keyof typeof ways;
export const states = Object.keys(ways) as readonly State[];

/** A place in a state, in a folder that stays. */
const stateIn = (folder: string, state: State): Promise<string> =>
  shared(folder, state, (path) => {
    const { experiment, env = {}, code, after }: Way = ways[state];
    return inPlace(async (at) => {
      const began = performance.now();
      const found = await run(at, environmentOf(at, { CHAOS_COUNTS: join(at.folder, 'counts'), ...env }));
      if (found.code !== code) throw new Error(`${state}: it ended with ${found.code}: ${found.out}${found.err}`);
      await at.write('seconds', String((performance.now() - began) / 1000));
      if (after !== undefined) {
        const next = await command(at, ...after);
        if (next.code !== 0) throw new Error(`${after.join(' ')}: ${next.out}${next.err}`);
      }
      // Whole or not at all: a campaign's case may be ended in the middle.
      const copied = `${path}.copied`;
      await cp(at.folder, copied, { recursive: true, verbatimSymlinks: true });
      await rename(copied, path);
    }, experiment);
  });

/** What a run leaves that nothing disturbed, and what it did. */
export interface Undisturbed {
  readonly matrix: Matrix;
  readonly results: Results;
  readonly efforts: readonly Effort[];
  /** How long it took. */
  readonly seconds: number;
}

/** The undisturbed run, of `everything` or of what a state is of. */
export const undisturbed = async (folder: string, state: State = 'finished'): Promise<Undisturbed> => {
  const path = await stateIn(folder, ways[state].whole);
  return {
    matrix: JSON.parse(await readFile(join(path, 'runs', 'tiny', 'matrix.json'), 'utf8')),
    results: await resultsOf(path),
    efforts: await effortsIn(join(path, 'counts')),
    seconds: Number(await readFile(join(path, 'seconds'), 'utf8')),
  };
};

/** Does something in a copy of a place in that state. */
export const inState = async <A>(folder: string, state: State, act: (at: Project) => Promise<A>): Promise<A> => {
  const path = await stateIn(folder, state);
  const at = project();
  try {
    await cp(path, at.folder, { recursive: true, verbatimSymlinks: true });
    return await act(at);
  } finally {
    at.remove();
  }
};

/** Does something in a place that is removed afterwards. */
export const inPlace = async <A>(act: (at: Project) => Promise<A>, experiment?: string): Promise<A> => {
  const at = await place(experiment);
  try {
    return await act(at);
  } finally {
    at.remove();
  }
};
