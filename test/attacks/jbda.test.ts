import { beforeAll, describe, expect, test } from 'vitest';
import type { Attack } from '../../src/attacks/attack.js';
import { jbda, queriesOf, signIn } from '../../src/attacks/jbda.js';
import { defaultsOf } from '../../src/core/options.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { withoutLabels } from '../../src/experiment/data-access.js';
import type { Synthesised } from '../../src/train/context.js';
import { publish, retire, sessionOf } from '../../src/train/oracle.js';
import { built, context, data, endOf, setOf, theftOf } from '../train/bench.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

type Preset = keyof typeof jbda.presets;

describe('how many answers are asked for', () => {
  const defaults = { rounds: 6, form: 'untargeted', k: 3, reservoirFrom: 3, asks: 'new' } as const;
  const of = (seeds: number, preset: Preset) => queriesOf(seeds, { ...defaults, ...jbda.presets[preset] });

  test('is what the presets’ papers asked for', () => {
    // MAZE's six rounds, of which the last asks about nothing new: 3,200 images, and each about again in every round.
    expect(of(100, 'maze')).toBe(6300);
    expect(queriesOf(100, { ...defaults, rounds: 5 })).toBe(3200);
    expect(of(100, 'predictionPoisoning')).toBe(10_000);
    expect(of(100, 'predictionPoisoningTopK')).toBe(10_000);
    // ModelGuard's budget ends the third of the rounds.
    expect(of(1000, 'modelGuard')).toBeGreaterThan(50_000);
  });

  test('counts with the defaults that the attack has', () => {
    expect(defaultsOf(jbda.declaration.options)).toMatchObject(defaults);
  });
});

test('the step changes its sign by (−1)^⌊ρ/τ⌉, a half being rounded to the even one', () => {
  const signs = (period: number, rounds: number) => Array.from({ length: rounds }, (_, round) => signIn(round, period));
  expect(signs(5, 9)).toEqual([1, 1, 1, -1, -1, -1, -1, -1, 1]);
  expect(signs(2, 8)).toEqual([1, 1, -1, 1, 1, 1, -1, 1]);
  expect(signs(1, 4)).toEqual([1, -1, 1, -1]);
});

const stolen = async (options: Parameters<typeof jbda>[0], budget?: number) => {
  const network = built().network;
  const variables = network.init(key('victim'));
  const limit = budget === undefined ? {} : { budget };
  const victim = publish({ network, variables, normalisation: data.normalisation, access: 'probabilities', ...limit });
  const kept: Synthesised[] = [];
  const keeping = async (_: string, make: () => Promise<Synthesised>) => {
    const made = await make();
    kept.push(made);
    return made;
  };
  try {
    const attack = jbda({ fraction: 1, roundEpochs: 1, ...options }) as unknown as Attack;
    const seeds = withoutLabels(setOf({ ...data.train, images: data.train.images.slice(0, 10 * 16), count: 10 }));
    const { last } = endOf(
      await theftOf(attack, victim as never, built({ epochs: 1 }), {
        ...context(undefined, { keeping }),
        data: { train: seeds },
        fullStepsPerEpoch: 1,
      } as never),
    );
    expect(Object.values(last).flat().every(Number.isFinite)).toBe(true);
    return { queries: sessionOf(victim as never).asked.queries, kept };
  } finally {
    retire(victim);
    tree.dispose(variables);
  }
};

describe('a theft', () => {
  test('asks about new images alone, or about all again in each round', async () => {
    expect((await stolen({ rounds: 2 })).queries).toBe(10 + 10 + 20);
    expect((await stolen({ rounds: 2, asks: 'all' })).queries).toBe(10 + 20 + 40);
    expect((await stolen({ rounds: 2, asks: 'all', answers: 'label' })).queries).toBe(10 + 20 + 40);
  });

  test('ends with its budget, and asks about nothing again where there is none left for a new image', async () => {
    expect((await stolen({ rounds: 2 }, 33)).queries).toBe(33);
    expect((await stolen({ rounds: 3, asks: 'all' }, 60)).queries).toBe(60);
    expect((await stolen({ rounds: 3, asks: 'all' }, 50)).queries).toBe(30);
  });

  test('keeps the last images that it made, and no seed', async () => {
    const { kept } = await stolen({ rounds: 1, keep: 4 });
    expect(kept.map(({ labels, updates }) => [labels.length, updates])).toEqual([[4, 1]]);
    expect((await stolen({ rounds: 1 })).kept.map(({ labels, images }) => [labels.length, images.length])).toEqual([
      [10, 160],
    ]);
  });
});
