import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/data/images.js';
import { charactersOf, glyphOf } from '../../src/report/glyphs.js';
import { type GridRow, gif, grid, type Picture, pictureToPng, pngOf, sideBySide } from '../../src/report/pictures.js';

const shapes = fc.record({
  height: fc.integer({ min: 1, max: 9 }),
  width: fc.integer({ min: 1, max: 9 }),
  channels: fc.constantFrom(1, 3),
});
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const imageOf = shapes.chain((shape) =>
  fc.record({ shape: fc.constant(shape), pixels: bytes(shape.height * shape.width * shape.channels) }),
);
const pictureOf = imageOf
  .filter(({ shape }) => shape.channels === 3)
  .map(({ shape: { height, width }, pixels }): Picture => ({ height, width, pixels }));

type Colour = readonly [number, number, number];

const colourAt = ({ width, pixels }: Picture, x: number, y: number): Colour => {
  const at = 3 * (y * width + x);
  return [pixels[at] as number, pixels[at + 1] as number, pixels[at + 2] as number];
};

/** Dark pixels, which on the paper are text. */
const inkIn = ({ pixels }: Picture): number => pixels.reduce((count, value) => count + (value < 100 ? 1 : 0), 0) / 3;

/** Images in which no two pixels are alike, so that each is found where it is and nowhere else. */
const distinct = (count: number, height: number, width: number) => ({
  images: Uint8Array.from({ length: count * height * width * 3 }, (_, i) =>
    i % 3 === 2 ? 255 : i % 3 === 1 ? Math.floor(i / 3) >> 8 : Math.floor(i / 3) & 255,
  ),
  shape: { height, width, channels: 3 },
});

describe('PNGs', () => {
  it('give the very bytes of an image back, in grey and in colour', () => {
    fc.assert(
      fc.property(imageOf, ({ shape, pixels }) => {
        const decoded = decodeImage(pngOf(pixels, shape));
        expect(decoded).toMatchObject(shape);
        expect([...decoded.pixels]).toEqual([...pixels]);
      }),
    );
  });

  it('give the very bytes of a picture back', () => {
    fc.assert(
      fc.property(pictureOf, (picture) => {
        const { height, width, pixels } = decodeImage(pictureToPng(picture));
        expect([height, width, [...pixels]]).toEqual([picture.height, picture.width, [...picture.pixels]]);
      }),
    );
  });

  it('are made of whole images of one or three channels only', () => {
    expect(() => pngOf(new Uint8Array(8), { height: 3, width: 3, channels: 1 })).toThrow(/8 bytes are no image of 3×3/);
    expect(() => pngOf(new Uint8Array(8), { height: 2, width: 2, channels: 2 })).toThrow(/neither grey nor RGB/);
  });
});

describe('text', () => {
  it('is cut by characters as a reader counts them', () => {
    expect(charactersOf('seed', 4)).toEqual([...'seed']);
    expect(charactersOf('seeds', 4)).toEqual([...'see…']);
    expect(charactersOf('e\u0301👨‍👩‍👧🇳🇴x', 4)).toHaveLength(4);
    expect(charactersOf('', 4)).toEqual([]);
  });

  it('has a glyph of its own for each printable character, and one for all that it does not know', () => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
    const glyphs = [...printable, '…', '×', '±', '−', '字'].map((character) => glyphOf(character).join());
    expect(new Set(glyphs).size).toBe(glyphs.length);
    expect(glyphOf('é')).toEqual(glyphOf('e'));
    expect(glyphOf('\n')).toEqual(glyphOf(' '));
    for (const strange of ['字', '\0', '\ud800', '👨‍👩‍👧', '\u0301', ''])
      expect(glyphOf(strange)).toEqual(glyphOf('𝄞'));
  });
});

describe('a grid', () => {
  const rows: readonly GridRow[] = [
    { label: 'cat', places: [2, 0, 2] },
    { label: 'a dog', places: [] },
    { label: 'automobile', places: [3, 1] },
  ];
  const places = rows.flatMap((row) => row.places);

  /** Where the top left pixel of each image is seen, left to right and top to bottom. */
  const corners = (picture: Picture, { images, shape }: ReturnType<typeof distinct>, scale: number) => {
    const size = shape.height * shape.width * 3;
    const found: { place: number; x: number; y: number }[] = [];
    for (let y = 0; y < picture.height; y++) {
      for (let x = 0; x < picture.width; x++) {
        const [red, green, blue] = colourAt(picture, x, y);
        const pixel = 256 * green + red;
        if (blue !== 255 || pixel % (size / 3) !== 0 || (pixel * 3) / size >= images.length / size) continue;
        if (found.some((other) => x - other.x < scale && x >= other.x && y - other.y < scale && y >= other.y)) continue;
        found.push({ place: (pixel * 3) / size, x, y });
      }
    }
    return found;
  };

  it('shows every pixel of every image enlarged, in rows two pixels apart', () => {
    const images = distinct(4, 5, 7);
    for (const [scale, title] of [
      [4, undefined],
      [5, 'five'],
    ] as const) {
      const picture = grid(images, rows, title === undefined ? { scale } : { scale, title });
      const found = corners(picture, images, scale);
      expect(found.map(({ place }) => place)).toEqual(places);
      const [first] = found as [(typeof found)[number]];
      expect(found.map(({ x, y }) => [(x - first.x) / (7 * scale + 2), (y - first.y) / (5 * scale + 2)])).toEqual([
        [0, 0],
        [1, 0],
        [2, 0],
        [0, 2],
        [1, 2],
      ]);
      for (const { place, x, y } of found) {
        for (let at = 0; at < 5 * 7 * scale * scale; at++) {
          const [across, down] = [at % (7 * scale), Math.floor(at / (7 * scale))];
          const pixel = 3 * (place * 35 + Math.floor(down / scale) * 7 + Math.floor(across / scale));
          expect(colourAt(picture, x + across, y + down)).toEqual([...images.images.subarray(pixel, pixel + 3)]);
        }
      }
    }
  });

  it('chooses a scale at which images of common sizes are seen well', () => {
    const cell = (side: number): number => {
      const shape = { height: side, width: side, channels: 1 };
      const images = { images: new Uint8Array(2 * side * side), shape };
      const width = (shown: readonly number[]) => grid(images, [{ label: '', places: shown }]).width;
      return width([0, 1]) - width([0]) - 2;
    };
    expect([1, 8, 20, 28, 32, 48, 64, 96].map(cell)).toEqual([64, 64, 60, 56, 64, 48, 64, 96]);
  });

  it('shows grey images in grey', () => {
    const images = { images: Uint8Array.from([10, 20, 30, 40]), shape: { height: 2, width: 2, channels: 1 } };
    const picture = grid(images, [{ label: '', places: [0] }], { scale: 1 });
    const { width, height } = picture;
    const seen = Array.from({ length: width * height }, (_, i) => colourAt(picture, i % width, Math.floor(i / width)));
    expect(seen.filter(([value]) => value < 100)).toEqual([10, 20, 30, 40].map((value) => [value, value, value]));
  });

  const white = { images: new Uint8Array(28 * 28).fill(255), shape: { height: 28, width: 28, channels: 1 } };

  it('has a label and a title that leave ink, and none where there is none', () => {
    expect(inkIn(grid(white, [{ label: '', places: [0] }]))).toBe(0);
    expect(inkIn(grid(white, [{ label: 'I', places: [] }]))).toBe(4 * 11);
    expect(inkIn(grid(white, [{ label: 'I', places: [0] }], { title: 'II' }))).toBe(3 * 4 * 11);
  });

  it('has as many rows as it is given', () => {
    const many = Array.from({ length: 200 }, (_, i) => ({ label: `class ${i}`, places: Array(10).fill(0) }));
    const height = (count: number) => grid(white, many.slice(0, count)).height;
    expect(height(200)).toBe(height(1) + 199 * 58);
    expect(height(0)).toBeGreaterThan(0);
    expect(decodeImage(pictureToPng(grid(white, many)))).toMatchObject({ height: height(200) });
  });

  it('survives any label and title', () => {
    const widest = grid(white, [{ label: 'x'.repeat(24), places: [0] }]).width;
    const hostile = [
      'x'.repeat(100_000),
      '日本語',
      'مرحبا',
      '\ud800\udc00\ud800',
      '\x1b[31m\n\t\0',
      'e\u0301'.repeat(99),
    ];
    for (const label of hostile) {
      const picture = grid(white, [{ label, places: [0] }]);
      expect(picture.width).toBeLessThanOrEqual(widest);
      expect(inkIn(picture)).toBeGreaterThan(0);
    }
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), (label, title) => {
        const { width, height, pixels } = grid(white, [{ label, places: [0] }], { title });
        expect(pixels.length).toBe(3 * width * height);
      }),
    );
  });

  it('refuses what it cannot show', () => {
    for (const place of [1, -1, 0.5, Number.NaN]) {
      expect(() => grid(white, [{ label: '', places: [place] }])).toThrow(/there is no image .* among 1/);
    }
    expect(() => grid(white, [], { scale: 0 })).toThrow(/scale is 0/);
    const two = { images: new Uint8Array(8), shape: { height: 2, width: 2, channels: 2 } };
    expect(() => grid(two, [{ label: '', places: [0] }])).toThrow(/neither grey nor RGB/);
  });
});

describe('pictures side by side', () => {
  const plain = (width: number, height: number, value: number): Picture => ({
    width,
    height,
    pixels: new Uint8Array(3 * width * height).fill(value),
  });

  it('are all there, from left to right below their titles', () => {
    const picture = sideBySide([
      { title: 'first', picture: plain(100, 40, 200) },
      { title: 'second, with a title that is wider', picture: plain(50, 60, 150) },
    ]);
    const places = (value: number) =>
      Array.from({ length: picture.width * picture.height }, (_, i) => i).filter(
        (i) => picture.pixels[3 * i] === value,
      );
    const [first, second] = [places(200), places(150)];
    expect([first.length, second.length]).toEqual([100 * 40, 50 * 60]);
    const corner = ([at]: readonly number[]) => [
      (at as number) % picture.width,
      Math.floor((at as number) / picture.width),
    ];
    const [[x1 = 0, y1 = 0], [x2 = 0, y2 = 0]] = [corner(first), corner(second)];
    expect(y1).toBe(y2);
    expect(x2).toBeGreaterThanOrEqual(x1 + 100);
    expect(inkIn(picture)).toBeGreaterThan(0);
  });

  it('may be none', () => {
    const { width, height, pixels } = sideBySide([]);
    expect(pixels.length).toBe(3 * width * height);
  });
});

describe('an animation', () => {
  const picture = (width: number, height: number, seed: number): Picture => ({
    width,
    height,
    pixels: Uint8Array.from({ length: width * height }, (_, i) => (i * 37 + seed) % 256).reduce(
      (rgb, value, i) => rgb.fill(value, 3 * i, 3 * i + 3),
      new Uint8Array(3 * width * height),
    ),
  });

  it('has a frame a picture, each of them exact where it has few colours', () => {
    const pictures = [picture(40, 30, 0), picture(40, 30, 99), picture(40, 30, 5)];
    const { signature, width, height, frames } = decodeGif(gif(pictures, 400));
    expect([signature, width, height]).toEqual(['GIF89a', 40, 30]);
    expect(frames.map(({ delay }) => delay)).toEqual([40, 40, 40]);
    frames.forEach(({ pixels }, i) => {
      expect([...pixels]).toEqual([...(pictures[i] as Picture).pixels]);
    });
  });

  it('pads smaller pictures', () => {
    const { width, height, frames } = decodeGif(gif([picture(4, 9, 0), picture(8, 3, 1)], 100));
    expect([width, height, frames.length]).toEqual([8, 9, 2]);
    const second = { width, height, pixels: frames[1]?.pixels as Uint8Array };
    expect(colourAt(second, 7, 2)).toEqual(colourAt(picture(8, 3, 1), 7, 2));
    expect(colourAt(second, 7, 3)).toEqual([240, 240, 240]);
  });

  it('is near where it has more colours than the format', () => {
    const pixels = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => {
      const at = Math.floor(i / 3);
      return [4 * (at % 64), 4 * Math.floor(at / 64), 128][i % 3] as number;
    });
    const [frame] = decodeGif(gif([{ width: 64, height: 64, pixels }], 100)).frames;
    const worst = pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - (frame?.pixels[i] as number))), 0);
    expect(worst).toBeLessThan(24);
  });

  it('has the same paper and ink in every frame', () => {
    // Of thousands of colours near those of paper and ink.
    const noise = (seed: number): Picture => {
      let state = seed;
      const images = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return (state >>> 27) + (i < 3 * 64 * 32 ? 224 : 16);
      });
      return grid({ images, shape: { height: 64, width: 64, channels: 3 } }, [{ label: 'cat', places: [0] }]);
    };
    const pictures = [noise(0), noise(1)];
    const { frames } = decodeGif(gif(pictures, 100));
    pictures.forEach(({ width, height, pixels }, frame) => {
      for (let i = 0; i < 3 * width * height; i += 3) {
        const colour = [...pixels.subarray(i, i + 3)];
        if (!colour.every((value) => value === 240) && !colour.every((value) => value === 32)) continue;
        expect([...(frames[frame]?.pixels.subarray(i, i + 3) ?? [])]).toEqual(colour);
      }
    });
  });

  it('needs pictures, and what the format can say', () => {
    expect(() => gif([], 100)).toThrow(/0 pictures/);
    expect(() => gif([picture(1, 1, 0)], -1)).toThrow(/delay of -1/);
    expect(() => gif([{ width: 70_000, height: 1, pixels: new Uint8Array(210_000) }], 100)).toThrow(/70000/);
    expect(decodeGif(gif([picture(1, 1, 7)], 0)).frames).toHaveLength(1);
  });
});

interface Frame {
  /** Hundredths of a second. */
  readonly delay: number;
  /** RGB. */
  readonly pixels: Uint8Array;
}

/** A GIF of whole frames, as GIF89a has it. */
const decodeGif = (file: Buffer) => {
  const [signature, width, height] = [file.toString('latin1', 0, 6), file.readUInt16LE(6), file.readUInt16LE(8)];
  const palette = (at: number, packed: number): Buffer => file.subarray(at, at + 3 * 2 ** ((packed & 7) + 1));
  const common = palette(13, file[10] as number);
  let at = 13 + common.length;
  /** The sub-blocks from `at`, behind which it leaves `at`. */
  const blocks = (): Buffer => {
    const parts: Buffer[] = [];
    for (let size = file[at] as number; size > 0; size = file[at] as number) {
      parts.push(file.subarray(at + 1, at + 1 + size));
      at += 1 + size;
    }
    at += 1;
    return Buffer.concat(parts);
  };
  const frames: Frame[] = [];
  let delay = Number.NaN;
  while (file[at] !== 0x3b) {
    if (file[at] === 0x21) {
      const isControl = file[at + 1] === 0xf9;
      at += 2;
      const content = blocks();
      if (isControl) delay = content.readUInt16LE(1);
    } else {
      expect([file[at], file.readUInt16LE(at + 5), file.readUInt16LE(at + 7)]).toEqual([0x2c, width, height]);
      const packed = file[at + 9] as number;
      const own = packed & 0x80 ? palette(at + 10, packed) : Buffer.alloc(0);
      at += 10 + own.length;
      const bits = file[at++] as number;
      const colours = own.length > 0 ? own : common;
      frames.push({
        delay,
        pixels: Uint8Array.from(
          unpacked(blocks(), bits).flatMap((index) => [...colours.subarray(3 * index, 3 * index + 3)]),
        ),
      });
    }
  }
  expect(at).toBe(file.length - 1);
  return { signature, width, height, frames };
};

/** Variable-length LZW of the GIF kind, for indices of `bits` bits. */
const unpacked = (packed: Buffer, bits: number): readonly number[] => {
  const clear = 2 ** bits;
  const indices: number[] = [];
  let table: number[][] = [];
  let before: number[] | undefined;
  let size = bits + 1;
  for (let at = 0; at + size <= 8 * packed.length; ) {
    let code = 0;
    for (let i = 0; i < size; i++, at++) code |= (((packed[at >> 3] as number) >> (at & 7)) & 1) << i;
    if (code === clear + 1) break;
    if (code === clear) {
      table = Array.from({ length: clear + 2 }, (_, i) => [i]);
      [before, size] = [undefined, bits + 1];
      continue;
    }
    const entry: number[] = table[code] ?? [...(before ?? []), (before ?? [])[0] as number];
    indices.push(...entry);
    if (before !== undefined && table.length < 4096) table.push([...before, entry[0] as number]);
    if (table.length === 2 ** size && size < 12) size += 1;
    before = entry;
  }
  return indices;
};
