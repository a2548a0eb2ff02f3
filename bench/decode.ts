import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from '../src/core/lists.js';
import { openSource } from '../src/data/archive.js';
import { decodeAll } from '../src/data/decoding-threads.js';
import type { FileContent } from '../src/data/source.js';

const usage = `npm run bench:decode -- ARCHIVE [--pillow PYTHON] [--images N] [--rounds N]

Decoded images per second: the first N JPEG files (default 5000) of a tar(.gz), such as a shard of Tiny-ImageNet, from memory,
in one thread and in one for each processor. With --pillow, the same files in that Python's Pillow, in as many processes. In
turns, so that both meet the same machine; medians over rounds, and the median of the rounds' ratios.`;

const first = async (path: string, count: number): Promise<readonly FileContent[]> => {
  const source = await openSource(path);
  const names = (await source.list()).map((entry) => entry.path).filter((name) => /\.jpe?g$/i.test(name));
  const files: FileContent[] = [];
  for await (const file of source.read(new Set(names.slice(0, count)))) files.push(file);
  return files;
};

async function* each<A>(all: readonly A[]): AsyncGenerator<A, void, void> {
  yield* all;
}

/** Images per second; the threads' start counts. */
const ours = async (files: readonly FileContent[], threads: number): Promise<number> => {
  const began = performance.now();
  for await (const lot of decodeAll(each(files), files.length, undefined, threads)) {
    const bad = lot.find(({ found }) => 'wrong' in found);
    if (bad !== undefined) throw new Error(`${bad.path} cannot be decoded`);
  }
  return (1000 * files.length) / (performance.now() - began);
};

/** Images per second; starting Python and reading the archive do not count, starting the processes does. */
const pillows = (python: string, path: string, count: number, processes: number): number => {
  const script = fileURLToPath(new URL('pillow.py', import.meta.url));
  const { stdout, stderr, status } = spawnSync(python, [script, path, `${count}`, `${processes}`], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${python}: ${stderr}`);
  return count / Number(stdout);
};

const main = async (): Promise<void> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      pillow: { type: 'string' },
      images: { type: 'string', default: '5000' },
      rounds: { type: 'string', default: '5' },
    },
  });
  const [path] = positionals;
  if (path === undefined) return console.log(usage);
  const files = await first(path, Number(values.images));
  console.log(
    `${files.length} images; ${cpus()[0]?.model ?? 'unknown processor'}; medians of ${values.rounds} rounds\n`,
  );
  console.log('| threads | img/s | Pillow img/s | ratio |\n|--:|--:|--:|--:|');
  for (const threads of new Set([1, availableParallelism()])) {
    const rates: number[] = [];
    const others: number[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      rates.push(await ours(files, threads));
      if (values.pillow !== undefined) others.push(pillows(values.pillow, path, files.length, threads));
    }
    const ratio = median(others.map((other, i) => (rates[i] as number) / other));
    const cells = [
      threads,
      median(rates).toFixed(0),
      ...(others.length > 0 ? [median(others).toFixed(0), `${ratio.toFixed(2)}×`] : ['', '']),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
};

await main();
