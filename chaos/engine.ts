import { copyFile, link, mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cacheFolder } from '../src/core/cache-folder.js';
import type { Project } from '../test/cli/project.js';
import { type Case, type Kind, must } from './case.js';
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

/** Every file of an installed engine. */
const files: readonly (readonly [name: string, of: RegExp])[] = [
  ['TensorFlow', /\/libtensorflow_cc\.so/],
  ["TensorFlow's framework", /\/libtensorflow_framework\.so/],
  ['binding', /\/tfjs_binding\.node$/],
  ['kernels', /\/kernels\.node$/],
  ['allocator', /\/quiet\.node$/],
  ['list of files', /\/engine\.json$/],
];

const installed = join(cacheFolder(), 'engines');

/** The same file by another name where both lie on one disk, and else a copy. */
const borrow = (from: string, to: string): Promise<void> => link(from, to).catch(() => copyFile(from, to));

/** Gives a place engines of its own, which are this machine's but for the files that are copied. */
const ownEngines = async (at: Project, isCopied: (name: string) => boolean): Promise<void> => {
  const own = join(at.folder, 'cache', 'undistill', 'engines');
  await rm(own, { recursive: true });
  for (const name of await filesBelow(installed)) {
    await mkdir(dirname(join(own, name)), { recursive: true });
    await (isCopied(name) ? copyFile : borrow)(join(installed, name), join(own, name));
  }
};

const flipped =
  (of: RegExp): Case['attempt'] =>
  async (random, shared) => {
    const { results } = await undisturbed(shared);
    const name = random.of((await filesBelow(installed)).filter((each) => of.test(`/${each}`)));
    await inPlace(async (at) => {
      await ownEngines(at, (each) => each === name);
      await flipIn(join(at.folder, 'cache', 'undistill', 'engines', name), random);
      const doctor = await command(at, 'doctor');
      mustHaveEnded(doctor);
      const said = `${doctor.out}${doctor.err}`;
      must('silent', doctor.code !== 0, () => `doctor calls it well: ${said}`);
      // A list whose own bits turned over may name any file, or none.
      const isNamed = name.endsWith('.json') || said.includes(basename(name));
      must('silent', isNamed, () => `doctor does not name it: ${said}`);
      const first = await run(at);
      if (first.code === 0) mustEqual(await resultsOf(at.folder), results, 'silent');
      else {
        // The library may end the process that loads it; the next one says why.
        const again = await run(at);
        mustHaveEnded(again);
        const why = `${again.out}${again.err}`;
        must(
          'aborted',
          /engine (is damaged on disk|install)/.test(why),
          () => `it does not say why it ends: ${why.slice(-800)}`,
        );
      }
      await ownEngines(at, () => false);
      mustBeWhole(await run(at));
      mustEqual(await resultsOf(at.folder), results);
    });
  };

/** How often each file is tried, each time at another bit. */
const times = 2;

/** A bit of each file of an engine that a run computes with. */
export const engine: Kind = {
  name: 'engine',
  about: 'a bit turned over in each file of the installed engine; then looked at by doctor, and run with',
  limit: (5 * patience) / 1000,
  takes: 40,
  cases: () =>
    files.flatMap(([name, of]) =>
      Array.from({ length: times }, (_, i) => ({ name: `${name} (${i + 1})`, attempt: flipped(of) })),
    ),
};
