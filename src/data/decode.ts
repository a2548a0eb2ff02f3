import { counted, firstFew } from '../core/text.js';
import type { ImageShape } from '../models/network.js';
import { checkRoom, type DecodedExamples, labelArray, refuse } from './assemble.js';
import type { LoadOptions } from './dataset.js';
import type { Undecodable } from './decode-lot.js';
import { decodeAll } from './decoding-threads.js';
import { type Image, toColour } from './images.js';
import type { Source } from './source.js';

/** Which file has which label, in the order of the examples. */
export interface ImagePlan {
  readonly classes: readonly string[];
  readonly train: readonly LabelledFile[];
  readonly test: readonly LabelledFile[];
}

export interface LabelledFile {
  readonly path: string;
  readonly label: number;
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** Pixels of images that arrive in any order, one after another in memory once all are there. */
class Canvas {
  private shape: ImageShape | undefined;
  private parts: readonly Uint8Array[] = [];

  constructor(
    private readonly counts: readonly number[],
    private readonly where: string,
  ) {}

  private allocate(shape: ImageShape): void {
    const size = shape.height * shape.width * shape.channels;
    checkRoom(sum(this.counts), shape, this.where);
    this.shape = shape;
    this.parts = this.counts.map((count) => new Uint8Array(count * size));
  }

  /** Grey images among coloured ones become coloured, whichever came first. */
  put(part: number, index: number, image: Image): void {
    if (this.shape === undefined) this.allocate(image);
    const { height, width, channels } = this.shape as ImageShape;
    if (channels === 1 && image.channels === 3) {
      checkRoom(sum(this.counts), { height, width, channels: 3 }, this.where);
      this.shape = { height, width, channels: 3 };
      this.parts = this.parts.map(toColour);
    }
    const pixels = channels === 3 && image.channels === 1 ? toColour(image.pixels) : image.pixels;
    (this.parts[part] as Uint8Array).set(pixels, index * pixels.length);
  }

  result(): { readonly shape: ImageShape; readonly parts: readonly Uint8Array[] } {
    const { height, width, channels } = this.shape as ImageShape;
    return { shape: { height, width, channels }, parts: this.parts };
  }
}

/** Sizes by how often they occur, with the first file of each. */
type Sizes = Map<string, { count: number; readonly first: string }>;

const refuseMixedSizes = (sizes: Sizes, where: string): never => {
  const list = [...sizes]
    .sort(([, a], [, b]) => b.count - a.count)
    .map(([size, { count, first }]) => `${size} (${counted(count, 'image')}, such as ${first})`);
  return refuse(
    `the images differ in height×width: ${firstFew(list)}`,
    where,
    'Give `size: N` to resize all of them to N×N, or remove the odd ones.',
  );
};

/**
 * Decodes a plan's files into two sets of examples. All files are tried before a failure tells of the bad ones. Images of
 * one grey and one coloured kind become coloured all.
 */
export const decodeImages = async (
  source: Pick<Source, 'path' | 'read'>,
  plan: ImagePlan,
  size: number | undefined,
  { onProgress }: LoadOptions,
): Promise<{ readonly image: ImageShape; readonly train: DecodedExamples; readonly test: DecodedExamples }> => {
  const parts = [plan.train, plan.test];
  const places = new Map(
    parts.flatMap((files, part) => files.map(({ path }, index) => [path, { part, index }] as const)),
  );
  const canvas = new Canvas(
    parts.map((files) => files.length),
    source.path,
  );
  if (size !== undefined) checkRoom(places.size, { height: size, width: size, channels: 1 }, source.path);
  const bad: string[] = [];
  const sizes: Sizes = new Map();
  let done = 0;
  const take = (path: string, found: Image | Undecodable): void => {
    if ('wrong' in found) {
      bad.push(`${path} (${found.wrong})`);
      return;
    }
    const { part, index } = places.get(path) as { part: number; index: number };
    const key = `${found.height}×${found.width}`;
    const known = sizes.get(key);
    if (known === undefined) sizes.set(key, { count: 1, first: path });
    else known.count++;
    // After the first bad file only the count of bad ones is still of interest.
    if (bad.length === 0 && sizes.size === 1) canvas.put(part, index, found);
  };
  for await (const lot of decodeAll(source.read(new Set(places.keys())), places.size, size)) {
    for (const { path, found } of lot) take(path, found);
    done += lot.length;
    onProgress?.(done, places.size);
  }
  if (bad.length > 0) {
    refuse(
      `${bad.length.toLocaleString('en')} of ${counted(places.size, 'image')} cannot be decoded: ${firstFew(bad.sort())}`,
      source.path,
      'Get these files again, or remove them.',
    );
  }
  if (sizes.size > 1) refuseMixedSizes(sizes, source.path);
  const { shape, parts: pixels } = canvas.result();
  const examples = (part: number): DecodedExamples => {
    const files = parts[part] as readonly LabelledFile[];
    const labels = labelArray(files.length, plan.classes.length);
    for (let i = 0; i < files.length; i++) labels[i] = (files[i] as LabelledFile).label;
    return { images: pixels[part] as Uint8Array, labels, count: files.length };
  };
  return { image: shape, train: examples(0), test: examples(1) };
};
