import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { attacks } from '../../src/cli/catalogue.js';
import { type Declared, isDeclared } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import { dataFor } from '../../src/experiment/data-access.js';
import * as index from '../../src/index.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  globalMean,
  marked,
  network,
  relu,
  sequential,
} from '../../src/models/layers.js';
import { type Answers, publish, retire, sessionOf, type Victim } from '../../src/train/oracle.js';
import { type Recordings, recordingsInMemory } from '../../src/train/recordings.js';
import { goldens } from '../goldens.js';
import { circumstances, dataOf, recipe, thirds } from '../run/helpers.js';
import { type AnySpec, context, endOf, imagesOf, theftOf } from '../train/bench.js';
import { expectToSurvive } from './killing.js';
import { aged, expectCompiled } from './stepping.js';

/** 24 images in batches of 8: no last one is shorter, so that a step has one form. */
const data = thirds({ train: 32, test: 8, size: 8 });
const images = dataOf(data);

const staged = (channels: number, classes = 3) =>
  network({
    name: 'staged',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv1', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn1'),
      relu,
      marked('stage1'),
      conv('conv2', channels, { kernel: 3, padding: 1, stride: 2 }),
      batchNorm('bn2'),
      relu,
      marked('stage2'),
      globalMean,
      features,
      classifier('fc'),
    ),
  }).build(data.image, classes);

const victimNet = staged(4);
const learner = { network: staged(3), recipe: recipe({ epochs: 2, batch: 8 }) };

interface Use {
  readonly options?: object;
  /** Answers that it asks for of a black box. */
  readonly queries?: number;
  /** Of these, how many are all or none: an iteration's, or those to an image. Default: each is one by itself. */
  readonly together?: number;
  /** Too few answers, with which it ends early. Default: one more than half of them. */
  readonly budget?: number;
  /** Images that pass through weights that are at hand, and those with a gradient. */
  readonly passes?: readonly [forward: number, backward: number];
  /** Of its writes to disk, before which it is killed; default: every fourth. */
  readonly killed?: number;
}

/** The smallest use of each attack, by name. */
const uses: Readonly<Record<string, Use>> = {
  adaptiveKnockoff: { options: { images, rounds: 3 }, queries: 24 },
  annealedKd: { queries: 48 },
  askingAgain: { queries: 144, together: 3 },
  attentionTransfer: { passes: [48, 0] },
  authorisedKd: { queries: 48 },
  bayesKd: { options: { rows: 40, perImage: 4 }, queries: 96 },
  classMeanKd: { queries: 48 },
  cmi: {
    killed: 9,
    // Two views of each image that is made, and the pool's.
    passes: [2 * 96 + 96, 2 * 96],
    options: {
      ...{ batch: 8, iterations: 6, latent: 5, width: 4, batches: 2, stepsBetween: 6, capacity: 16, negatives: 8 },
      ...{ embedding: 4, augmentation: { crop: 0, flip: false } },
    },
  },
  completedKd: { queries: 48 },
  dafl: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, latent: 5, width: 4, keep: 4 },
    // With what is kept to be looked at.
    passes: [48 + 4, 48],
  },
  ddaeKd: { options: { rows: 40, perImage: 4, epochs: 2, batch: 12 }, queries: 96 },
  deepInversion: { killed: 7, options: { batch: 8, batches: 2, iterations: 6 }, passes: [96 + 48, 96] },
  dfad: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, studentSteps: 2, latent: 5, width: 4, keep: 4 },
    passes: [6 * 3 * 8 + 4, 48],
  },
  dfme: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, latent: 5, width: 4, keep: 4, studentSteps: 2 },
    queries: 6 * 8 * 4,
    together: 8 * 4,
  },
  dfms: {
    killed: 12,
    options: {
      ...{ images, latent: 5, width: 8, batch: 8, ganEpochs: 2, diverseEpochs: 2, epochs: 2, keep: 4 },
      ...{ earlyDiversity: 10, warmup: 0.05 },
    },
    // What each of two students is taught, and each step of the last.
    queries: 2 * 48 + 6 * 8,
    together: 8,
    budget: 2 * 48 + 2 * 8 + 5,
  },
  dfq: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, studentSteps: 2, latent: 5, width: 4, keep: 4 },
    passes: [6 * 3 * 8 + 4, 48],
  },
  disguide: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, latent: 5, width: 4, keep: 4, replaySteps: 2, replayBatches: 2 },
    queries: 6 * 8,
    together: 8,
  },
  dist: { queries: 48 },
  dkd: { queries: 48 },
  dualStudents: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, studentSteps: 2, latent: 5, width: 4, keep: 4, answers: 'label' },
    queries: 6 * 16,
    together: 16,
  },
  fast: {
    killed: 15,
    // The student learns after two of the three batches.
    passes: [3 * 48 + 2 * 48, 3 * 48],
    options: {
      ...{ batch: 8, iterations: 6, latent: 5, width: 4, batches: 3, warmup: 1, stepsBetween: 6, resetAt: 2 },
      augmentation: { crop: 0, flip: false },
    },
  },
  fitNet: { passes: [48, 0] },
  hardLabel: { queries: 48 },
  inverseKd: { queries: 48 },
  inverseKnockoff: { options: { images, queries: 16 }, queries: 16 },
  jbda: { options: { fraction: 1, rounds: 1, roundEpochs: 2, form: 'topK', k: 1 }, queries: 48 },
  kd: { queries: 48 },
  knockoff: { options: { images, queries: 16 }, queries: 16 },
  labelSmoothing: {},
  labelKd: { queries: 48 },
  logitStandardisation: { queries: 48 },
  maze: {
    options: {
      ...{ batch: 8, epochs: 2, stepsPerEpoch: 3, latent: 5, width: 4, keep: 4, studentSteps: 2 },
      ...{ directions: 2, replaySteps: 2, replayBatches: 2 },
    },
    queries: 6 * 8 * 4,
    together: 8 * 4,
  },
  noise: { options: { steps: 6 }, queries: 48, together: 8 },
  partialKd: { options: { fraction: 1 }, queries: 48 },
  scratch: {},
  skeptical: { options: { delayEpochs: 0 }, queries: 48 },
  reweightedKd: { options: { images: 8 }, queries: 48 },
  sureKd: { queries: 48 },
  transitionKd: { queries: 48 },
  transfer: { options: { images }, queries: 48 },
  zskt: {
    options: { batch: 8, epochs: 2, stepsPerEpoch: 3, studentSteps: 2, latent: 5, width: 4, keep: 4 },
    passes: [6 * 2 * 8 + 4, 48],
  },
};

/** What is answered by the record where a student's questions do not depend on what it has learnt: twice 24 images, or thrice that. */
const replayed: ReadonlyMap<string, number> = new Map([
  ...[
    ...[
      'annealedKd',
      'authorisedKd',
      'bayesKd',
      'classMeanKd',
      'cmi',
      'completedKd',
      'ddaeKd',
      'deepInversion',
      'dist',
    ],
    ...['dkd', 'fast', 'hardLabel', 'inverseKd', 'kd', 'labelKd', 'logitStandardisation', 'noise', 'partialKd'],
    ...['reweightedKd', 'skeptical', 'sureKd', 'transfer', 'transitionKd'],
  ].map((name) => [name, 48] as const),
  ['askingAgain', 144],
]);

const makers = Object.values(index).filter(isDeclared) as readonly Declared[];

const attackOf = (name: string): AnyAttack => {
  const make = makers.find(({ declaration }) => declaration.kind === 'attack' && declaration.name === name) as Declared;
  return make((uses[name]?.options ?? {}) as never) as AnyAttack;
};

const setOf = imagesOf(data);

const givenTo = (attack: AnyAttack): Pick<AttackContext, 'data' | 'normalisation' | 'fullStepsPerEpoch'> => ({
  data: dataFor(attack, { train: setOf(0, 24), validation: setOf(24, 32) }),
  normalisation: data.normalisation,
  fullStepsPerEpoch: 3,
});

const victimOf =
  ({ needs }: AnyAttack, more: { readonly budget?: number; readonly identity?: string } = {}) =>
  () => {
    const variables = aged(victimNet, 'victim');
    const { normalisation } = data;
    const victim = publish({ network: victimNet, variables, normalisation, access: needs, ...more });
    return {
      victim: victim as Victim,
      retired: () => {
        retire(victim);
        tree.dispose(variables);
      },
    };
  };

const agreed = goldens(new URL('every.json', import.meta.url));

let cache = '';
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
  cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterAll(() => rmSync(cache, { recursive: true, force: true }));

test('every attack that is exported goes through these tests', () => {
  expect(Object.keys(uses).sort()).toEqual(attacks.map(({ declaration }) => declaration.name).sort());
});

describe.each(Object.keys(uses).sort())('%s', (name) => {
  const attack = attackOf(name);

  test('takes the same steps in a graph, to the bit, asks what it should, and leaves no tensor behind', async () => {
    expect(attack.refuses?.(victimNet, learner.network, circumstances({ recipe: learner.recipe }))).toBeUndefined();
    const seen = new Set<string>();
    const tried = context(key('stage'), {
      normalisation: data.normalisation,
      fitting: async (fit, spec: AnySpec, run) => {
        const kind = fit.replace(/-\d+$/, '');
        if (!seen.has(kind))
          expectCompiled(spec, eager, (stride) => (step, frozen) => compile(step, frozen, { cache, stride }));
        seen.add(kind);
        return run();
      },
    });
    const before = tf.memory().numTensors;
    const { victim, retired } = victimOf(attack)();
    try {
      const { last, steps, history } = endOf(await theftOf(attack, victim, learner, { ...tried, ...givenTo(attack) }));
      expect(Object.values(last).flat().every(Number.isFinite)).toBe(true);
      expect(steps).toBeGreaterThan(0);
      agreed(name, history);
      // The student is what the recipe's net is, and nothing else.
      expect(Object.keys(last).sort()).toEqual(learner.network.variables.map(({ name }) => name).sort());
      const { queries = 0, passes: [forward, backward] = [0, 0] } = uses[name] as Use;
      expect(sessionOf(victim).asked).toEqual({ queries, forward, backward });
      expect(queries + forward > 0).toBe(attack.needs !== 'none');
    } finally {
      retired();
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  const { queries = 0, together = 1, budget = (queries >> 1) + 1 } = uses[name] as Use;
  test.skipIf(queries === 0)('ends where a budget does', async () => {
    const { victim, retired } = victimOf(attack, { budget })();
    try {
      const tried = context(key('stage'), { normalisation: data.normalisation });
      const { last } = endOf(await theftOf(attack, victim, learner, { ...tried, ...givenTo(attack) }));
      expect(Object.values(last).flat().every(Number.isFinite)).toBe(true);
      const asked = sessionOf(victim).asked.queries;
      expect(asked).toBeLessThanOrEqual(budget);
      expect(asked).toBeGreaterThan(budget - together);
    } finally {
      retired();
    }
  });

  // Labels of some of 200 classes, and answers of which nothing is left but a class.
  test.skipIf(queries === 0).each([2, 200])(
    'learns numbers of answers that are 0 and 1, of %i classes',
    async (classes) => {
      const labels = data.train.labels.map((label) => label % classes);
      const images = imagesOf({ ...data, train: { ...data.train, labels } });
      const own = { train: images(0, 24), validation: images(24, 32) };
      const by = { network: staged(3, classes), recipe: learner.recipe };
      const net = staged(4, classes);
      if (attack.refuses?.(net, by.network, circumstances({ recipe: by.recipe })) !== undefined) return;
      const variables = aged(net, 'victim');
      const certain = (clean: tf.Tensor2D) =>
        tf.log(tf.oneHot(tf.argMax(clean, 1), classes, 1, 0, 'float32')) as tf.Tensor2D;
      const answers: Answers = {
        kind: 'pure',
        answer: ({ logProbabilities }) => ({ logProbabilities: certain(logProbabilities) }),
      };
      const wrappers = [{ name: 'certain', answers, prepared: {} }];
      const victim = publish({
        ...{ network: net, variables, normalisation: data.normalisation, access: attack.needs, wrappers },
      });
      try {
        const tried = context(key('stage'), { normalisation: data.normalisation });
        const imitate = async () => ({ tell: certain, release: () => undefined });
        const given = { ...givenTo(attack), data: dataFor(attack, own), imitate };
        const { last, history } = endOf(await theftOf(attack, victim, by, { ...tried, ...given }));
        expect(Object.values(last).flat().every(Number.isFinite)).toBe(true);
        expect(history.flatMap(({ metrics }) => Object.values(metrics)).every(Number.isFinite)).toBe(true);
      } finally {
        retire(victim);
        tree.dispose(variables);
      }
    },
  );

  test('ends with the same bits where answers are recorded, and where they are replayed', async () => {
    const ends = async (recordings?: Recordings) => {
      const { victim, retired } = victimOf(attack, { identity: 'a net' })();
      try {
        const tried = context(key('stage'), { normalisation: data.normalisation, ...(recordings && { recordings }) });
        const found = endOf(await theftOf(attack, victim, learner, { ...tried, ...givenTo(attack) }));
        const { seconds: _, replayed, history, ...end } = found;
        return { end, history: history.map(({ stepsPerSecond: __, ...record }) => record), replayed };
      } finally {
        retired();
      }
    };
    const recordings = recordingsInMemory();
    const [live, recorded, again] = [await ends(), await ends(recordings), await ends(recordings)];
    expect([live.replayed, recorded]).toEqual([0, live]);
    expect(again).toEqual({ ...live, replayed: replayed.get(name) ?? 0 });
  });

  test('goes on to the same bits wherever it is killed, and asks no more', async () => {
    await expectToSurvive(
      { attack, victim: victimOf(attack), learner, given: givenTo(attack) },
      { everyNth: uses[name]?.killed ?? 4 },
    );
  });
});
