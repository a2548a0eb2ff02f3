import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';
import { availableCores } from '../core/job.js';
import { decodeLot, END, type Lot, type Undecodable } from './decode-lot.js';
import { announcedPixels, type Image } from './images.js';
import type { FileContent } from './source.js';

const LOT = 256;
/** A lot of large photographs ends earlier, so that what is under way stays small, encoded and decoded. */
const LOT_BYTES = 2 ** 24;
/** Of all lots under way together, each of whose pixels takes three bytes when it is decoded. */
const PIXELS = 2 ** 27;
/** A thread takes about as long to start as to decode some hundred images. */
const WORTH_THREADS = 2000;
const MOST_THREADS = 16;

/** What became of a file. */
export interface Tried {
  readonly path: string;
  readonly found: Image | Undecodable;
}

interface Decoder {
  decode(lot: Lot): Promise<(Image | Undecodable)[]>;
  /** Resolves when nothing of it is left. */
  close(): Promise<void>;
}

/** This very thread, which lets progress and Ctrl-C have their turn after each lot. */
const here: Decoder = {
  decode: async (lot) => {
    await setImmediate();
    return decodeLot(lot);
  },
  close: async () => undefined,
};

interface Waiting {
  readonly done: (found: (Image | Undecodable)[]) => void;
  readonly failed: (error: Error) => void;
}

/** The thread's module. In a checkout it is TypeScript, of which a thread knows nothing: it is bundled first. */
const threadScript = (): { readonly script: string | URL; readonly eval: boolean } => {
  if (!import.meta.url.endsWith('.ts')) return { script: new URL('./decode-thread.js', import.meta.url), eval: false };
  const entry = fileURLToPath(new URL('./decode-thread.ts', import.meta.url));
  const define = { 'import.meta.url': JSON.stringify(import.meta.url) };
  const { outputFiles } = buildSync({ entryPoints: [entry], bundle: true, write: false, platform: 'node', define });
  return { script: outputFiles[0]?.text ?? '', eval: true };
};

const thread = ({ script, eval: evaluated }: ReturnType<typeof threadScript>): Decoder => {
  const worker = new Worker(script, { eval: evaluated });
  // Answers come in the order of the questions.
  const waiting: Waiting[] = [];
  worker.on('message', (found: (Image | Undecodable)[]) => waiting.shift()?.done(found));
  const gone = (error: Error): void => {
    for (const { failed } of waiting.splice(0)) failed(error);
  };
  worker.on('error', gone);
  const exited = new Promise<void>((done) => {
    worker.on('exit', () => {
      gone(new Error('a thread that decodes images ended'));
      done();
    });
  });
  return {
    decode: (lot) =>
      new Promise((done, failed) => {
        waiting.push({ done, failed });
        worker.postMessage(lot, [lot.bytes.buffer as ArrayBuffer]);
      }),
    // Asked to, and not terminated: that aborts the whole process where it meets zlib at work.
    close: () => {
      worker.postMessage(END);
      return exited;
    },
  };
};

const startThreads = (count: number): Decoder[] => {
  const script = threadScript();
  return Array.from({ length: count }, () => thread(script));
};

interface Named {
  readonly paths: readonly string[];
  readonly lot: Lot;
}

const lotOf = (files: readonly FileContent[], size: number | undefined): Named => {
  let end = 0;
  const ends = files.map(({ bytes }) => {
    end += bytes.length;
    return end;
  });
  // An array of its own, since it is handed over to a thread.
  const bytes = new Uint8Array(end);
  files.forEach((file, i) => {
    bytes.set(file.bytes, ends[i - 1] ?? 0);
  });
  return { paths: files.map(({ path }) => path), lot: { bytes, ends, size } };
};

async function* lotsOf(
  files: AsyncIterable<FileContent>,
  size: number | undefined,
  mostPixels: number,
): AsyncGenerator<Named, void, void> {
  let gathered: FileContent[] = [];
  let length = 0;
  let pixels = 0;
  for await (const file of files) {
    gathered.push(file);
    length += file.bytes.length;
    pixels += announcedPixels(file.bytes);
    if (gathered.length < LOT && length < LOT_BYTES && pixels < mostPixels) continue;
    yield lotOf(gathered, size);
    gathered = [];
    length = 0;
    pixels = 0;
  }
  if (gathered.length > 0) yield lotOf(gathered, size);
}

/** `run` on everything, in order, with so many at a time. */
async function* inParallel<A, B>(
  all: AsyncIterable<A>,
  atOnce: number,
  run: (one: A, place: number) => Promise<B>,
): AsyncGenerator<B, void, void> {
  const running: Promise<B>[] = [];
  let place = 0;
  for await (const one of all) {
    const result = run(one, place++);
    // It is awaited later; until then its failure must not count as unhandled.
    result.catch(() => undefined);
    running.push(result);
    if (running.length >= atOnce) yield await (running.shift() as Promise<B>);
  }
  while (running.length > 0) yield await (running.shift() as Promise<B>);
}

/**
 * Decodes `count` files in their order, some hundred at a time and, where it is worth it, in a thread for each
 * core that this process may use. `size`: height and width to which they are resized.
 */
export async function* decodeAll(
  files: AsyncIterable<FileContent>,
  count: number,
  size: number | undefined,
  threads: number = count < WORTH_THREADS ? 1 : Math.min(MOST_THREADS, availableCores()),
): AsyncGenerator<readonly Tried[], void, void> {
  const decoders = threads === 1 ? [here] : startThreads(threads);
  // Two for each thread: one under way, one that waits for it.
  const atOnce = 2 * decoders.length;
  try {
    yield* inParallel(lotsOf(files, size, PIXELS / atOnce), atOnce, async ({ paths, lot }, place) => {
      const found = await (decoders[place % decoders.length] as Decoder).decode(lot);
      return found.map((each, i) => ({ path: paths[i] as string, found: each }));
    });
  } finally {
    await Promise.all(decoders.map((decoder) => decoder.close()));
  }
}
