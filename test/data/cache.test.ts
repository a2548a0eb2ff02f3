import { chmodSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { cacheFolder } from '../../src/core/cache-folder.js';
import { type Decoded, fingerprintOf } from '../../src/data/assemble.js';
import { type CacheEntry, cached, dataCacheFolder } from '../../src/data/cache.js';
import { failureOf, temporaryFolder } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const newFolder = () => join(root, `cache${made++}`);

const decoded = (first = 1): Decoded => ({
  image: { height: 1, width: 2, channels: 1 },
  classes: ['a', 'b'],
  normalisation: { mean: [0.5], std: [0.25] },
  augmentation: { crop: 0, flip: false },
  train: { images: Uint8Array.of(first, 2, 3, 4), labels: Uint8Array.of(0, 1), count: 2 },
  test: { images: Uint8Array.of(5, 6), labels: Uint8Array.of(1), count: 1 },
});

const entry: CacheEntry = { name: 'tiny', path: '/data/tiny', options: { size: 2 }, stamp: 'one' };

/** Loads through the cache; tells whether the set was made anew. */
const load = async (cache: string | false, change: Partial<CacheEntry> = {}, first = 1, inMemory?: number) => {
  const notes: string[] = [];
  let fresh = false;
  const options = { cache, inMemory, onNote: (note: string) => notes.push(note) };
  const dataset = await cached({ ...entry, ...change }, options, async () => {
    fresh = true;
    return decoded(first);
  });
  return { dataset, fresh, notes };
};

afterEach(() => void vi.useRealTimers());

describe('the cache of decoded sets', () => {
  it('returns what was made, once', async () => {
    const folder = newFolder();
    const first = await load(folder);
    const second = await load(folder);
    expect([first.fresh, second.fresh]).toEqual([true, false]);
    expect(second.dataset).toEqual(first.dataset);
    expect(first.dataset).toMatchObject({ name: 'tiny', ...decoded(), fingerprint: fingerprintOf(decoded()) });
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('keeps other sources and options apart, and replaces a stale entry', async () => {
    const folder = newFolder();
    await load(folder);
    expect((await load(folder, { path: '/data/other' }, 2)).fresh).toBe(true);
    expect((await load(folder, { options: { size: 3 } }, 3)).fresh).toBe(true);
    const changed = await load(folder, { stamp: 'two' }, 4);
    expect(changed.fresh).toBe(true);
    expect(changed.dataset.train.images.slice()[0]).toBe(4);
    expect((await load(folder, { stamp: 'two' })).dataset.train.images.slice()[0]).toBe(4);
    expect(readdirSync(folder)).toHaveLength(3);
  });

  it('makes a damaged entry again, wherever it is damaged', async () => {
    const folder = newFolder();
    const { dataset } = await load(folder);
    const file = join(folder, readdirSync(folder)[0] as string);
    const good = readFileSync(file);
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] as number) ^ 1;
      writeFileSync(file, bad);
      expect((await load(folder)).dataset).toEqual(dataset);
    }
    for (const length of [0, 5, 16, 40, good.length - 1]) {
      writeFileSync(file, good.subarray(0, length));
      expect(await load(folder)).toMatchObject({ fresh: true, dataset });
    }
    writeFileSync(file, Buffer.concat([good, Buffer.from('x')]));
    expect((await load(folder)).fresh).toBe(true);
    expect((await load(folder)).fresh).toBe(false);
  });

  it('leaves a large set in its file, and reads from there', async () => {
    const folder = newFolder();
    for (const fresh of [true, false]) {
      const found = await load(folder, {}, 1, 5);
      expect(found.fresh).toBe(fresh);
      const { train, test, fingerprint } = found.dataset;
      expect(train.images).not.toBeInstanceOf(Uint8Array);
      expect([train.images.length, test.images.length]).toEqual([4, 2]);
      expect([[...train.images.slice()], [...train.images.slice(1, 3)], [...test.images.slice(1)]]).toEqual([
        [1, 2, 3, 4],
        [2, 3],
        [6],
      ]);
      expect([[...train.labels], [...test.labels], train.count]).toEqual([[0, 1], [1], 2]);
      expect(fingerprint).toBe(fingerprintOf(decoded()));
    }
    // What is read stays what it was when the entry is replaced.
    const { dataset } = await load(folder, {}, 1, 5);
    await load(folder, { stamp: 'two' }, 9, 5);
    expect([...dataset.train.images.slice()]).toEqual([1, 2, 3, 4]);
  });

  it('finds a bit that turned over in a large set before anybody sees it, wherever it is', async () => {
    const folder = newFolder();
    const { dataset } = await load(folder, {}, 1, 5);
    const file = join(folder, readdirSync(folder)[0] as string);
    const good = readFileSync(file);
    const contents = ({ train, test, ...rest }: typeof dataset) => [
      rest,
      ...[train, test].map(({ images, labels }) => [[...images.slice()], [...labels]]),
    ];
    const whole = contents(dataset);
    let inImages = 0;
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] as number) ^ 1;
      writeFileSync(file, bad);
      const found = await load(folder, {}, 1, 5);
      if (found.fresh) {
        expect(contents(found.dataset), `byte ${at}`).toEqual(whole);
        continue;
      }
      inImages++;
      expect(await failureOf(() => contents(found.dataset)), `byte ${at}`).toEqual({
        _tag: 'Failure',
        kind: 'data',
        what: 'the decoded data set was altered on disk',
        where: file,
        remedy: 'It was removed: run again, and it is made anew.',
      });
      const again = await load(folder, {}, 1, 5);
      expect([again.fresh, contents(again.dataset)], `byte ${at}`).toEqual([true, whole]);
    }
    expect(inImages).toBe(6);
  });

  it('does not hand out a large set whose file is cut off or has impossible labels', async () => {
    const folder = newFolder();
    await load(folder);
    const file = join(folder, readdirSync(folder)[0] as string);
    const good = readFileSync(file);
    writeFileSync(file, good.subarray(0, good.length - 1));
    expect((await load(folder, {}, 1, 5)).fresh).toBe(true);
    writeFileSync(file, Buffer.concat([good.subarray(0, good.length - 1), Buffer.of(7)]));
    expect((await load(folder, {}, 1, 5)).fresh).toBe(true);
    const { dataset } = await load(folder, {}, 1, 5);
    writeFileSync(file, good.subarray(0, 20));
    expect(await failureOf(() => dataset.train.images.slice())).toMatchObject({
      kind: 'data',
      what: 'the decoded data set was cut off while it was in use',
    });
  });

  it('that cannot be written is a note, not a failure', async () => {
    const file = join(root, 'file');
    writeFileSync(file, '');
    const { fresh, notes } = await load(join(file, 'below'));
    expect(fresh).toBe(true);
    expect(notes).toEqual([expect.stringMatching(/^The decoded data set was not kept for the next time: /)]);
    const readOnly = newFolder();
    await load(readOnly);
    chmodSync(readOnly, 0o500);
    // An administrator may write all the same; either way there is no failure.
    expect((await load(readOnly, { path: '/data/more' })).fresh).toBe(true);
    chmodSync(readOnly, 0o700);
  });

  it('can be turned off', async () => {
    expect((await load(false)).fresh).toBe(true);
    expect((await load(false)).fresh).toBe(true);
  });

  it('removes what killed processes left, but nothing recent', async () => {
    const folder = newFolder();
    await load(folder);
    for (const name of ['old.part', 'new.part']) writeFileSync(join(folder, name), 'x');
    utimesSync(join(folder, 'old.part'), 1, 1);
    await load(folder, { path: '/data/other' });
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual(['new.part']);
    expect(statSync(join(folder, 'new.part')).size).toBe(1);
  });

  it('tells by the clock of its folder what is recent', async () => {
    const folder = newFolder();
    await load(folder);
    writeFileSync(join(folder, 'new.part'), 'x');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1e8 });
    await load(folder, { path: '/data/other' });
    expect(readdirSync(folder)).toContain('new.part');
  });

  it('may be written by several at once', async () => {
    const folder = newFolder();
    const all = await Promise.all(Array.from({ length: 8 }, () => load(folder)));
    expect(new Set(all.map(({ dataset }) => dataset.fingerprint)).size).toBe(1);
    expect(readdirSync(folder)).toHaveLength(1);
    expect((await load(folder)).fresh).toBe(false);
  });

  it('keeps nothing of a set that is not valid', async () => {
    const folder = newFolder();
    const bad = (change: Partial<Decoded>) =>
      failureOf(() => cached(entry, { cache: folder }, async () => ({ ...decoded(), ...change })));
    const none = { images: new Uint8Array(0), labels: new Uint8Array(0), count: 0 };
    expect(await bad({ test: none })).toMatchObject({
      kind: 'data',
      what: 'the test set has no images',
      where: '/data/tiny',
    });
    expect((await bad({ train: { ...decoded().train, labels: Uint8Array.of(0, 2) } })).what).toBe(
      'label 2 of training image 1 is out of range: there are 2 classes, 0 to 1',
    );
    expect((await bad({ train: { ...decoded().train, labels: Uint8Array.of(0) } })).what).toBe(
      'the training set has 4 bytes of pixels and 1 labels for 2 images',
    );
    expect((await bad({ classes: ['a', 'b', 'c'] })).what).toBe('1 of 3 classes have no training image: c');
    expect(() => readdirSync(folder)).toThrow();
  });
});

describe('the fingerprint', () => {
  it('changes with everything that a result depends on', () => {
    const base = decoded();
    const others: Decoded[] = [
      { ...base, image: { height: 2, width: 1, channels: 1 } },
      { ...base, classes: ['a', 'c'] },
      { ...base, normalisation: { mean: [0.5], std: [0.26] } },
      { ...base, augmentation: { crop: 0, flip: true } },
      { ...base, augmentation: { crop: 4, flip: false } },
      { ...base, augmentation: { crop: 0, flip: false, rotate: 20 } },
      { ...base, train: { ...base.train, images: Uint8Array.of(1, 2, 3, 5) } },
      { ...base, train: { ...base.train, labels: Uint8Array.of(1, 0) } },
      { ...base, test: { ...base.test, images: Uint8Array.of(5, 7) } },
      { ...base, test: { ...base.test, labels: Uint8Array.of(0) } },
    ];
    const all = [base, ...others].map(fingerprintOf);
    expect(new Set(all).size).toBe(all.length);
    expect(fingerprintOf(decoded())).toBe(all[0]);
    expect(all[0]).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('the cache folder', () => {
  it('follows each system’s convention', () => {
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' }, 'linux', '/home/u')).toBe('/x/undistill');
    expect(cacheFolder({ XDG_CACHE_HOME: '' }, 'linux', '/home/u')).toBe('/home/u/.cache/undistill');
    expect(cacheFolder({}, 'darwin', '/Users/u')).toBe('/Users/u/Library/Caches/undistill');
    expect(dataCacheFolder()).toBe(join(cacheFolder(), 'data'));
  });
});
