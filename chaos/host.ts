import { pathToFileURL } from 'node:url';
import type { Fate, Order } from './campaign.js';
import { Defect, Impossible, type Kind, randomOf } from './case.js';

// A process that tries the cases it is told of, and says what became of each. The first argument is the module of their kinds.

const [, , module = ''] = process.argv;
const { kinds }: { readonly kinds: readonly Kind[] } = await import(pathToFileURL(module).href);

const fateOf = async ({ kind, name, seed, folder, shared }: Order): Promise<Fate> => {
  try {
    const found = kinds
      .find((each) => each.name === kind)
      ?.cases()
      .find((each) => each.name === name);
    if (found === undefined) throw new Error('there is no such case');
    // What it leaves there is removed when it ends, however that is.
    process.env.TMPDIR = folder;
    process.chdir(folder);
    const given = await found.attempt(randomOf(`${seed}/${kind}/${name}`), shared);
    return {
      status: 'survived',
      ...(typeof given === 'string' ? { tries: 1, measured: given } : { tries: given ?? 1 }),
    };
  } catch (error) {
    if (error instanceof Impossible) return { status: 'left out', why: error.message };
    if (error instanceof Defect) return { status: error.sort, why: error.message };
    return { status: 'aborted', why: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
};

process.on('message', async (order: Order) => {
  const fate = await fateOf(order);
  process.send?.(fate);
});
process.on('disconnect', () => process.exit());
