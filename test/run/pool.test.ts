import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { dafl } from '../../src/attacks/dafl.js';
import { deepInversion } from '../../src/attacks/deep-inversion.js';
import { FailureError } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { decodeImage, encodePng } from '../../src/data/images.js';
import { loadEngine } from '../../src/engine/engine.js';
import { contextOf } from '../../src/run/context.js';
import { contactSheet, readLot, readPool, refuseStrangers, writeLot } from '../../src/run/pool.js';
import { openStore, type StageOutput, type StagingDir, type Store } from '../../src/run/store.js';
import type { StageEvent, StageRun } from '../../src/run/types.js';
import type { Synthesised } from '../../src/train/context.js';
import { sessionOf, type Victim } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import { learnerOf, roomy, victimOf } from '../attacks/stepping.js';
import { endOf, failureOf, succeed, theftOf } from '../train/bench.js';
import { aRecord } from './record.js';

beforeAll(async () => {
  // Fits are short here: to compile a step would take longer than all of its steps.
  await loadEngine({ execution: 'eager' });
});

let root: string;
let store: Store;
let staging: StagingDir;
let damages: string[];
const reopen = async (): Promise<void> => {
  staging = (await store.begin('a')) as StagingDir;
};
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'undistill-pool-'));
  damages = [];
  store = openStore(root, (_, file) => damages.push(file));
  await reopen();
});
afterEach(async () => {
  await staging.release();
  rmSync(root, { recursive: true, force: true });
});

/** A new stageRun at the same stage: what a killed run begins with. */
const stageRun = (changes: Partial<StageRun> = {}, victim?: Victim) =>
  contextOf(
    { stage: 'a', staging, checkpointEvery: 2, emit: () => undefined, warn: () => undefined, ...changes },
    key('stage'),
    { victim },
  );

const lotOf = (channels: number, count = 5, changes: Partial<Synthesised> = {}): Synthesised => ({
  images: Uint8Array.from({ length: count * 6 * channels }, (_, i) => (Math.imul(i + 7, 0x9e3779b1) >>> 16) % 256),
  shape: { height: 2, width: 3, channels },
  labels: Array.from({ length: count }, (_, i) => i % 3),
  clipped: 1 / 3,
  updates: 3,
  ...changes,
});

const picture = fc
  .record({ height: fc.integer({ min: 1, max: 9 }), width: fc.integer({ min: 1, max: 9 }), colour: fc.boolean() })
  .chain(({ height, width, colour }) => {
    const channels = colour ? (3 as const) : (1 as const);
    const size = height * width * channels;
    return fc
      .uint8Array({ minLength: size, maxLength: size })
      .map((pixels) => ({ height, width, channels, pixels: Uint8Array.from(pixels) }));
  });

describe('a PNG', () => {
  test('gives back the very bytes, grey and in colour', () => {
    fc.assert(
      fc.property(picture, (image) => {
        expect(decodeImage(encodePng(image))).toEqual(image);
      }),
    );
  });

  test('is of a part of larger bytes, and of nothing beside it', () => {
    const around = Uint8Array.from({ length: 20 }, (_, i) => i);
    const image = { height: 2, width: 3, channels: 1, pixels: around.subarray(5, 11) } as const;
    expect([...decodeImage(encodePng(image)).pixels]).toEqual([5, 6, 7, 8, 9, 10]);
  });
});

describe('a lot of images', () => {
  test.each([1, 3])('is read as it was written (%i channels)', async (channels) => {
    const lot = lotOf(channels);
    await writeLot(staging, 'a', 'lot', lot);
    expect(await readLot(staging, 'a', 'lot')).toEqual(lot);
    expect(await readLot(staging, 'a', 'another')).toBeUndefined();
    expect(damages).toEqual([]);
    // All of its images below each other, for whoever opens the folder.
    expect(decodeImage(readFileSync(join(staging.folder, 'images/lot.png')))).toMatchObject({ height: 10, width: 3 });
  });

  test('of another stage is refused, with what to do', async () => {
    await writeLot(staging, 'another', 'lot', lotOf(1));
    const failed = await failureOf(stageRun().images('lot', async () => lotOf(1)));
    expect(failed).toMatchObject({
      kind: 'store',
      what: 'these images were made from another teacher, or by another attack',
      where: expect.stringContaining(join('images', 'lot.png')),
      remedy: 'Remove the folder, or run with --force and the label of the stage.',
    });
  });

  test('is made once: a run that goes on is given what was kept', async () => {
    let made = 0;
    const make = async () => {
      made += 1;
      return lotOf(3, 4 + made);
    };
    const first = await succeed(stageRun().images('lot', make));
    expect(await succeed(stageRun().images('lot', make))).toEqual(first);
    expect(first).toEqual(lotOf(3, 5));
    expect(made).toBe(1);
    expect(await succeed(stageRun().images('another', make))).toEqual(lotOf(3, 6));
  });

  const altering: readonly (readonly [string, string, (path: string) => void])[] = [
    [
      'a pixel',
      'images/lot.png',
      (path) => writeFileSync(path, encodePng({ height: 10, width: 3, channels: 1, pixels: new Uint8Array(30) })),
    ],
    ['its end', 'images/lot.png', (path) => writeFileSync(path, readFileSync(path).subarray(0, -20))],
    ['what is known of it', 'images/lot.json', (path) => writeFileSync(path, '{"stage": "a", ')],
  ];
  test.each(altering)('of which somebody altered %s is said to be damaged, and made anew', async (_, name, alter) => {
    await succeed(stageRun().images('lot', async () => lotOf(1)));
    alter(join(staging.folder, name));
    const anew = lotOf(1, 7);
    expect(await succeed(stageRun().images('lot', async () => anew))).toEqual(anew);
    expect(damages).toEqual([join(...name.split('/'))]);
    // And is sound again.
    expect(await readLot(staging, 'a', 'lot')).toEqual(anew);
    expect(damages.length).toBe(1);
  });

  test('whose making failed, or was cut off before its end was noted, is not there', async () => {
    expect(await failureOf(stageRun().images('lot', () => Promise.reject(new Error('out of ideas'))))).toMatchObject({
      kind: 'plugin',
      what: 'out of ideas',
    });
    await writeLot(staging, 'a', 'lot', lotOf(1));
    await staging.remove('images/lot.json');
    expect(await readLot(staging, 'a', 'lot')).toBeUndefined();
    expect(await succeed(stageRun().images('lot', async () => lotOf(1, 2)))).toEqual(lotOf(1, 2));
  });

  test('has a name of its own, which is the name of a file', async () => {
    const context = stageRun();
    await succeed(context.images('lot', async () => lotOf(1)));
    expect((await failureOf(context.images('lot', async () => lotOf(1)))).what).toBe(
      'images lot is asked for twice: give each a name of its own',
    );
    for (const name of ['../lot', '', 'a/b', '.'])
      expect((await failureOf(context.images(name, async () => lotOf(1)))).what).toContain(
        'cannot be the name of a file',
      );
  });
});

describe('the pool of a finished stage', () => {
  const finished = async (lots: Readonly<Record<string, Synthesised>>): Promise<StageOutput> => {
    for (const [name, lot] of Object.entries(lots)) await writeLot(staging, 'a', name, lot);
    await staging.finish();
    const found = (await store.find('a')) as StageOutput;
    await reopen();
    return found;
  };

  test('is all of its lots in the order of their names, as one', async () => {
    const [one, two] = [lotOf(3, 6, { clipped: 0.5 }), lotOf(3, 2, { clipped: 0.1, labels: [2, 2], updates: 5 })];
    const stage = await finished({ 'lot-0001': two, 'lot-0000': one });
    const pool = await readPool(stage);
    expect(pool).toEqual({
      shape: { height: 2, width: 3, channels: 3 },
      count: 8,
      labels: [0, 1, 2, 0, 1, 2, 2, 2],
      updates: [3, 3, 3, 3, 3, 3, 5, 5],
      clipped: expect.closeTo((6 * 0.5 + 2 * 0.1) / 8, 12),
      images: Buffer.concat([one.images, two.images]),
    });
    // As many lots as hold so many images, of all that there are.
    expect(await readPool(stage, 4)).toEqual({
      ...pool,
      labels: one.labels,
      updates: [3, 3, 3, 3, 3, 3],
      images: Buffer.from(one.images),
    });
  });

  test('of many large images is read as well', async () => {
    const large = { height: 64, width: 64, channels: 1 };
    const labels = Array.from({ length: 4100 }, (_, i) => i % 10);
    const images = new Uint8Array(4100 * 4096).fill(7);
    await writeLot(staging, 'a', 'lot', { ...lotOf(1), images, shape: large, labels });
    const read = await readLot(staging, 'a', 'lot');
    expect(damages).toEqual([]);
    expect(read?.images.length).toBe(images.length);
  });

  test.each(['holiday.png', 'lot.txt', 'lot-0001.json'])('is not sealed with %s among it', async (name) => {
    await writeLot(staging, 'a', 'lot-0000', lotOf(1));
    await refuseStrangers(staging);
    writeFileSync(join(staging.folder, 'images', name), 'x');
    await expect(refuseStrangers(staging)).rejects.toMatchObject({
      failure: {
        kind: 'store',
        where: join(staging.folder, 'images', name),
        remedy: expect.stringContaining('Move it elsewhere'),
      },
    });
  });

  test('is none where nothing was made', async () => {
    await staging.writeJson('record.json', aRecord);
    expect(await readPool(await finished({}))).toBeUndefined();
  });
});

describe('a contact sheet', () => {
  const sheet = (channels: number, count: number) => decodeImage(contactSheet(lotOf(channels, count)));

  test.each([1, 3])(
    'has the images line by line in a square, and black where there are none (%i channels)',
    (channels) => {
      const { images } = lotOf(channels, 5);
      const { height, width, channels: found, pixels } = sheet(channels, 5);
      expect([height, width, found]).toEqual([3 * 2, 3 * 3, channels]);
      const at = (y: number, x: number, c: number) => pixels[(y * 9 + x) * channels + c];
      for (let y = 0; y < 6; y++)
        for (let x = 0; x < 9; x++)
          for (let c = 0; c < channels; c++) {
            const place = 3 * Math.floor(y / 2) + Math.floor(x / 3);
            const pixel = (place * 6 + (y % 2) * 3 + (x % 3)) * channels + c;
            expect(at(y, x, c), `line ${y}, column ${x}`).toBe(place < 5 ? images[pixel] : 0);
          }
    },
  );

  test.each([
    [1, 1],
    [4, 2],
    [16, 4],
    [17, 5],
    [100, 10],
    [101, 10],
    [256, 10],
  ])('of %i images is of %i a side: of many it shows the first hundred', (count, side) => {
    expect(sheet(1, count)).toMatchObject({ height: 2 * side, width: 3 * side });
    const first = sheet(1, 100).pixels;
    if (count > 100) expect(sheet(1, count).pixels).toEqual(first);
  });
});

describe('a theft that is stopped anywhere, again and again, ends with the same bits', () => {
  const inversion = { ...deepInversion.presets.cifar10, batch: 4, iterations: 3, pictureEvery: 1 };
  const attacks: readonly (readonly [string, AnyAttack])[] = [
    ['DeepInversion', deepInversion({ ...inversion, batches: 2, steps: 4, augmentation: { crop: 1, flip: true } })],
    ['DeepInversion in two phases', deepInversion({ ...inversion, halfIterations: 2, batches: 1, steps: 3 })],
    ['adaptive DeepInversion', deepInversion({ ...inversion, batches: 2, steps: 5, adaptive: { scale: 1, every: 2 } })],
    ['DAFL', dafl({ batch: 4, epochs: 2, stepsPerEpoch: 3, latent: 4, width: 4, keep: 6, pictureEvery: 1 })],
  ];

  interface How {
    /** Called before each step of a student and after each picture. */
    readonly tick: () => void;
    readonly signal?: AbortSignal;
  }

  const begin = (attack: AnyAttack, { tick, signal }: How) => {
    const rate = constant(0.05);
    const learner = learnerOf(roomy(3), {
      schedule: {
        ...rate,
        at: (progress) => {
          tick();
          return rate.at(progress);
        },
      },
    });
    const emit = ({ type }: StageEvent): void => {
      if (type === 'picture') tick();
    };
    // As in a new process: nothing was asked of this victim yet.
    const { victim, normalisation, retired } = victimOf();
    const context = stageRun({ emit, signal }, victim);
    const given: AttackContext = { ...context, data: {} as never, normalisation, fullStepsPerEpoch: 5 };
    const theft = theftOf(attack, victim, learner, given).finally(() => {
      if (context.footprint().asked !== sessionOf(victim).asked) throw new Error('counted twice');
      retired();
    });
    return { theft, context };
  };

  /** What a theft leaves: weights, ledger, log, and every picture. */
  const leaves = async ({ theft, context }: ReturnType<typeof begin>) => {
    const { seconds: _, history, ...rest } = endOf(await theft);
    const { asked, effort } = context.footprint();
    const pictures = readdirSync(staging.folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.png'))
      .sort()
      .map((name) => [name, readFileSync(join(staging.folder, name)).toString('base64')]);
    const log = history.map(({ stepsPerSecond: __, ...line }) => line);
    return { ...rest, asked, effort: { ...effort, seconds: 0 }, history: log, pictures };
  };

  const anew = async (): Promise<void> => {
    await staging.release();
    await store.remove('a');
    await reopen();
  };

  test.each(attacks)('%s', async (_, attack) => {
    const tensors = tf.memory().numTensors;
    let ticks = 0;
    const whole = await leaves(
      begin(attack, {
        tick: () => {
          ticks += 1;
        },
      }),
    );
    expect(whole.pictures.length).toBeGreaterThan(3);
    expect(ticks).toBeGreaterThan(6);
    expect(whole.asked.forward).toBeGreaterThan(0);
    // States of images that are finished are not kept: many lots of them would fill a disk.
    expect(readdirSync(join(staging.folder, 'fits'))).toEqual(['student']);

    for (const crash of [false, true]) {
      // What comes before the next checkpoint is made anew: a crash that came each time before it would have no end.
      for (const every of crash ? [6, 7, 9] : [1, 2, 3, 5]) {
        await anew();
        let stopped = 0;
        for (;;) {
          const stop = new AbortController();
          let left = every;
          const tick = (): void => {
            left -= 1;
            if (left !== 0) return;
            if (crash) throw new Error('crash');
            stop.abort();
          };
          const begun = begin(attack, { tick, signal: stop.signal });
          const ended = await begun.theft.then(
            () => undefined,
            (error: unknown) => error,
          );
          if (ended === undefined) {
            expect(await leaves(begun)).toEqual(whole);
            break;
          }
          if (!(ended instanceof FailureError)) throw ended;
          expect([ended.failure.kind, ended.failure.what]).toEqual(
            crash ? ['plugin', 'crash'] : ['interrupted', expect.stringMatching(/^stopped (at step|after \d+ of)/)],
          );
          expect(tf.memory().numTensors).toBe(tensors);
          stopped += 1;
          expect(stopped).toBeLessThan(40);
        }
        expect(stopped, `every ${every}`).toBeGreaterThan(0);
      }
    }
  });
});
