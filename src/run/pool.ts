import { join } from 'node:path';
import { FailureError, failure } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { decodeImage, encodePng } from '../data/images.js';
import type { ImageShape } from '../models/network.js';
import type { Synthesised } from '../train/context.js';
import type { Pictures } from '../train/pictures.js';
import type { StageOutput, StagingDir } from './store.js';

/**
 * The images that an attacker made, in the stage's folder `images`: of each lot a PNG with all its images below each
 * other, and what is known of them as JSON, which is written last.
 */
interface Lot {
  /** The stage that made it, and so its victim. */
  readonly stage: string;
  readonly shape: ImageShape;
  readonly labels: readonly number[];
  readonly clipped: number;
  readonly updates: number;
  /** sha256 of the PNG. */
  readonly png: string;
}

const folder = 'images';
const pngOf = (name: string): string => `${folder}/${name}.png`;
const lotOf = (name: string): string => `${folder}/${name}.json`;

/** Names by the numbers in them: `lot-2` before `lot-10`. */
export const byNumber = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

/** The lots among files of that folder, in order. */
const lotsAmong = (files: readonly string[]): readonly string[] =>
  files.flatMap((file) => /^(.*)\.json$/.exec(file)?.[1] ?? []).sort(byNumber);

/** The names of the lots that a stage in the making has so far, in order. */
export const lotsIn = async (staging: StagingDir): Promise<readonly string[]> => lotsAmong(await staging.list(folder));

export const writeLot = async (
  staging: StagingDir,
  stage: string,
  name: string,
  { images, shape, labels, clipped, updates }: Synthesised,
): Promise<void> => {
  const { height, width, channels } = shape;
  const png = encodePng({
    width,
    height: height * labels.length,
    channels: channels as 1 | 3,
    pixels: images,
  });
  await staging.writeBytes(pngOf(name), png);
  await staging.writeJson(lotOf(name), {
    stage,
    shape,
    labels,
    clipped,
    updates,
    png: sha256(png),
  } satisfies Lot);
};

const synthesised = ({ stage: _, png: __, ...lot }: Lot, png: Buffer): Synthesised => ({
  ...lot,
  images: decodeImage(png, lot.shape.height * lot.shape.width * lot.labels.length).pixels,
});

/**
 * A lot as it was written; undefined where it is missing, or was altered: then it is made anew. Rejects one of another
 * stage.
 */
export const readLot = async (staging: StagingDir, stage: string, name: string): Promise<Synthesised | undefined> => {
  const lot = await staging.readJson<Lot>(lotOf(name));
  if (lot === undefined) return undefined;
  if (lot.stage !== stage) {
    throw new FailureError(
      failure('store', 'these images were made from another teacher, or by another attack', {
        where: `${staging.folder}/${pngOf(name)}`,
        remedy: 'Remove the folder, or run with --force and the label of the stage.',
      }),
    );
  }
  const png = await staging.readBytes(pngOf(name), (bytes) => sha256(bytes) === lot.png);
  return png === undefined ? undefined : synthesised(lot, png);
};

/** A lot that was made before. Rejects with a failure of kind `store` where its images were altered since. */
export const expectLot = async (staging: StagingDir, stage: string, name: string): Promise<Synthesised> => {
  const lot = await readLot(staging, stage, name);
  if (lot !== undefined) return lot;
  throw new FailureError(
    failure('store', 'these images were altered on disk, and others may have been made from them', {
      where: join(staging.folder, pngOf(name)),
      remedy: 'Run with --force and the label of the stage: it is made anew.',
    }),
  );
};

/** What was made in a finished stage. */
export interface Pool extends Pictures {
  /** How many images there are; `images` and what follows may be of the first ones only. */
  readonly count: number;
  readonly labels: readonly number[];
  /** Updates that each image, or its generator, took. */
  readonly updates: readonly number[];
}

/** The lots of a finished stage, in order. */
export const readLots = async (output: StageOutput): Promise<readonly Synthesised[]> => {
  const lots: Synthesised[] = [];
  for (const name of lotsAmong(await output.list(folder)))
    lots.push(synthesised(await output.json<Lot>(lotOf(name)), await output.bytes(pngOf(name))));
  return lots;
};

/** The lots of a finished stage as one, read until they hold `least` images; undefined where it made none. */
export const readPool = async (output: StageOutput, least = Number.POSITIVE_INFINITY): Promise<Pool | undefined> => {
  const names = lotsAmong(await output.list(folder));
  const lots = await Promise.all(names.map((name) => output.json<Lot>(lotOf(name))));
  if (lots[0] === undefined) return undefined;
  const read: Synthesised[] = [];
  let held = 0;
  for (const [i, lot] of lots.entries()) {
    if (held >= least) break;
    read.push(synthesised(lot, await output.bytes(pngOf(names[i] as string))));
    held += lot.labels.length;
  }
  const count = lots.reduce((sum, { labels }) => sum + labels.length, 0);
  return {
    shape: lots[0].shape,
    count,
    labels: read.flatMap(({ labels }) => labels),
    updates: read.flatMap(({ labels, updates }) => labels.map(() => updates)),
    clipped: lots.reduce((sum, { clipped, labels }) => sum + clipped * labels.length, 0) / count,
    images: Buffer.concat(read.map(({ images }) => images)),
  };
};

/**
 * Rejects with a failure of kind `store` when the images of a stage in the making are not only its own: what somebody
 * put among them would be sealed with them.
 */
export const refuseStrangers = async (staging: StagingDir): Promise<void> => {
  const files = await staging.list(folder);
  const stranger = files.find((file) => {
    const name = /^(.*)\.(?:json|png)$/.exec(file)?.[1];
    return name === undefined || !files.includes(`${name}.json`) || !files.includes(`${name}.png`);
  });
  if (stranger === undefined) return;
  throw new FailureError(
    failure('store', 'this file is none of the images that were made here', {
      where: join(staging.folder, folder, stranger),
      remedy: 'Move it elsewhere and run again: what was made is kept.',
    }),
  );
};

/** The most images of a batch that a picture of how it goes shows. */
const shown = 100;

/** The first images of a batch in a square, as a PNG. */
export const contactSheet = ({ images, shape }: Pictures): Buffer => {
  const { height, width, channels } = shape;
  const size = height * width * channels;
  const count = Math.min(shown, images.length / size);
  const side = Math.ceil(Math.sqrt(count));
  const line = width * channels;
  const pixels = new Uint8Array(side * side * size);
  for (let i = 0; i < count; i++) {
    const [row, column] = [Math.floor(i / side), i % side];
    for (let y = 0; y < height; y++) {
      const from = i * size + y * line;
      pixels.set(images.subarray(from, from + line), ((row * height + y) * side + column) * line);
    }
  }
  return encodePng({ height: side * height, width: side * width, channels: channels as 1 | 3, pixels });
};
