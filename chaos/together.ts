import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Case, type Kind, must } from './case.js';
import {
  environmentOf,
  inPlace,
  mustBeWhole,
  mustEqual,
  mustHaveEnded,
  patience,
  resultsOf,
  run,
  undisturbed,
} from './runs.js';

/** So many runs of one experiment at once, beginning shortly after each other; one of them may be killed. */
const together =
  (count: number, isOneKilled: boolean): Case['attempt'] =>
  async (random, shared) => {
    const { results, seconds } = await undisturbed(shared);
    await inPlace(async (at) => {
      const limits = Array.from({ length: count }, () => count * patience);
      if (isOneKilled) limits[random.below(count)] = random.below(1000 * seconds);
      const ran = await Promise.all(
        limits.map(async (limit, i) => {
          await sleep(i === 0 ? 0 : random.below(5_000));
          return run(at, environmentOf(at), { limit });
        }),
      );
      ran.forEach((each, i) => {
        if ((limits[i] as number) < patience && each.code === 'SIGKILL') return;
        mustHaveEnded(each);
        must('lost', each.code === 0, () => `one ended with ${each.code}: ${each.out.slice(-800)}${each.err}`);
        const damage = /.* was altered on disk.*/.exec(each.out)?.[0];
        must('lost', damage === undefined, () => `one took another's work for damage: ${damage}`);
      });
      mustEqual(await resultsOf(at.folder), results);
      mustBeWhole(await run(at));
      mustEqual(await resultsOf(at.folder), results);
      const left = (await readdir(join(at.folder, 'runs'), { recursive: true })).filter((name) =>
        /\.(tmp|partial|lock)$/.test(name),
      );
      must('silent', left.length === 0, () => `nobody removes ${left.join(', ')}`);
    });
  };

/** Runs that share a folder. */
export const shared: Kind = {
  name: 'together',
  about: 'two and three runs of one experiment at once in one folder, one of them killed at times',
  limit: (8 * patience) / 1000,
  takes: 70,
  cases: () =>
    [2, 3].flatMap((count) =>
      [false, true].flatMap((isOneKilled) =>
        Array.from({ length: 3 }, (_, i) => ({
          name: `${count} at once${isOneKilled ? ', one killed' : ''} (${i + 1})`,
          attempt: together(count, isOneKilled),
        })),
      ),
    ),
};
