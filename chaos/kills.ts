import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Project } from '../test/cli/project.js';
import { type Case, Impossible, type Kind, must, severally } from './case.js';
import { type Fault, strike } from './faults.js';
import {
  environmentOf,
  filesBelow,
  inPlace,
  mustBeWhole,
  mustEqual,
  patience,
  resultsOf,
  run,
  undisturbed,
} from './runs.js';

/** The records of all stages that are finished, as they lie there: with the time at which they were. */
const finishedIn = async (at: Project): Promise<ReadonlyMap<string, string>> => {
  const folder = join(at.folder, 'runs', '.store');
  const names = (await filesBelow(folder).catch(() => [])).filter((name) => /^[0-9a-f]{16}\/record\.json$/.test(name));
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const)),
  );
};

/** Runs again after a run was killed: what was finished is as it was, and in the end all is what it would have been. */
const mustGoOn = async (at: Project, shared: string): Promise<void> => {
  const finished = await finishedIn(at);
  const again = await run(at);
  mustBeWhole(again);
  must('lost', !again.out.includes('was altered on disk'), () => `a kill is taken for damage: ${again.out}`);
  const now = await finishedIn(at);
  for (const [name, record] of finished)
    must('lost', now.get(name) === record, () => `${name} was finished before the kill, and was made anew`);
  mustEqual(await resultsOf(at.folder), (await undisturbed(shared)).results);
};

/** What is done where two processes meet: a graph that is used a second time is marked as used. */
const byChance: ReadonlySet<string> = new Set(['utimesSync']);

const killedAt =
  (fault: Omit<Fault, 'at' | 'struck'>): Case['attempt'] =>
  async (random, shared) => {
    const isByChance = fault.operations.every((operation) => byChance.has(operation));
    const unmet = isByChance ? new Impossible('no process met a graph that another had written') : undefined;
    await strike(fault, { random, shared }, (at) => mustGoOn(at, shared), unmet);
  };

/** Every change that either process makes below its place. */
const changes: Readonly<Record<Fault['who'], readonly string[]>> = {
  main: ['mkdir', 'open', 'writeFile', 'sync', 'close', 'rename', 'rm', 'unlink', 'cp', 'copyFile'],
  worker: [
    'mkdir',
    'open',
    'writeFile',
    'sync',
    'close',
    'rename',
    'rm',
    'link',
    'unlink',
    'openSync',
    'mkdirSync',
    'writeFileSync',
    'renameSync',
    'utimesSync',
  ],
};

const atEveryChange: readonly Case[] = (['worker', 'main'] as const).flatMap((who) =>
  changes[who].flatMap((operation) =>
    (['before', 'after', ...(operation.startsWith('write') ? (['half'] as const) : [])] as const).map((act) => ({
      name: `${who}: ${act} ${operation}`,
      attempt: killedAt({ who, operations: [operation], act, both: true }),
    })),
  ),
);

/** Another kind of change is one that nobody is killed at. */
const complete: Case = {
  name: 'every kind of file operation is tried',
  attempt: async (_, shared) => {
    const { efforts } = await undisturbed(shared);
    const unknown = efforts.flatMap(({ who, counts }) =>
      Object.keys(counts).flatMap((operation) =>
        changes[who].includes(operation) ? [] : [`${operation} by a ${who}`],
      ),
    );
    must('silent', unknown.length === 0, () => `no case kills at ${unknown.join(', ')}: name it in chaos/kills.ts`);
  },
};

/** The worker alone: the run goes on, with a failed stage. */
const worker: readonly Case[] = changes.worker.map((operation) => ({
  name: `worker alone: before ${operation}`,
  attempt: killedAt({ who: 'worker', operations: [operation], act: 'before' }),
}));

const atRandom: readonly Case[] = severally(20, 'after some time', async (random, shared) => {
  const { seconds } = await undisturbed(shared);
  await inPlace(async (at) => {
    for (let kills = random.below(3); kills >= 0; kills--)
      await run(at, environmentOf(at), { limit: random.below(1000 * seconds) });
    await mustGoOn(at, shared);
  });
});

const limit = (4 * patience) / 1000;

/** Kills of a run, after each of which it goes on as if nothing had been. */
export const kills: Kind = {
  name: 'kills',
  about: 'a run killed before, after and in each kind of file operation, and at any moment; then run again',
  limit,
  takes: 40,
  cases: () => [complete, ...atEveryChange, ...worker, ...atRandom],
};
