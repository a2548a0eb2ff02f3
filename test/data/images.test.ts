import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import jpeg from 'jpeg-js';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/core/hash.js';
import { announcedPixels, decodeImage } from '../../src/data/images.js';
import { jpegOf, pngOf } from './helpers.js';

/** The encoder writes baseline JPEG without reducing the colour planes. */
const gradient = (y: number, x: number) => [16 * y, 16 * x, 128] as const;

describe('decodeImage', () => {
  it('reads a PNG exactly: colour, with transparency dropped, and grey', () => {
    const expected = Array.from({ length: 12 }, (_, i) => gradient(Math.floor(i / 4), i % 4)).flat();
    for (const colorType of [2, 6] as const) {
      expect(decodeImage(pngOf(3, 4, gradient, colorType))).toMatchObject({ height: 3, width: 4, channels: 3 });
      expect([...decodeImage(pngOf(3, 4, gradient, colorType)).pixels]).toEqual(expected);
    }
    const grey = decodeImage(pngOf(2, 3, [77, 77, 77], 0));
    expect(grey).toMatchObject({ height: 2, width: 3, channels: 1 });
    expect([...grey.pixels]).toEqual(new Array(6).fill(77));
  });

  it('reads a JPEG to within its loss', () => {
    const { height, width, channels, pixels } = decodeImage(jpegOf(16, 16, gradient, 100));
    expect([height, width, channels]).toEqual([16, 16, 3]);
    for (let i = 0; i < 256; i++) {
      gradient(i >> 4, i & 15).forEach((value, c) => {
        expect(Math.abs((pixels[3 * i + c] as number) - value)).toBeLessThanOrEqual(3);
      });
    }
  });

  it('rounds to the nearest colour instead of towards zero', () => {
    // A flat (100, 150, 200): Y 140.75, Cb 161.4, Cr 98.9 are stored as 141, 161, 99, and 141 + 1.402·(99 − 128) = 100.3,
    // 141 − 0.34414·33 + 0.71414·29 = 150.4, 141 + 1.772·33 = 199.5.
    expect([...decodeImage(jpegOf(8, 8, [100, 150, 200], 100)).pixels.subarray(0, 3)]).toEqual([100, 150, 199]);
  });

  it('reads the planes as RGB where Adobe’s marker says so', () => {
    const plain = jpegOf(8, 8, [100, 150, 200], 100);
    const adobe = (transform: number) =>
      Buffer.concat([
        plain.subarray(0, 2),
        Buffer.from([0xff, 0xee, 0, 14, ...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, transform]),
        plain.subarray(2),
      ]);
    expect([...decodeImage(adobe(1)).pixels]).toEqual([...decodeImage(plain).pixels]);
    expect([...decodeImage(adobe(0)).pixels.subarray(0, 3)]).toEqual([141, 161, 99]);
  });

  it('enlarges reduced colour planes smoothly, as Pillow does', () => {
    // A 10×6 picture with a red block, written (4:2:0, quality 80) and read again by Pillow 13 with libjpeg-turbo 3.
    const file = Buffer.from(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYn' +
        'KSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo' +
        'KCgoKCgoKCj/wAARCAAGAAoDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAQG/8QAIRAAAAQFBQAAAAAAAAAAAAAAAAEC' +
        'EQQHEhMhAxQxUZH/xAAVAQEBAAAAAAAAAAAAAAAAAAAFBv/EACIRAAEACQUAAAAAAAAAAAAAAAEAAgQFBhEhIjEDFEFxgf/aAAwD' +
        'AQACEQMRAD8AjgZeIvaVjbWnKs1PVzlsdDUpl5B0llHgAJiM25o3615yeUVh14tId2hJaVowAJ90r6n/2Q==',
      'base64',
    );
    const pillow = Buffer.from(
      'ACfyACDaGBWuQBeRVBFyZw9bhB9bmRxIuRYxxxQnADzyCTXcQC62byualC6EpyxvqStbti1HyzI10jQrCFvlK1LRd0avpCyD0SZq' +
        '5SdX0CI53kQ82VQp1FwdFYLnPXrVimmwojZqxyFH2yU0yyog72xA23sn04QbCKLqKpvXb4uwf1tpnUpGsk40p1Qi1JNB1Ko00bEq' +
        'Hs7/O8bxfrnLoKGbyZ2E3KJyzKBZ4sJf18dA1sw2',
      'base64',
    );
    const worst = (pixels: Uint8Array) =>
      pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - (pillow[i] as number))), 0);
    const image = decodeImage(file);
    expect(image).toMatchObject({ height: 6, width: 10, channels: 3 });
    expect(worst(image.pixels)).toBeLessThanOrEqual(3);
    // What the colour is finished here for: repeated samples are far off.
    expect(worst(jpeg.decode(file, { useTArray: true, formatAsRGBA: false }).data)).toBeGreaterThan(30);
  });

  it('says what is wrong with a file', () => {
    const good = jpegOf(16, 16, gradient);
    const png = pngOf(16, 16, gradient);
    const badCrc = Buffer.from(png);
    badCrc[badCrc.length - 14] = (badCrc[badCrc.length - 14] as number) ^ 1; // in the checksum of the pixels
    const huge = Buffer.from(png);
    huge.writeUInt32BE(60_000, 16);
    huge.writeUInt32BE(60_000, 20);
    const hugeJpeg = Buffer.from(good);
    const frame = hugeJpeg.indexOf(Buffer.from([0xff, 0xc0]));
    hugeJpeg.writeUInt16BE(65_000, frame + 5);
    hugeJpeg.writeUInt16BE(65_000, frame + 7);
    expect(() => decodeImage(new Uint8Array(0))).toThrow('the file is empty');
    expect(() => decodeImage(Buffer.from('GIF89a...'))).toThrow('it is neither a JPEG nor a PNG');
    expect(() => decodeImage(good.subarray(0, good.length - 20))).toThrow('the JPEG is truncated');
    expect(() => decodeImage(Buffer.from([0xff, 0xd8, 0xff, 0xd9]))).toThrow('the JPEG has no image in it');
    expect(() => decodeImage(png.subarray(0, 20))).toThrow('the PNG is truncated');
    expect(() => decodeImage(png.subarray(0, png.length - 20))).toThrow(/^the PNG is damaged/);
    expect(() => decodeImage(badCrc)).toThrow(/^the PNG is damaged/);
    expect(() => decodeImage(huge)).toThrow('its size, 60000×60000, is more than 16 megapixels');
    expect(() => decodeImage(hugeJpeg)).toThrow('its size, 65000×65000, is more than 16 megapixels');
  });

  it('believes no second header, and unpacks no more than the first announces', () => {
    const png = pngOf(16, 16, gradient);
    const chunk = (name: string, data: Buffer): Buffer => {
      const whole = Buffer.alloc(12 + data.length);
      whole.writeUInt32BE(data.length);
      whole.write(name, 4);
      data.copy(whole, 8);
      whole.writeUInt32BE(crc32(whole.subarray(4, -4)), 8 + data.length);
      return whole;
    };
    const header = Buffer.from(png.subarray(16, 29));
    // Before the pixels, and behind the first of them.
    const larger = Buffer.from(header);
    larger.writeUInt32BE(20_000, 0);
    larger.writeUInt32BE(20_000, 4);
    for (const at of [33, png.length - 12]) {
      const two = Buffer.concat([png.subarray(0, at), chunk('IHDR', larger), png.subarray(at)]);
      expect(() => decodeImage(two)).toThrow('the PNG has more than one header');
    }
    header[12] = 1;
    const interlaced = (bytes: number): Buffer =>
      Buffer.concat([
        ...[png.subarray(0, 8), chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.alloc(bytes)))],
        chunk('IEND', Buffer.alloc(0)),
      ]);
    // Seven passes of 16×16 pixels in RGB, and a byte for each of their 2 + 2 + 2 + 4 + 4 + 8 + 8 rows.
    expect(decodeImage(interlaced(16 * 16 * 3 + 30))).toMatchObject({ height: 16, width: 16, channels: 3 });
    expect(() => decodeImage(interlaced(2 ** 26))).toThrow('its data are more than 16×16 pixels');
    const photo = jpegOf(16, 16, gradient);
    const frame = photo.indexOf(Buffer.from([0xff, 0xc0]));
    const end = frame + 2 + photo.readUInt16BE(frame + 2);
    const twice = Buffer.concat([photo.subarray(0, end), photo.subarray(frame)]);
    expect(() => decodeImage(twice)).toThrow('the JPEG has more than one frame');
  });

  it('knows how many pixels a file announces without decoding it', () => {
    const huge = Buffer.from(pngOf(16, 16, gradient));
    huge.writeUInt32BE(60_000, 16);
    expect([huge, jpegOf(16, 8, gradient), Buffer.from('GIF89a...'), Buffer.alloc(40)].map(announcedPixels)).toEqual([
      16 * 60_000,
      128,
      0,
      0,
    ]);
  });

  it('decodes or throws an Error for any damage', () => {
    const whole = [jpegOf(16, 16, gradient), pngOf(16, 16, gradient)];
    fc.assert(
      fc.property(
        fc.constantFrom(...whole),
        fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(2000),
        (bytes, changes, length) => {
          const damaged = Buffer.from(bytes);
          for (const [at, value] of changes) damaged[at % damaged.length] = value;
          try {
            const image = decodeImage(damaged.subarray(0, length));
            expect(image.pixels.length).toBe(image.height * image.width * image.channels);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Error);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
