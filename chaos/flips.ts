import { readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeLeftovers } from '../src/run/store.js';
import type { Project } from '../test/cli/project.js';
import { type Case, type Kind, must, type Random, severally } from './case.js';
import {
  command,
  filesBelow,
  inState,
  mustBeWhole,
  mustEqual,
  mustHaveEnded,
  patience,
  resultsOf,
  run,
  type State,
  states,
  undisturbed,
} from './runs.js';

/** Every kind of file that a run leaves, by name. */
const files: Readonly<Record<State, readonly (readonly [name: string, of: RegExp])[]>> = {
  finished: [
    ['weights', /^runs\/\.store\/\w+\/(best|last)\.safetensors$/],
    ['answers of a model', /^runs\/\.store\/\w+\/logits\.safetensors$/],
    ['manifest', /^runs\/\.store\/\w+\/manifest\.json$/],
    ['log', /^runs\/\.store\/\w+\/metrics[\w-]*\.jsonl$/],
    ['record', /^runs\/\.store\/\w+\/record\.json$/],
    ['numbers', /^runs\/\.store\/\w+\/result\.json$/],
    ['recorded answers', /^runs\/\.store\/answers\/\w+\/\w+\.safetensors$/],
    ['answers about images', /^runs\/\.store\/\w+\/answers\/\w+\.safetensors$/],
    ['picture on the way', /^runs\/\.store\/\w+\/history\/.*\.png$/],
    ['images', /^runs\/\.store\/\w+\/images\/[\w-]+\.png$/],
    ['list of images', /^runs\/\.store\/\w+\/images\/[\w-]+\.json$/],
    ['values', /^runs\/\.store\/\w+\/values\/.*\.json$/],
    ['matrix.json', /^runs\/tiny\/matrix\.json$/],
    ['matrix.csv, matrix.md', /^runs\/tiny\/matrix\.(csv|md)$/],
    ['plan.json', /^runs\/tiny\/plan\.json$/],
    ['report.html', /^runs\/tiny\/report\.html$/],
    ['chart', /^runs\/tiny\/charts\/.*\.(svg|png|csv|vl\.json)$/],
    ['shown image', /^runs\/tiny\/images\/.*\.png$/],
    ['images.json', /^runs\/tiny\/images\/.*\/images\.json$/],
    ['shown record', /^runs\/tiny\/stages\/.*\/record\.json$/],
    ['shown log', /^runs\/tiny\/stages\/.*\/metrics[\w-]*\.jsonl$/],
    ['graph', /^cache\/undistill\/graphs\/\w+\/saved_model\.pb$/],
  ],
  taught: [
    ['checkpoint', /^runs\/\.store\/\w+\.partial\/fits\/teacher\/checkpoint\.safetensors$/],
    ['journal', /^runs\/\.store\/\w+\.partial\/written\.log$/],
    ['log of a stage in the making', /^runs\/\.store\/\w+\.partial\/metrics[\w-]*\.jsonl$/],
    ['lock', /^runs\/\.store\/locks\/\w+$/],
    ['plan.json of a run under way', /^runs\/tiny\/plan\.json$/],
  ],
  imagined: [
    ['checkpoint of an attack', /^runs\/\.store\/\w+\.partial\/fits\/student\/checkpoint\.safetensors$/],
    ['journal of an attack', /^runs\/\.store\/\w+\.partial\/written\.log$/],
    ['picture of a stage in the making', /^runs\/\.store\/\w+\.partial\/history\/.*\.png$/],
    ['recorded answers of a run under way', /^runs\/\.store\/answers\/\w+\/\w+\.safetensors$/],
    ['weights of a run under way', /^runs\/\.store\/\w+\/(best|last)\.safetensors$/],
  ],
  diagnosed: [
    ['what a defence prepared', /^runs\/\.store\/\w+\/prepared\.safetensors$/],
    ['what was asked for shared images', /^runs\/\.store\/\w+\/asked\.safetensors$/],
    ['state of a loop', /^runs\/\.store\/\w+\/loops\/.*\.safetensors$/],
    ['diagnostics.json', /^runs\/tiny\/diagnostics\/diagnostics\.json$/],
    ['diagnostics in tables', /^runs\/tiny\/diagnostics\/\w+\.(csv|md)$/],
  ],
  looped: [
    ['state of a loop in the making', /^runs\/\.store\/\w+\.partial\/loops\/.*\.safetensors$/],
    ['answers of a stage in the making', /^runs\/\.store\/\w+\.partial\/answers\/\w+\.safetensors$/],
    ['checkpoint in a loop', /^runs\/\.store\/\w+\.partial\/fits\/student-\d+\/checkpoint\.safetensors$/],
  ],
  failed: [
    ['what a plugin threw', /^runs\/tiny\/stages\/.*\/failure\.txt$/],
    ['how long a stage has taken', /^runs\/\.store\/\w+\.partial\/elapsed\.json$/],
  ],
};

/** What a place holds besides: the user's own files, and what the campaign put there. */
const others = /^(stoppable\.ts|tiny\.ts|counts|seconds)$/;

/** Another kind of file is one that nobody tries. */
const complete: Case = {
  name: 'every kind of file is tried',
  attempt: async (_, shared) => {
    const known = states.flatMap((state) => files[state].map(([, of]) => of));
    for (const state of states)
      await inState(shared, state, async (at) => {
        // What a killed process was writing at that moment goes with the next run.
        await removeLeftovers(join(at.folder, 'runs', 'tiny'), join(at.folder, 'runs', '.store'));
        const unknown = (await filesBelow(at.folder)).filter(
          (name) => !others.test(name) && !known.some((of) => of.test(name)),
        );
        must('silent', unknown.length === 0, () => `no case is for ${unknown.join(', ')}: name it in chaos/flips.ts`);
      });
  },
};

/** Turns a bit of a file over. */
export const flipIn = async (path: string, random: Random): Promise<void> => {
  const bytes = await readFile(path);
  const at = random.below(bytes.length);
  bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  await writeFile(path, bytes);
};

/** The network that is exported of a stage; undefined where that is refused. */
const exported = async (at: Project, name: string): Promise<Buffer | undefined> => {
  const ran = await command(at, 'export', 'tiny', '--stage', 'seed-0/none/plainCnn/dafl', '--out', name);
  mustHaveEnded(ran);
  return ran.code === 0 ? readFile(join(at.folder, name)) : undefined;
};

const flipped =
  (state: State, of: RegExp): Case['attempt'] =>
  async (random, shared) => {
    const { results } = await undisturbed(shared, state);
    await inState(shared, state, async (at) => {
      const name = random.of((await filesBelow(at.folder)).filter((each) => of.test(each)));
      const isWeights = state === 'finished' && /(best|last)\.safetensors$/.test(name);
      const before = isWeights ? await exported(at, 'before.safetensors') : undefined;
      await flipIn(join(at.folder, name), random);
      // A holder that cannot be told from one elsewhere is waited for as long as it may give no sign of life.
      const anHourAgo = new Date(Date.now() - 3_600_000);
      if (name.includes('/locks/')) await utimes(join(at.folder, name), anHourAgo, anHourAgo);
      if (isWeights) {
        const after = await exported(at, 'after.safetensors');
        must(
          'silent',
          after === undefined || after.equals(before ?? Buffer.of()),
          () => `${name}: exported as if it were whole`,
        );
      } else if (name.startsWith('runs/tiny/')) {
        for (const args of [
          ['matrix', 'tiny'],
          ['report', 'tiny'],
          ['images', 'tiny'],
        ])
          mustHaveEnded(await command(at, ...args));
      }
      mustBeWhole(await run(at));
      mustEqual(await resultsOf(at.folder), results, 'silent');
    });
  };

/** How often each kind of file is tried, each time at another bit. */
const times = 4;

/** A bit of each kind of file that a run leaves, after which it is read, and the experiment run again. */
export const flips: Kind = {
  name: 'flips',
  about: 'a bit turned over in each kind of file that a run leaves, by name; then read, and run again',
  limit: (4 * patience) / 1000,
  takes: 30,
  cases: () => [
    complete,
    ...states.flatMap((state) => files[state].flatMap(([name, of]) => severally(times, name, flipped(state, of)))),
  ],
};
