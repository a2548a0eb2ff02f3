import { inflateSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { bufferOf } from '../core/bytes.js';
import { saidBy } from '../core/errors.js';

/** A decoded image: uint8, [height, width, channels], grey or RGB. */
export interface Image {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly pixels: Uint8Array;
}

/** 4096 × 4096: a few kilobytes can announce far more, and would fill the memory. What is known to be larger may be. */
const MOST_PIXELS = 2 ** 24;

const checkSize = (height: number, width: number, most: number): void => {
  if (height === 0 || width === 0) throw new Error(`its size is ${height}×${width}`);
  if (height * width > most)
    throw new Error(`its size, ${height}×${width}, is more than ${Math.floor(most / 2 ** 20)} megapixels`);
};

/** Runs a decoder whose complaints are about its own insides. */
const decoding = <A>(format: 'PNG' | 'JPEG', run: () => A): A => {
  try {
    return run();
  } catch (thrown) {
    throw new Error(`the ${format} is damaged (${saidBy(thrown)})`);
  }
};

/* PNG */

/** The chunks of a PNG as far as they are whole (W3C PNG, section 5): a length, a name, the data and a checksum each. */
function* chunksOf(bytes: Buffer): Generator<{ readonly name: string; readonly data: Buffer }, void, void> {
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + bytes.readUInt32BE(at);
    if (end > bytes.length) return;
    yield { name: bytes.toString('latin1', at + 4, at + 8), data: bytes.subarray(at + 8, end - 4) };
    at = end;
  }
}

/** The decoder unpacks interlaced images without a limit; of others it takes no more than their size. */
const checkInterlaced = (packed: Buffer, height: number, width: number): void => {
  // Seven passes of at most 8 bytes a pixel, and a byte more a row, rounded up.
  const maxOutputLength = 8 * height * width + 4 * height + 16;
  try {
    inflateSync(packed, { maxOutputLength });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw thrown;
    throw new Error(`its data are more than ${height}×${width} pixels`);
  }
};

const decodePng = (bytes: Buffer, most: number): Image => {
  if (bytes.length < 29 || bytes.toString('latin1', 12, 16) !== 'IHDR') throw new Error('the PNG is truncated');
  const [width, height, colourType] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20), bytes[25] as number];
  checkSize(height, width, most);
  const chunks = [...chunksOf(bytes)];
  // The decoder would believe the last one.
  if (chunks.filter(({ name }) => name === 'IHDR').length > 1) throw new Error('the PNG has more than one header');
  if (bytes[28] !== 0) {
    const packed = Buffer.concat(chunks.flatMap(({ name, data }) => (name === 'IDAT' ? [data] : [])));
    decoding('PNG', () => checkInterlaced(packed, height, width));
  }
  const channels = colourType === 0 || colourType === 4 ? 1 : 3;
  // Always RGBA of 8 bits; transparency is dropped.
  const { data } = decoding('PNG', () => PNG.sync.read(bytes));
  const pixels = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < channels; c++) pixels[i * channels + c] = data[i * 4 + c] as number;
  }
  return { height, width, channels, pixels };
};

/* JPEG */

interface JpegHeader {
  readonly height: number;
  readonly width: number;
  readonly components: readonly { readonly id: number; readonly across: number; readonly down: number }[];
  /** Where the segment of Adobe's marker lies, and the colour transform that it states: 0 none, 1 YCbCr, 2 YCCK. */
  readonly adobe?: { readonly begin: number; readonly end: number; readonly transform: number };
}

/** What the segments before the first scan say (ITU-T T.81, annex B). */
const jpegHeader = (bytes: Buffer): JpegHeader => {
  let adobe: JpegHeader['adobe'];
  let frame: Omit<JpegHeader, 'adobe'> | undefined;
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) throw new Error(`the JPEG has no marker at byte ${at}`);
    const marker = bytes[at + 1] as number;
    if (marker === 0xff) {
      at++;
      continue;
    }
    if (marker === 0xda) break;
    const end = at + 2 + bytes.readUInt16BE(at + 2);
    if (end > bytes.length) throw new Error('the JPEG is truncated');
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      if (frame !== undefined) throw new Error('the JPEG has more than one frame');
      if (marker > 0xc2)
        throw new Error('the JPEG is lossless, hierarchical or arithmetic-coded, which is not supported');
      if (end < at + 10 || end < at + 10 + 3 * (bytes[at + 9] as number)) throw new Error('the JPEG frame is damaged');
      if (bytes[at + 4] !== 8) throw new Error(`the JPEG has ${bytes[at + 4]} bits a sample, not 8`);
      frame = {
        height: bytes.readUInt16BE(at + 5),
        width: bytes.readUInt16BE(at + 7),
        components: Array.from({ length: bytes[at + 9] as number }, (_, i) => ({
          id: bytes[at + 10 + 3 * i] as number,
          across: (bytes[at + 11 + 3 * i] as number) >> 4,
          down: (bytes[at + 11 + 3 * i] as number) & 15,
        })),
      };
    } else if (marker === 0xee && end >= at + 16 && bytes.toString('latin1', at + 4, at + 9) === 'Adobe') {
      adobe = { begin: at, end, transform: bytes[at + 15] as number };
    }
    at = end;
  }
  if (frame === undefined) throw new Error('the JPEG has no image in it');
  return adobe === undefined ? frame : { ...frame, adobe };
};

/** One line of half-width samples to full width by the triangle filter: 3/4 of the nearer sample and 1/4 of the farther. */
const doubleAcross = (
  line: Int32Array,
  samples: number,
  target: Uint8Array,
  at: number,
  width: number,
  shift: number,
  [even, odd]: readonly [number, number],
): void => {
  for (let x = 0; x < width; x++) {
    const near = x >> 1;
    const far = Math.min(samples - 1, Math.max(0, near + (x & 1 ? 1 : -1)));
    target[at + x] = (3 * (line[near] as number) + (line[far] as number) + (x & 1 ? odd : even)) >> shift;
  }
};

/**
 * A colour plane that the decoder has enlarged by repeating samples, enlarged by the triangle filter instead, as
 * libjpeg does by default (its "fancy upsampling", with its rounding), and with it Pillow and torchvision.
 * The samples themselves are found again at every first of the repeated ones.
 */
const smoothPlane = (plane: Uint8Array, height: number, width: number, across: number, down: number): Uint8Array => {
  const samples = Math.ceil(width / across);
  // Rules of libjpeg: other ratios, and planes of one or two samples across, are left as they are.
  if (across > 2 || down > 2 || (across === 1 && down === 1) || (across === 2 && samples <= 2)) return plane;
  const rows = Math.ceil(height / down);
  const smooth = new Uint8Array(height * width);
  const line = new Int32Array(samples);
  for (let y = 0; y < height; y++) {
    const near = down === 1 ? y : y >> 1;
    const far = down === 1 ? near : Math.min(rows - 1, Math.max(0, near + (y & 1 ? 1 : -1)));
    for (let x = 0; x < samples; x++) {
      const nearer = plane[near * down * width + x * across] as number;
      line[x] = down === 1 ? nearer : 3 * nearer + (plane[far * down * width + x * across] as number);
    }
    if (across === 1) {
      for (let x = 0; x < width; x++) smooth[y * width + x] = ((line[x] as number) + (y & 1 ? 2 : 1)) >> 2;
    } else if (down === 1) {
      doubleAcross(line, samples, smooth, y * width, width, 2, [1, 2]);
    } else {
      doubleAcross(line, samples, smooth, y * width, width, 4, [8, 7]);
    }
  }
  return smooth;
};

const clamp = (value: number): number => Math.max(0, Math.min(255, value));

/** JFIF's YCbCr to RGB in 16-bit fixed point, rounded, as libjpeg. */
const toRgb = (luma: Uint8Array, blue: Uint8Array, red: Uint8Array): Uint8Array => {
  const fixed = (value: number): number => Math.round(value * 65536);
  const [redOfCr, blueOfCb, greenOfCr, greenOfCb] = [fixed(1.402), fixed(1.772), fixed(0.71414), fixed(0.34414)];
  const pixels = new Uint8Array(luma.length * 3);
  for (let i = 0; i < luma.length; i++) {
    const y = luma[i] as number;
    const cb = (blue[i] as number) - 128;
    const cr = (red[i] as number) - 128;
    pixels[3 * i] = clamp(y + ((redOfCr * cr + 32768) >> 16));
    pixels[3 * i + 1] = clamp(y + ((-greenOfCb * cb - greenOfCr * cr + 32768) >> 16));
    pixels[3 * i + 2] = clamp(y + ((blueOfCb * cb + 32768) >> 16));
  }
  return pixels;
};

const channel = (interleaved: Uint8Array, c: number): Uint8Array => {
  const plane = new Uint8Array(interleaved.length / 3);
  for (let i = 0; i < plane.length; i++) plane[i] = interleaved[3 * i + c] as number;
  return plane;
};

/**
 * jpeg-js does entropy decoding and the inverse transform. Colour is finished here, since jpeg-js repeats the samples
 * of reduced colour planes and rounds towards zero, which makes images blockier and darker than everyone else's.
 */
const decodeJpeg = (bytes: Buffer, most: number): Image => {
  // Where data is missing at the end jpeg-js invents grey.
  if (bytes.lastIndexOf(Buffer.from([0xff, 0xd9])) < 0) throw new Error('the JPEG is truncated');
  const { height, width, components, adobe } = jpegHeader(bytes);
  checkSize(height, width, most);
  const settings = { useTArray: true, formatAsRGBA: false, tolerantDecoding: false } as const;
  if (components.length === 4) {
    const { data } = decoding('JPEG', () => jpeg.decode(bytes, settings));
    return { height, width, channels: 3, pixels: data };
  }
  // Without Adobe's marker jpeg-js hands out the planes as they are.
  const plain =
    adobe === undefined ? bytes : Buffer.concat([bytes.subarray(0, adobe.begin), bytes.subarray(adobe.end)]);
  const { data } = decoding('JPEG', () => jpeg.decode(plain, { ...settings, colorTransform: false }));
  if (components.length === 1) return { height, width, channels: 1, pixels: channel(data, 0) };
  if (components.length !== 3) throw new Error(`the JPEG has ${components.length} colour components`);
  const acrossMost = Math.max(...components.map(({ across }) => across));
  const downMost = Math.max(...components.map(({ down }) => down));
  const planes = components.map(({ across, down }, c) =>
    smoothPlane(channel(data, c), height, width, acrossMost / across, downMost / down),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  const isRgb =
    adobe === undefined ? String.fromCharCode(...components.map(({ id }) => id)) === 'RGB' : adobe.transform === 0;
  return { height, width, channels: 3, pixels: isRgb ? data : toRgb(...planes) };
};

/**
 * Decodes a JPEG (baseline or progressive) or a PNG, told apart by content. Throws an `Error` that says what is wrong
 * with the file, without its name.
 *
 * @param most pixels that it may have; default 2²⁴
 */
export const decodeImage = (bytes: Uint8Array, most = MOST_PIXELS): Image => {
  const buffer = bufferOf(bytes);
  if (buffer.length === 0) throw new Error('the file is empty');
  if (buffer[0] === 0xff && buffer[1] === 0xd8) return decodeJpeg(buffer, most);
  if (buffer.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n') return decodePng(buffer, most);
  throw new Error('it is neither a JPEG nor a PNG');
};

/** Pixels that a file says it has, of which nothing is decoded; 0 where it does not say. */
export const announcedPixels = (bytes: Uint8Array): number => {
  const buffer = bufferOf(bytes);
  if (buffer.length < 29) return 0;
  if (buffer.toString('latin1', 12, 16) === 'IHDR') return buffer.readUInt32BE(16) * buffer.readUInt32BE(20);
  try {
    const { height, width } = jpegHeader(buffer);
    return height * width;
  } catch {
    return 0;
  }
};

/** Grey as RGB; RGB as it is. */
export const toColour = (grey: Uint8Array): Uint8Array => {
  const pixels = new Uint8Array(grey.length * 3);
  for (let i = 0; i < grey.length; i++) pixels.fill(grey[i] as number, 3 * i, 3 * i + 3);
  return pixels;
};

/** An image as a PNG, of which `decodeImage` gives the very bytes back. */
export const encodePng = ({ height, width, channels, pixels }: Image): Buffer => {
  const colorType = channels === 1 ? 0 : 2;
  const png = new PNG({ width, height, colorType, inputColorType: colorType, inputHasAlpha: false });
  png.data = bufferOf(pixels);
  return PNG.sync.write(png, { colorType, inputColorType: colorType, inputHasAlpha: false });
};
