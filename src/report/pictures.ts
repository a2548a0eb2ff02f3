import { createRequire } from 'node:module';
import type { Dataset } from '../data/dataset.js';
import { encodePng, toColour } from '../data/images.js';
import { charactersOf, glyphOf, glyphSize } from './glyphs.js';

// Required rather than imported: what the default import of this CommonJS package is depends on who loads the module.
const { GIFEncoder, applyPalette, quantize } = createRequire(import.meta.url)('gifenc') as typeof import('gifenc');

/** RGB of 8 bits, [height, width, 3] flat. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

type Shape = Dataset['image'];

/** Images as a data set has them: uint8, [count, height, width, channels] flat, of 1 (grey) or 3 (RGB) channels. */
export interface Images {
  readonly images: Uint8Array;
  readonly shape: Shape;
}

/** A row of a grid: its name, and which images to show. */
export interface GridRow {
  readonly label: string;
  /** Indices of images; one may be shown several times, and where there is none a place stays empty. */
  readonly places: readonly (number | undefined)[];
}

export interface GridOptions {
  /** A line above the rows. */
  readonly title?: string;
  /** Pixels of the picture per pixel of an image, each way. Default: as many as keep an image within 64 pixels, at least 1. */
  readonly scale?: number;
}

// Greys only: a grid of grey images has no more than 256 colours, so that a GIF holds it unchanged.
const paper = 240;
const ink = 32;

/** Pixels. */
const margin = 8;
const gap = 2;
const dot = 2;
const textHeight = dot * glyphSize.height;

/** Characters. */
const longestLabel = 24;
const longestTitle = 60;

/** The side of an image in a grid, in pixels, that the default scale does not exceed. */
const largestCell = 64;

/* PNG */

const channelsOf = ({ channels }: Shape): 1 | 3 => {
  if (channels !== 1 && channels !== 3) throw new Error(`images of ${channels} channels are neither grey nor RGB`);
  return channels;
};

const bytesOf = ({ height, width, channels }: Shape): number => height * width * channels;

/** One image, uint8 [height, width, channels] flat, as a lossless PNG: grey for one channel, RGB for three. */
export const pngOf = (image: Uint8Array, shape: Shape): Buffer => {
  const channels = channelsOf(shape);
  if (image.length !== bytesOf(shape)) {
    throw new Error(`${image.length} bytes are no image of ${shape.height}×${shape.width}×${channels}`);
  }
  return encodePng({ height: shape.height, width: shape.width, channels, pixels: image });
};

export const pictureToPng = ({ width, height, pixels }: Picture): Buffer =>
  encodePng({ height, width, channels: 3, pixels });

/* Pictures of pictures */

interface Part {
  readonly picture: Picture;
  /** Of its top left corner. */
  readonly x: number;
  readonly y: number;
}

/** Parts, later ones above earlier ones, on paper that is large enough for all of them. */
const assembled = (width: number, height: number, parts: readonly Part[]): Picture => {
  const pixels = new Uint8Array(width * height * 3).fill(paper);
  for (const { picture, x, y } of parts) {
    const line = 3 * picture.width;
    for (let row = 0; row < picture.height; row++) {
      pixels.set(picture.pixels.subarray(row * line, (row + 1) * line), 3 * ((y + row) * width + x));
    }
  }
  return { width, height, pixels };
};

/** Each pixel as a square of `scale`×`scale`. */
const enlarged = ({ width, height, pixels }: Picture, scale: number): Picture => {
  const large = { width: width * scale, height: height * scale, pixels: new Uint8Array(pixels.length * scale * scale) };
  const line = 3 * large.width;
  for (let y = 0; y < height; y++) {
    const top = y * scale * line;
    for (let i = 0; i < 3 * large.width; i++) {
      large.pixels[top + i] = pixels[3 * (y * width + Math.floor(i / 3 / scale)) + (i % 3)] as number;
    }
    for (let copy = 1; copy < scale; copy++) large.pixels.copyWithin(top + copy * line, top, top + line);
  }
  return large;
};

/** A line of text of at most `most` characters, without space around it; of no text nothing. */
const written = (text: string, most: number): Picture => {
  const glyphs = charactersOf(text, most).map(glyphOf);
  const advance = glyphSize.width + 1;
  const [width, height] = glyphs.length === 0 ? [0, 0] : [glyphs.length * advance - 1, glyphSize.height];
  const pixels = new Uint8Array(width * height * 3).fill(paper);
  glyphs.forEach((columns, at) => {
    columns.forEach((column, x) => {
      for (let y = 0; y < height; y++) {
        const pixel = 3 * (y * width + at * advance + x);
        if ((column >> y) & 1) pixels.fill(ink, pixel, pixel + 3);
      }
    });
  });
  return enlarged({ width, height, pixels }, dot);
};

const widest = (pictures: readonly Picture[]): number => pictures.reduce((most, { width }) => Math.max(most, width), 0);

const highest = (pictures: readonly Picture[]): number =>
  pictures.reduce((most, { height }) => Math.max(most, height), 0);

/** Where the middle of something lies in the middle of `room`. */
const centred = (size: number, room: number): number => Math.floor((room - size) / 2);

const imageAt = ({ images, shape }: Images, place: number): Picture => {
  const { height, width } = shape;
  const size = bytesOf(shape);
  const own = images.subarray(place * size, (place + 1) * size);
  if (!Number.isInteger(place) || place < 0 || own.length !== size) {
    throw new Error(`there is no image ${place} among ${images.length / size}`);
  }
  return { width, height, pixels: channelsOf(shape) === 1 ? toColour(own) : own };
};

/**
 * A row an entry: its label, then its images, enlarged without smoothing. Labels and title are cut with an ellipsis
 * where they are long. Throws for a place that has no image.
 */
export const grid = (
  images: Images,
  rows: readonly GridRow[],
  { title = '', scale = defaultScale(images.shape) }: GridOptions = {},
): Picture => {
  if (!Number.isInteger(scale) || scale < 1) throw new Error(`scale is ${scale}, not a whole number of at least 1`);
  const cell = { width: images.shape.width * scale, height: images.shape.height * scale };
  const heading = written(title, longestTitle);
  const labels = rows.map(({ label }) => written(label, longestLabel));
  const labelWidth = widest(labels);
  const columns = rows.reduce((most, { places }) => Math.max(most, places.length), 0);
  const rowHeight = labelWidth === 0 ? cell.height : Math.max(cell.height, textHeight);

  const left = margin + (labelWidth === 0 ? 0 : labelWidth + margin);
  const top = margin + (title === '' ? 0 : textHeight + margin);
  const right = columns === 0 ? margin + labelWidth : left + columns * (cell.width + gap) - gap;
  const bottom = rows.length === 0 ? top : top + rows.length * (rowHeight + gap) - gap;

  const row = ({ places }: GridRow, r: number): readonly Part[] => {
    const label = labels[r] as Picture;
    const y = top + r * (rowHeight + gap);
    return [
      { picture: label, x: margin + labelWidth - label.width, y: y + centred(textHeight, rowHeight) },
      ...places.flatMap((place, c) =>
        place === undefined
          ? []
          : {
              picture: enlarged(imageAt(images, place), scale),
              x: left + c * (cell.width + gap),
              y: y + centred(cell.height, rowHeight),
            },
      ),
    ];
  };
  return assembled(Math.max(right, margin + heading.width) + margin, bottom + margin, [
    { picture: heading, x: margin, y: margin },
    ...rows.flatMap(row),
  ]);
};

const defaultScale = ({ height, width }: Shape): number =>
  Math.max(1, Math.floor(largestCell / Math.max(height, width)));

/** Pictures from left to right, their tops in one line, each below its title. */
export const sideBySide = (parts: readonly { readonly title: string; readonly picture: Picture }[]): Picture => {
  const titles = parts.map(({ title }) => written(title, longestTitle));
  const widths = parts.map(({ picture }, i) => Math.max(picture.width, margin + (titles[i] as Picture).width));
  const lefts = widths.map((_, i) => margin + widths.slice(0, i).reduce((sum, width) => sum + width + margin, 0));
  const top = 2 * margin + textHeight;
  const width = widths.reduce((sum, own) => sum + own + margin, margin);
  return assembled(width, top + highest(parts.map(({ picture }) => picture)) + margin, [
    ...titles.map((picture, i) => ({ picture, x: margin + (lefts[i] as number), y: margin })),
    ...parts.map(({ picture }, i) => ({ picture, x: lefts[i] as number, y: top })),
  ]);
};

/* GIF */

/** Limits of the format: 16 bits for a side in pixels and for a delay in hundredths of a second. */
const longest = 2 ** 16 - 1;

const mostColours = 256;

interface Paletted {
  readonly palette: readonly (readonly number[])[];
  /** The palette's index of each pixel. */
  readonly indices: Uint8Array;
}

/** With the very colours of the pixels, where these are few enough. */
const exactly = (pixels: Uint8Array): Paletted | undefined => {
  const found = new Map<number, number>();
  const indices = new Uint8Array(pixels.length / 3);
  for (let i = 0; i < indices.length; i++) {
    const [red, green, blue] = [pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]] as [number, number, number];
    const colour = (red << 16) | (green << 8) | blue;
    const index = found.get(colour) ?? found.size;
    if (index === mostColours) return undefined;
    found.set(colour, index);
    indices[i] = index;
  }
  return { palette: [...found.keys()].map((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]), indices };
};

/** Colours that do not flicker from picture to picture, whatever else is to be seen. */
const constant: Paletted['palette'] = [paper, ink].map((grey) => [grey, grey, grey]);

/** With as many near colours as there may be. */
const nearly = (pixels: Uint8Array): Paletted => {
  const rgba = new Uint8Array((pixels.length / 3) * 4).fill(255);
  for (let i = 0; i < rgba.length; i += 4) rgba.set(pixels.subarray((i / 4) * 3, (i / 4) * 3 + 3), i);
  // With more bits noise, in which no two colours are alike, takes seconds a picture and looks no better.
  const palette = [...constant, ...quantize(rgba, mostColours - constant.length, { format: 'rgb444' })];
  const indices = applyPalette(rgba, palette);
  for (let i = 0; i < indices.length; i++) {
    const own = constant.findIndex((colour) => colour.every((value, c) => value === pixels[3 * i + c]));
    if (own >= 0) indices[i] = own;
  }
  return { palette, indices };
};

/**
 * An animation that repeats for ever, each picture shown for `delayMilliseconds` (rounded to hundredths of a second).
 * Smaller pictures are padded at the right and below. Exact for pictures of at most 256 colours, as grids of grey images are.
 * Throws without pictures, and for sizes and delays that the format cannot express.
 */
export const gif = (pictures: readonly Picture[], delayMilliseconds: number): Buffer => {
  const [width, height] = [widest(pictures), highest(pictures)];
  if (width < 1 || height < 1 || width > longest || height > longest) {
    throw new Error(`${pictures.length} pictures of up to ${height}×${width} are no animation`);
  }
  if (!(delayMilliseconds >= 0 && delayMilliseconds <= 10 * longest)) {
    throw new Error(`a delay of ${delayMilliseconds} ms is not from 0 to ${10 * longest}`);
  }
  const encoder = GIFEncoder();
  for (const picture of pictures) {
    const { pixels } = assembled(width, height, [{ picture, x: 0, y: 0 }]);
    const { palette, indices } = exactly(pixels) ?? nearly(pixels);
    encoder.writeFrame(indices, width, height, { palette, delay: delayMilliseconds });
  }
  encoder.finish();
  return Buffer.from(encoder.bytes());
};
