import { copyFile, link, mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cacheFolder } from '../src/core/cache-folder.js';
import { isMark } from '../src/engine/setup/loading.js';
import type { Project } from '../test/cli/project.js';
import { type Case, Impossible, type Kind, must, severally } from './case.js';
import { flipIn } from './flips.js';
import {
  command,
  filesBelow,
  inPlace,
  mustBeWhole,
  mustEqual,
  mustHaveEnded,
  patience,
  resultsOf,
  run,
  undisturbed,
} from './runs.js';

/** Files of an installed engine: TensorFlow's, which are hashed where one ended a process, and ours, which always are. */
const files = {
  TensorFlow: /\/libtensorflow_cc\./,
  "TensorFlow's framework": /\/libtensorflow_framework\./,
  binding: /\/tfjs_binding\.node$/,
  kernels: /\/kernels\.node$/,
  'what keeps TensorFlow quiet': /\/quiet\.node$/,
  'list of files': /\/engine\.json$/,
} as const;

const isOurs = (name: string): boolean => name.endsWith('.node');

const installed = join(cacheFolder(), 'engines');

/** The files of the engine that runs compute with, by their paths among engines. */
const engineFiles = async (): Promise<readonly string[]> => {
  // Other processes load it meanwhile.
  const all = (await filesBelow(installed).catch(() => [])).filter((name) => !isMark(name));
  const engines = new Set(all.filter((name) => name.endsWith('/engine.json')).map(dirname));
  if (engines.size !== 1) throw new Impossible(`${engines.size} engines are installed, and it takes one`);
  return all;
};

/** The same file by another name where both lie on one disk, and else a copy. */
const borrow = (from: string, to: string): Promise<void> => link(from, to).catch(() => copyFile(from, to));

/** Gives a place engines of its own: this machine's files, and of one of them a copy. */
const ownEngines = async (at: Project, copied?: string): Promise<void> => {
  const own = join(at.folder, 'cache', 'undistill', 'engines');
  // A place begins with a link to this machine's, which is all that goes.
  await rm(own, { recursive: true });
  for (const name of await engineFiles()) {
    await mkdir(dirname(join(own, name)), { recursive: true });
    await (name === copied ? copyFile : borrow)(join(installed, name), join(own, name));
  }
};

const saidOf = ({ out, err }: { readonly out: string; readonly err: string }): string => `${out}${err}`.slice(-800);

/** Doctor finds it, whatever it is, and calls it by its name. */
const mustBeFound = async (at: Project, name: string): Promise<void> => {
  const doctor = await command(at, 'doctor');
  mustHaveEnded(doctor);
  must('silent', doctor.code !== 0, () => `doctor calls it well: ${saidOf(doctor)}`);
  // A list whose own bits turned over may name any file, or none.
  const isNamed = name.endsWith('.json') || `${doctor.out}${doctor.err}`.includes(basename(name));
  must('silent', isNamed, () => `doctor does not name it: ${saidOf(doctor)}`);
};

const flipped =
  (of: RegExp): Case['attempt'] =>
  async (random, shared) => {
    const name = random.of((await engineFiles()).filter((each) => of.test(`/${each}`)));
    const { results } = await undisturbed(shared);
    await inPlace(async (at) => {
      await ownEngines(at, name);
      await flipIn(join(at.folder, 'cache', 'undistill', 'engines', name), random);
      await mustBeFound(at, name);
      // Without its list an engine is none, and a run would install one.
      if (!name.endsWith('.json')) {
        const first = await run(at);
        if (first.code === 0) {
          must('silent', !isOurs(name), () => `it is computed with: ${saidOf(first)}`);
          mustEqual(await resultsOf(at.folder), results, 'silent');
        } else {
          must('aborted', first.code !== 'SIGKILL', () => `it hangs: ${saidOf(first)}`);
          // TensorFlow's may end the process that loads it; the next one says why.
          const second = isOurs(name) ? first : await run(at);
          mustHaveEnded(second);
          const isSaid = `${second.out}${second.err}`.includes('the engine is damaged on disk');
          must('aborted', isSaid, () => `it does not say why it ends: ${saidOf(second)}`);
        }
      }
      await ownEngines(at);
      mustBeWhole(await run(at));
      mustEqual(await resultsOf(at.folder), results);
    });
  };

/** Another kind of file is one that nobody tries. */
const complete: Case = {
  name: 'every file is tried',
  attempt: async () => {
    const unknown = (await engineFiles()).filter(
      (name) => !name.includes('/nvidia/') && !Object.values(files).some((of) => of.test(`/${name}`)),
    );
    must('silent', unknown.length === 0, () => `no case is for ${unknown.join(', ')}: name it in chaos/engine.ts`);
  },
};

/** How often each file is tried, each time at another bit. */
const times = 2;

/** A bit of each file of an engine that a run computes with. */
export const engine: Kind = {
  name: 'engine',
  about: 'a bit turned over in each file of the installed engine; then looked at by doctor, and run with',
  limit: (5 * patience) / 1000,
  takes: 40,
  cases: () => [complete, ...Object.entries(files).flatMap(([name, of]) => severally(times, name, flipped(of)))],
};
