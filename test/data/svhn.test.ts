import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { parseMat } from '../../src/data/mat.js';
import { svhn } from '../../src/data/svhn.js';
import { afterEdit, type Files, fail, failureOf, pngOf, succeed, temporaryFolder, writeFiles } from './helpers.js';
import { array, colourOf, DOUBLE, digits, matFile, packed } from './mat-files.js';

const root = temporaryFolder();
let made = 0;
const folderWith = (files: Files) => writeFiles(join(root, `set${made++}`), files);
const load = (path?: string) => svhn({ path }).load({ cache: false });

const ALL = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

describe('a MATLAB file', () => {
  it('of version 7.3 is called what it is, and how to save it', async () => {
    const hdf5 = Buffer.concat([Buffer.alloc(512), Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), Buffer.alloc(200)]);
    hdf5.write('MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .');
    hdf5.writeUInt16LE(0x0200, 124);
    hdf5.write('IM', 126);
    const path = await folderWith({ 'train_32x32.mat': hdf5, 'test_32x32.mat': hdf5 });
    expect(await fail(load(path))).toMatchObject({
      what: 'it is a MATLAB file of version 7.3 (HDF5), which is not read',
      where: `${path}: test_32x32.mat`,
      remedy: expect.stringContaining("'-v7'"),
    });
  });

  it('may unpack to so many bytes in all, and not in each array', async () => {
    const one = packed(array('X', [1000, 1], Buffer.alloc(1000)));
    expect(parseMat(matFile(one, one), 'x.mat', 2200).length).toBe(2);
    const { what } = await failureOf(() => parseMat(matFile(one, one, one), 'x.mat', 2200));
    expect(what).toBe('the MATLAB file unpacks to more than 2,200 bytes');
  });
});

describe('SVHN', () => {
  it('is read from the MATLAB files and from images, to the same fingerprint', async () => {
    const files = { 'train_32x32.mat': digits(ALL), 'test_32x32.mat': digits([7, 0]) };
    const data = await succeed(load(await folderWith(files)));
    expect(data).toMatchObject({ name: 'svhn', classes: [...'0123456789'], augmentation: { crop: 0, flip: false } });
    expect([[...data.train.labels], [...data.test.labels]]).toEqual([ALL, [7, 0]]);
    const at = 7 * 3072 + (5 * 32 + 17) * 3;
    expect([...data.train.images.slice(at, at + 3)]).toEqual(colourOf(7, 5, 17));
    const images = Object.fromEntries(
      ALL.flatMap((label) =>
        ['train', 'test'].map((part) => [`${part}/${label}/1.png`, pngOf(32, 32, (y, x) => colourOf(label, y, x))]),
      ),
    );
    const both = { 'a/train_32x32.mat': digits(ALL, (one) => one), 'a/test_32x32.mat': digits(ALL) };
    const fromMat = await succeed(load(await folderWith(both)));
    expect(fromMat.fingerprint).toBe((await succeed(load(await folderWith(images)))).fingerprint);
  });

  it('in the cache follows an edit of its constants', async () => {
    const path = await folderWith({ 'train_32x32.mat': digits(ALL), 'test_32x32.mat': digits([7, 0]) });
    expect(await afterEdit(svhn({ path }), join(root, 'cache'))).toEqual([0, 1]);
  });

  it('that is incomplete, damaged or something else is refused', async () => {
    const good = { 'train_32x32.mat': digits(ALL), 'test_32x32.mat': digits([7, 0]) };
    const what = async (files: Files) => (await fail(load(await folderWith({ ...good, ...files })))).what;
    expect((await fail(load(await folderWith({ 'train_32x32.mat': digits(ALL) })))).what).toBe(
      'there is no test_32x32.mat in it',
    );
    expect(await what({ 'train_32x32.mat': 'x' })).toBe('it is no MATLAB file of version 5');
    const whole = good['train_32x32.mat'];
    expect(await what({ 'train_32x32.mat': whole.subarray(0, whole.length - 9) })).toBe('the MATLAB file is truncated');
    const bent = Buffer.from(whole);
    bent.fill(0x55, 150, 170);
    expect(await what({ 'train_32x32.mat': bent })).toMatch(/^the MATLAB file is damaged/);
    const x = array('X', [32, 32, 3, 1], Buffer.alloc(3072));
    expect(await what({ 'test_32x32.mat': matFile(x) })).toBe('there is no array y in it');
    const y = (...values: number[]) =>
      array('y', [values.length, 1], Buffer.from(Float64Array.from(values).buffer), DOUBLE);
    expect(await what({ 'test_32x32.mat': matFile(x, y(11)) })).toBe('label 11 of image 0 is out of range 1 to 10');
    expect(await what({ 'test_32x32.mat': matFile(x, y(1, 2)) })).toBe('there are 2 labels for 1 image');
    for (const odd of [257, 1.5, -1, Number.NaN])
      expect(await what({ 'test_32x32.mat': matFile(x, y(odd)) })).toBe(
        `an array of the MATLAB file holds ${odd}, and whole numbers from 0 to 255 are expected`,
      );
    const small = array('X', [16, 16, 3, 1], Buffer.alloc(768));
    expect(await what({ 'test_32x32.mat': matFile(small, y(1)) })).toMatch(/^its images are 16 × 16 × 3 × 1/);
    expect((await fail(load(await folderWith({ 'train/a/1.png': '', 'test/a/1.png': '' })))).what).toBe(
      'its classes are not the ten digits: a',
    );
    expect((await fail(load())).remedy).toContain('`undistill data get svhn`');
  });

  it('is read or refused whatever a byte of the file is', () => {
    const good = matFile(
      array('X', [2, 2], Buffer.from([1, 2, 3, 4])),
      packed(array('y', [2, 1], Buffer.from([1, 2]))),
    );
    expect(parseMat(good, 'here').map(({ name, dims }) => [name, dims])).toEqual([
      ['X', [2, 2]],
      ['y', [2, 1]],
    ]);
    for (let at = 0; at < good.length; at++) {
      for (const by of [0x01, 0x55, 0xff]) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] as number) ^ by;
        try {
          parseMat(bad, 'here');
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FailureError);
        }
      }
    }
  });
});
