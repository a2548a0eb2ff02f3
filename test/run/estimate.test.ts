import { describe, expect, it } from 'vitest';
import type { Stage } from '../../src/experiment/plan.js';
import { speedsFrom } from '../../src/run/estimate.js';
import type { StageRecord } from '../../src/run/record.js';

const parts = (seed: number, width: number, attack?: string) => ({
  seed,
  inputs: { victim: `victim ${seed}` },
  student: { network: { name: 'cnn', params: { width } }, recipe: { batch: 128, epochs: 3 } },
  ...(attack === undefined ? {} : { attack: { name: attack } }),
});

const record = (seed: number, width: number, attack: string, seconds: number, stepsPerSecond: number): StageRecord =>
  ({
    kind: 'steal',
    parts: parts(seed, width, attack),
    seconds,
    training: { stepsPerSecond },
  }) as unknown as StageRecord;

const stage = (seed: number, width: number, attack: string): Stage =>
  ({ work: { kind: 'steal' }, parts: parts(seed, width, attack) }) as unknown as Stage;

describe('speeds of earlier stages', () => {
  const speeds = speedsFrom([record(0, 8, 'kd', 40, 10), record(0, 8, 'scratch', 20, 25)]);

  it('know how long the same took with another seed', () => {
    expect(speeds.ofLike(stage(1, 8, 'kd'))).toBe(40);
    expect(speeds.ofLike(stage(1, 8, 'hardLabel'))).toBeUndefined();
  });

  it('know the steps of the same network, best of the same attack', () => {
    expect(speeds.steps(stage(1, 8, 'scratch'))).toBe(25);
    expect(speeds.steps(stage(1, 8, 'hardLabel'))).toBe(25);
    expect(speeds.steps(stage(1, 8, 'kd'))).toBe(10);
  });

  it('know nothing of another network', () => {
    expect(speeds.steps(stage(0, 16, 'kd'))).toBeUndefined();
    expect(speedsFrom([]).steps(stage(0, 8, 'kd'))).toBeUndefined();
  });
});
