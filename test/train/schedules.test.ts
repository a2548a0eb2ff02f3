import { describe, expect, test } from 'vitest';
import { constant, cosine, multiStep, oneCycle, type Schedule, triangular } from '../../src/train/schedules.js';

const stepsPerEpoch = 10;

/** The rate at the first step of an epoch. */
const atEpoch = (schedule: Schedule, epoch: number, epochs: number) =>
  schedule.at({ epoch, step: epoch * stepsPerEpoch, stepsPerEpoch, epochs });

/** The rate at a step. */
const atStep = (schedule: Schedule, step: number, epochs: number) =>
  schedule.at({ epoch: Math.floor(step / stepsPerEpoch), step, stepsPerEpoch, epochs });

describe('triangular', () => {
  test('is airbench’s: np.interp(arange(1 + all), [0, int(0.23 all), all], [0.2, 1, 0.07])', () => {
    const schedule = triangular({ rate: 2, peak: 0.23, start: 0.2, end: 0.07 });
    // Of 100 steps 23 lead up.
    const found = [0, 1, 22, 23, 24, 99].map((step) => atStep(schedule, step, 10));
    const wanted = [0.2, 0.2 + 0.8 / 23, 0.2 + (0.8 * 22) / 23, 1, 1 - 0.93 / 77, 0.07 + 0.93 / 77];
    found.forEach((rate, i) => {
      expect(rate).toBeCloseTo(2 * (wanted[i] as number), 12);
    });
  });

  test('of a single step, and with the peak at either end', () => {
    expect(triangular(0.1).at({ epoch: 0, step: 0, stepsPerEpoch: 1, epochs: 1 })).toBeCloseTo(0.1, 12);
    expect(atStep(triangular({ rate: 1, peak: 1 }), 99, 10)).toBeCloseTo(0.99, 12);
    expect(atStep(triangular({ rate: 1, peak: 0.001 }), 0, 10)).toBe(1);
  });
});

describe('oneCycle', () => {
  test('of one and of two steps is no division by nothing', () => {
    for (const epochs of [1, 2])
      for (let step = 0; step < epochs; step++)
        expect(oneCycle(0.1).at({ epoch: step, step, stepsPerEpoch: 1, epochs })).toSatisfy(Number.isFinite);
  });
});

describe('multiStep', () => {
  test.each([
    [0, 0.1],
    [79, 0.1],
    [80, 0.01],
    [119, 0.01],
    [120, 0.001],
    [159, 0.001],
  ])('rate 0.1, ×0.1 at 80 and 120: epoch %d has %d', (epoch, rate) => {
    const schedule = multiStep({ rate: 0.1, milestones: [80, 120], gamma: 0.1 });
    expect(atEpoch(schedule, epoch, 160)).toBeCloseTo(rate, 12);
    expect(atStep(schedule, epoch * stepsPerEpoch + 9, 160)).toBeCloseTo(rate, 12);
  });

  test('milestones as fractions are those epochs of a full run, and scale with a short one', () => {
    const schedule = multiStep({ rate: 0.1, milestones: [{ fraction: 0.5 }, { fraction: 0.75 }], gamma: 0.1 });
    const absolute = multiStep({ rate: 0.1, milestones: [80, 120], gamma: 0.1 });
    for (let epoch = 0; epoch < 160; epoch++) {
      expect(atEpoch(schedule, epoch, 160)).toBe(atEpoch(absolute, epoch, 160));
    }
    // of 5 epochs: 2.5 and 3.75
    expect([0, 1, 2, 3, 4].map((epoch) => atEpoch(schedule, epoch, 5).toPrecision(3))).toEqual([
      '0.100',
      '0.100',
      '0.100',
      '0.0100',
      '0.00100',
    ]);
  });

  test('a fraction that binary numbers miss by a hair is its epoch', () => {
    expect(0.29 * 100).toBeLessThan(29);
    expect(0.07 * 100).toBeGreaterThan(7);
    const schedule = multiStep({ rate: 1, milestones: [{ fraction: 0.07 }, { fraction: 0.29 }], gamma: 0.5 });
    expect([6, 7, 28, 29].map((epoch) => atEpoch(schedule, epoch, 100))).toEqual([1, 0.5, 0.5, 0.25]);
  });

  test('a milestone never reached changes nothing; one given twice counts twice', () => {
    expect(atEpoch(multiStep({ rate: 1e-3, milestones: [999], gamma: 0.1 }), 99, 100)).toBe(1e-3);
    expect(atEpoch(multiStep({ rate: 1, milestones: [1, 1], gamma: 0.5 }), 1, 2)).toBe(0.25);
  });
});

describe('cosine', () => {
  test('falls from the rate to the floor in half a cosine, step by step', () => {
    const schedule = cosine({ rate: 1, floor: 0.2 });
    // 2 epochs of 10 steps: at the start, at a quarter, half-way, and at the end, which would be step 20
    expect(atStep(schedule, 0, 2)).toBe(1);
    expect(atStep(schedule, 5, 2)).toBeCloseTo(0.2 + 0.4 * (1 + Math.SQRT1_2), 12);
    expect(atStep(schedule, 10, 2)).toBeCloseTo(0.6, 12);
    expect(atStep(schedule, 20, 2)).toBeCloseTo(0.2, 12);
    for (let step = 1; step < 20; step++) {
      expect(atStep(schedule, step, 2)).toBeLessThan(atStep(schedule, step - 1, 2));
    }
  });

  test('after a warm-up it runs over the steps that remain', () => {
    const schedule = cosine({ rate: 1, warmup: 1 });
    // 3 epochs, the first a warm-up: 20 steps remain
    expect(atStep(schedule, 0, 3)).toBeCloseTo(0.1, 12);
    expect(atStep(schedule, 9, 3)).toBe(1);
    expect(atStep(schedule, 10, 3)).toBe(1);
    expect(atStep(schedule, 20, 3)).toBeCloseTo(0.5, 12);
    expect(atStep(schedule, 30, 3)).toBeCloseTo(0, 12);
  });
});

describe('warm-up', () => {
  test('rises linearly to the rate of the schedule', () => {
    const schedule = constant({ rate: 0.5, warmup: { fraction: 0.2 } });
    // 2 epochs of 10 steps: 4 steps
    expect([0, 1, 2, 3, 4, 19].map((step) => atStep(schedule, step, 2))).toEqual([0.125, 0.25, 0.375, 0.5, 0.5, 0.5]);
  });

  test('multiplies milestones', () => {
    const schedule = multiStep({ rate: 1, milestones: [1], gamma: 0.1, warmup: 2 });
    expect(atStep(schedule, 9, 4)).toBe(0.5);
    expect(atStep(schedule, 10, 4)).toBeCloseTo(0.1 * (11 / 20), 12);
    expect(atStep(schedule, 20, 4)).toBeCloseTo(0.1, 12);
  });

  test('none is the default, and a whole run of it is still a rate', () => {
    expect(atStep(constant(0.1), 0, 1)).toBe(0.1);
    expect(atStep(cosine({ rate: 1, warmup: 2 }), 19, 2)).toBe(1);
    expect(atStep(cosine({ rate: 1, warmup: 2 }), 20, 2)).toBe(1);
  });
});

test('a schedule is named, and its parameters are plain JSON', () => {
  for (const schedule of [
    constant(0.1),
    multiStep({ rate: 0.1, milestones: [80, { fraction: 0.75 }], gamma: 0.1 }),
    cosine({ rate: 0.1, warmup: { fraction: 0.1 } }),
  ]) {
    expect(JSON.parse(JSON.stringify(schedule.params))).toEqual(schedule.params);
  }
  expect(multiStep({ rate: 0.1, milestones: [80], gamma: 0.1 })).toMatchObject({
    name: 'multiStep',
    params: { rate: 0.1, milestones: [80], gamma: 0.1, warmup: 0 },
  });
});

test.each([
  [() => constant(-1), /rate is -1\n +Give a number of at least 0/],
  [() => constant(Number.NaN), /rate is NaN/],
  [() => multiStep({ rate: 1, milestones: [{ fraction: 2 }], gamma: 0.1 }), /milestones: 0: fraction is 2/],
  [() => multiStep({ rate: 1, milestones: [-1], gamma: 0.1 }), /milestones: 0 is -1/],
  [() => multiStep({ rate: 1, milestones: [], gamma: Number.POSITIVE_INFINITY }), /gamma/],
  [() => cosine({ rate: 1, floor: -1 }), /floor/],
  [() => cosine({ rate: 1, warmup: -1 }), /warmup/],
  [() => cosine({ rate: 1, floors: 1 } as never), /floors is none of its options/],
])('refuses bad settings (%#)', (make, message) => {
  expect(make).toThrow(message);
});
