import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type AnyAttack,
  type DatasetPlugin,
  dafl,
  deepInversion,
  type Experiment,
  experiment,
  fast,
  learner,
  nasty,
  noise,
  none,
  plainCnn,
  type Recipe,
  scratch,
  synthetic,
  transfer,
} from '../../src/index.js';
import type { Inspection } from '../../src/run/inspect.js';
import { readRecord, readResult } from '../../src/run/outputs.js';
import { readPool } from '../../src/run/pool.js';
import { openStore, type StageOutput } from '../../src/run/store.js';
import { recipe } from './fixtures/plugins.js';
import { type Ran, ran, temporaryFolder } from './helpers.js';

const data = synthetic({ train: 80, test: 30, classes: 3, noise: 64 });
const coloured = synthetic({ train: 20, test: 5, size: 5, channels: 3, seed: 1 });
const made = (attacks: readonly AnyAttack[], name = 'synthesis'): Experiment =>
  experiment({
    name,
    data,
    teacher: learner(plainCnn({ width: 4 }), recipe()),
    students: [learner(plainCnn({ width: 2 }), recipe(2))],
    defenses: [none(), nasty({ omega: 0.001 })],
    attacks,
    seeds: [0],
  });
const generated = dafl({ batch: 8, epochs: 2, stepsPerEpoch: 4, latent: 6, width: 4, keep: 20, pictureEvery: 4 });
const inverted = deepInversion({ batch: 6, iterations: 8, batches: 2, steps: 6, pictureEvery: 4 });

describe('data-free attacks on a plain and on a nasty teacher', () => {
  const root = temporaryFolder();
  const of = made([scratch(), generated, inverted, noise(), transfer({ images: coloured })]);
  let first: Ran;
  let tensors: readonly [number, number];
  beforeAll(async () => {
    const before = tf.memory().numTensors;
    first = await ran(of, root);
    tensors = [before, tf.memory().numTensors];
  });

  /** A finished stage, by its label. */
  const stage = async (label: string): Promise<StageOutput> => {
    const outcome = first.by[label];
    if (outcome === undefined || !('record' in outcome) || outcome.record === undefined)
      throw new Error(`${label} left nothing: ${Object.keys(first.by).join(', ')}`);
    return (await openStore(root, () => undefined).find(outcome.record.id)) as StageOutput;
  };
  /** The stage whose images are learnt from: DeepInversion's are for all students. */
  const maker = (attack: string, defense: string): Promise<StageOutput> =>
    stage(attack === 'dafl' ? `seed-0/${defense}/plainCnn/dafl` : `seed-0/${defense}/${attack}/pool`);
  const seed = (attack: string, defense: string) =>
    first.matrix.cells.find((cell) => cell.attack === attack && cell.defense === defense)?.seeds[0];
  const synthesising = ['none', 'nasty'].flatMap((defense) =>
    ['dafl', 'deepInversion'].map((attack) => [attack, defense] as const),
  );

  test('fill their cells, and leave no tensor', () => {
    expect(first.matrix.cells.map(({ attack, defense, status }) => `${attack} on ${defense}: ${status}`)).toEqual(
      ['scratch', 'dafl', 'deepInversion', 'noise', 'transfer'].flatMap((attack) =>
        ['none', 'nasty'].map((defense) => `${attack} on ${defense}: done`),
      ),
    );
    expect(new Set([...first.outcomes.values()].map(({ status }) => status))).toEqual(new Set(['done']));
    expect(tensors[1]).toBe(tensors[0]);
  });

  test('own no image of the victim’s, and are compared with a student who owns all', () => {
    // 72 images to train on in batches of 16: five steps an epoch, two epochs, of which the last batch has 8.
    expect(seed('scratch', 'none')).toMatchObject({ queries: 0, trainImages: 72 });
    expect(seed('dafl', 'none')).toMatchObject({ queries: 0, trainImages: 0, toBaseline: expect.any(Number) });
    expect(seed('deepInversion', 'none')).toMatchObject({ queries: 0, trainImages: 12 });
    expect(seed('noise', 'none')).toMatchObject({ queries: 10 * 16, trainImages: 0 });
    expect(seed('transfer', 'none')).toMatchObject({ queries: 5 * (16 + 4), trainImages: 20 });
    expect(first.matrix.attacks.map(({ label, owns }) => [label, owns]).slice(1)).toEqual([
      ['dafl', 'no images'],
      ['deepInversion', 'no images'],
      ['noise', 'no images'],
      ['transfer', 'other images, without labels: synthetic'],
    ]);
  });

  test('count what they ask: answers of a black box, and passes through weights that they hold', async () => {
    const asked = async (attack: string) => {
      const { training } = await readRecord(await stage(`seed-0/none/plainCnn/${attack}`));
      const { steps, images, queries, forward, backward } = training as NonNullable<typeof training>;
      return { steps, images, queries, forward, backward };
    };
    // 8 steps of 8 images; 20 images are kept, and the victim is asked what they are.
    expect(await asked('dafl')).toEqual({ steps: 8, images: 64, queries: 0, forward: 8 * 8 + 20, backward: 8 * 8 });
    // Two batches of 6 images in 8 iterations, and 6 steps of distillation on all 12.
    expect(await asked('deepInversion')).toEqual({
      steps: 2 * 8 + 6,
      images: 2 * 6 * 8 + 6 * 12,
      queries: 0,
      forward: 2 * 6 * 8 + 6 * 12,
      backward: 2 * 6 * 8,
    });
    expect(await asked('noise')).toEqual({ steps: 10, images: 160, queries: 160, forward: 0, backward: 0 });
    expect(await asked('transfer')).toEqual({ steps: 10, images: 100, queries: 100, forward: 0, backward: 0 });
  });

  test.each(synthesising)('keep what they made, which is looked at (%s on %s)', async (attack, defense) => {
    const label = `seed-0/${defense}/plainCnn/${attack}`;
    const pool = await readPool(await maker(attack, defense));
    const inspection = await readResult<Inspection>(await stage(`${label}/images`));
    const count = attack === 'dafl' ? 20 : 12;
    expect(pool?.shape).toEqual({ height: 8, width: 8, channels: 1 });
    expect(pool?.images.length).toBe(count * 64);
    expect(inspection).toMatchObject({ count, shape: pool?.shape });
    expect(inspection.images.map((each) => each.label)).toEqual(pool?.labels);
    for (const { teacher, verifier } of inspection.images) {
      for (const probabilities of [teacher, verifier]) {
        expect(probabilities.length).toBe(3);
        expect(probabilities.reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 3);
      }
    }
    expect(inspection.diagnostics.map(({ name }) => name)).toEqual([
      'classes',
      'balance',
      'confidence',
      'verifier accuracy',
      'batch-norm distance',
      'total variation',
      'diversity',
      'nearest training image',
      'clipped',
    ]);
    const value = (name: string) => inspection.diagnostics.find((each) => each.name === name)?.value;
    const counts = value('classes') as readonly number[];
    expect(counts.reduce((sum, each) => sum + each, 0)).toBe(count);
    // Three batch norms over images; one over vectors, after the dense layer, is none of them.
    expect((value('batch-norm distance') as readonly number[]).length).toBe(3);
    expect(value('clipped')).toBe(pool?.clipped);
    // What a generator made is called by what the victim takes it for; bytes may change a doubtful one.
    const same = inspection.images.filter(({ label: own, teacher }) => teacher[own] === Math.max(...teacher));
    if (attack === 'dafl') expect(same.length).toBeGreaterThan(count / 2);
    else expect(pool?.labels).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
  });

  test.each(synthesising)('warn in the matrix of all that is to be minded (%s on %s)', async (attack, defense) => {
    const { diagnostics } = await readResult<Inspection>(await stage(`seed-0/${defense}/plainCnn/${attack}/images`));
    const found = diagnostics.filter(({ warning }) => warning).map(({ sentence }) => `images: ${sentence}`);
    const pool = 'pool too small to compare: 12 images, and fewer than 10,000 say little about the attack';
    expect(seed(attack, defense)?.warnings).toEqual([...(attack === 'dafl' ? [] : [pool]), ...found]);
  });

  test('leave pictures of how it went, and no checkpoint', async () => {
    const history = async (attack: string) => (await maker(attack, 'none')).list('history');
    expect(await history('dafl')).toEqual(['student-000004.png', 'student-000008.png']);
    expect(await history('deepInversion')).toEqual([
      'images-0-000004.png',
      'images-0-000008.png',
      'images-1-000004.png',
      'images-1-000008.png',
    ]);
    for (const made of [await maker('deepInversion', 'none'), await stage('seed-0/none/plainCnn/deepInversion')])
      expect(await made.list('fits')).toEqual([]);
  });

  test('make other images of a nasty teacher than of a plain one', async () => {
    for (const attack of ['dafl', 'deepInversion']) {
      const [plain, spoilt] = await Promise.all(
        ['none', 'nasty'].map(async (defense) => readPool(await maker(attack, defense))),
      );
      expect(plain?.images.length, attack).toBe(spoilt?.images.length);
      expect(plain?.images, attack).not.toEqual(spoilt?.images);
    }
  });

  test('are found the next time, with the same table', async () => {
    const again = await ran(of, root);
    expect(new Set([...again.outcomes.values()].map(({ status }) => status))).toEqual(new Set(['cached']));
    expect(again.matrix).toEqual(first.matrix);
  });
});

test('an attack that says it synthesises and keeps nothing has its number, and no images to look at', async () => {
  const { matrix, by } = await ran(
    made([{ ...noise(), name: 'forgetful', needs: 'weights', synthesises: true } as AnyAttack], 'forgetful'),
    temporaryFolder(),
  );
  expect(matrix.cells.map(({ status }) => status)).toEqual(['done', 'done']);
  expect(by['seed-0/none/plainCnn/forgetful/images']).toMatchObject({
    status: 'failed',
    failure: { what: 'the attack kept no images', remedy: expect.stringContaining('context.images') },
  });
});

test('images are compared with real ones of every class, also where these come one after the other', async () => {
  /** Each class is a shade, and the training images are in the order of their classes. */
  const sorted: DatasetPlugin = {
    ...data,
    name: 'sorted',
    source: import.meta.url,
    load: (options) =>
      pipe(
        data.load(options),
        TE.map((all) => {
          const labels = Uint16Array.from(all.train.labels).sort();
          const size = all.image.height * all.image.width * all.image.channels;
          const images = new Uint8Array(labels.length * size).map(
            (_, i) => 100 * (labels[Math.floor(i / size)] as number),
          );
          return { ...all, train: { ...all.train, images, labels }, fingerprint: 'sorted' };
        }),
      ),
  };
  const root = temporaryFolder();
  const { by } = await ran(
    experiment({
      name: 'sorted',
      data: sorted,
      teacher: learner(plainCnn({ width: 4 }), recipe()),
      students: [learner(plainCnn({ width: 2 }), recipe(2))],
      defenses: [none()],
      attacks: [scratch(), inverted],
      seeds: [0],
    }),
    root,
  );
  const looked = by['seed-0/none/plainCnn/deepInversion/images'];
  if (looked === undefined || !('record' in looked) || looked.record === undefined) throw new Error('not looked at');
  const { diagnostics } = await readResult<Inspection>(
    (await openStore(root, () => undefined).find(looked.record.id)) as StageOutput,
  );
  const differ = diagnostics.map(({ sentence }) => /two real ones by (\S+)/.exec(sentence)?.[1]).find(Boolean);
  // The mean of |a − b| of two of three shades, 0, 100 and 200 of 255, that come equally often.
  expect(Number(differ)).toBeGreaterThan(0.25);
});

test('a student whose recipe averages its weights does so on images that are made, too', async () => {
  const attacks = [
    scratch(),
    noise({ steps: 6 }),
    generated,
    inverted,
    fast({ ...fast.presets.mnistSmall, batch: 8, batches: 3, warmup: 1, stepsBetween: 3, width: 4, latent: 6 }),
  ];
  const of = (lookahead: Recipe['lookahead']): Experiment =>
    experiment({
      name: 'averaged',
      data: synthetic({ train: 80, test: 200, classes: 3, noise: 64 }),
      teacher: learner(plainCnn({ width: 4 }), recipe()),
      students: [learner(plainCnn({ width: 2 }), { ...recipe(2), ...(lookahead === undefined ? {} : { lookahead }) })],
      defenses: [none()],
      attacks,
      seeds: [0],
    });
  const root = temporaryFolder();
  const weightsOf = async (lookahead: Recipe['lookahead']) => {
    const { by, matrix } = await ran(of(lookahead), root);
    expect(matrix.cells.map(({ attack, status }) => `${attack} ${status}`)).toEqual(
      matrix.cells.map(({ attack }) => `${attack} done`),
    );
    return Object.entries(by).flatMap(([label, outcome]) =>
      /plainCnn\/[^/]+$/.test(label) && 'record' in outcome ? [[label, outcome.record?.id] as const] : [],
    );
  };
  const bytesOf = (id: string | undefined): string => readFileSync(join(root, `${id}`, 'last.safetensors'), 'hex');
  const [plain, averaged] = [await weightsOf(undefined), await weightsOf({ every: 2, decay: 0.9 })];
  expect(averaged.map(([label]) => label)).toEqual(plain.map(([label]) => label));
  expect(averaged).toHaveLength(attacks.length);
  for (const [i, [label, id]] of averaged.entries()) expect(bytesOf(id), label).not.toBe(bytesOf(plain[i]?.[1]));
});
