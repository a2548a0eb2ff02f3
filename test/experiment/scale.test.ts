import * as E from 'fp-ts/lib/Either.js';
import { describe, expect, test } from 'vitest';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { dafl } from '../../src/attacks/dafl.js';
import { deepInversion } from '../../src/attacks/deep-inversion.js';
import { kd } from '../../src/attacks/kd.js';
import { adaptiveKnockoff, knockoff } from '../../src/attacks/knockoff.js';
import { noise } from '../../src/attacks/noise.js';
import { scratch } from '../../src/attacks/scratch.js';
import { transfer } from '../../src/attacks/transfer.js';
import { orFail } from '../../src/core/errors.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { nasty } from '../../src/defenses/nasty.js';
import type { Experiment } from '../../src/experiment/experiment.js';
import { withScale } from '../../src/experiment/scale.js';
import { retrainable } from '../../src/train/pretrained.js';
import type { Learner } from '../../src/train/recipe.js';
import { constant, cosine, multiStep, type Schedule } from '../../src/train/schedules.js';
import { dataOf, learnerOf, made, recipe, thirds, tiny } from '../run/helpers.js';
import { expectClose } from '../train/tensors.js';

const scaled = (of: Experiment, factor: number): Experiment => orFail(withScale(of, factor));
const teacherOf = ({ teacher }: Experiment): Learner => retrainable(teacher);
const student = ({ students }: Experiment): Learner => students[0]?.learner as Learner;

/** The rate at the first step of each epoch. */
const rates = ({ recipe: { epochs, schedule } }: Learner): number[] =>
  Array.from({ length: epochs }, (_, epoch) => schedule.at({ epoch, epochs, step: 10 * epoch, stepsPerEpoch: 10 }));

describe('a scaled experiment', () => {
  const steps = multiStep({ rate: 1, milestones: [80, { fraction: 0.75 }], gamma: 0.1 });
  const of = made({
    teacher: learnerOf(tiny(), { epochs: 160, schedule: steps }),
    students: [learnerOf(tiny(4), { epochs: 40, schedule: steps })],
    attacks: [scratch()],
  });

  test('says so, in its name and about itself', () => {
    expect(scaled(of, 0.05)).toMatchObject({ name: 'test-scale-0.05', about: 'at 5 % of its schedules' });
    expect(scaled({ ...of, about: 'Table 1' }, 1 / 3)).toMatchObject({
      about: 'Table 1; at 33.3 % of its schedules',
    });
  });

  test('has a fraction of the epochs of teacher and students, one at least', () => {
    const twentieth = scaled(of, 0.05);
    expect([teacherOf(twentieth).recipe.epochs, student(twentieth).recipe.epochs]).toEqual([8, 2]);
    expect(student(scaled(of, 0.001)).recipe.epochs).toBe(1);
    expect([teacherOf(scaled(of, 1)).recipe.epochs, student(scaled(of, 1)).recipe.epochs]).toEqual([160, 40]);
  });

  test('lowers the rate at the same points, whether they are epochs or fractions of all', () => {
    const teacher = teacherOf(scaled(of, 0.05));
    // Of 160 epochs those at 80 and 120; of 8, those at 4 and 6.
    expectClose(rates(teacher), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], 1e-12);
    expect(teacher.recipe.schedule.params).toMatchObject({ milestones: [4, { fraction: 0.75 }] });
  });

  test.each<readonly [string, Schedule, object]>([
    ['a constant one', constant({ rate: 0.1, warmup: 20 }), { rate: 0.1, warmup: 2 }],
    ['half a cosine', cosine({ rate: 0.1, warmup: 5, floor: 0.01 }), { rate: 0.1, warmup: 0.5, floor: 0.01 }],
    ['one in fractions', cosine({ rate: 0.1, warmup: { fraction: 0.2 } }), { warmup: { fraction: 0.2 } }],
  ])('warms up for a fraction of the epochs: %s', (_, schedule, params) => {
    const teacher = teacherOf(scaled({ ...of, teacher: learnerOf(tiny(), { epochs: 100, schedule }) }, 0.1));
    expect(teacher.recipe.schedule.params).toMatchObject(params);
  });

  test('leaves a schedule of one’s own as it is', () => {
    const own: Schedule = { name: 'own', params: {}, source: import.meta.url, at: () => 0.5 };
    const teacher = teacherOf(scaled({ ...of, teacher: learnerOf(tiny(), { epochs: 100, schedule: own }) }, 0.1));
    expect(teacher.recipe.schedule).toBe(own);
  });

  test('keeps everything else, and its labels', () => {
    const { name: _, about: __, teacher, students, defenses, attacks, ...rest } = scaled(of, 0.5);
    expect(rest).toEqual({
      data: of.data,
      fraction: of.fraction,
      validation: of.validation,
      report: of.report,
      select: of.select,
      metrics: of.metrics,
      pairings: of.pairings,
      seeds: of.seeds,
      reduced: '50 % of the schedules',
    });
    expect(teacher.network).toBe(of.teacher.network);
    expect(students.map(({ label }) => label)).toEqual(of.students.map(({ label }) => label));
    expect(attacks).toEqual(of.attacks);
    expect(defenses).toEqual(of.defenses);
  });
});

test('a scaled nasty teacher warms up for a fraction of its epochs, alone and in a composition', () => {
  const given = nasty({
    omega: 0.1,
    temperature: 3,
    adversary: tiny(),
    warmUpEpochs: 4,
    clipNorm: 2,
    initFrom: 'baseline',
  });
  const { defenses } = scaled(
    made({ attacks: [scratch()], defenses: [given, { ...compose(given, rounding(2)), label: 'both' }] }),
    0.25,
  );
  const [alone, both] = defenses.map(({ defense }) => defense);
  expect(alone?.params).toEqual({ ...given.params, warmUpEpochs: 1 });
  expect(both?.parts?.map(({ params }) => params)).toEqual([alone?.params, rounding(2).params]);
  expect(defenses.map(({ label }) => label)).toEqual(['nasty', 'both']);
});

test('the adversary of a scaled nasty teacher has a fraction of its own epochs', () => {
  const given = nasty({ adversaryRecipe: recipe({ epochs: 8 }) });
  const [one] = scaled(made({ attacks: [scratch()], defenses: [given] }), 0.25).defenses;
  expect(one?.defense).toMatchObject({ adversaryRecipe: { epochs: 2 } });
});

describe('a scaled attack', () => {
  const paramsOf = (attack: AnyAttack, factor: number) => {
    const [one] = scaled(made({ attacks: [attack] }), factor).attacks;
    expect(one?.label).toBe(attack.name);
    expect(one?.attack.name).toBe(attack.name);
    return one?.attack.params;
  };

  test('by DAFL has a fraction of its epochs, and of its steps where there is one epoch left', () => {
    const attack = dafl({ epochs: 20, stepsPerEpoch: 50, width: 8 });
    expect(paramsOf(attack, 0.1)).toEqual({ ...attack.params, epochs: 2 });
    expect(paramsOf(attack, 0.01)).toEqual({ ...attack.params, epochs: 1, stepsPerEpoch: 10 });
    expect(paramsOf(attack, 1)).toEqual(attack.params);
    const falling = dafl({ epochs: 20, schedule: multiStep({ rate: 0.1, milestones: [10], gamma: 0.1 }) });
    expect(paramsOf(falling, 0.5)).toMatchObject({ schedule: { params: { milestones: [5] } } });
  });

  test('by Knockoff lets the rate fall earlier, where it has one', () => {
    const images = dataOf(thirds());
    const released = knockoff({ ...knockoff.presets.released, images });
    expect(paramsOf(released, 0.5)).toMatchObject({ schedule: { params: { milestones: [30] } } });
    expect(paramsOf(adaptiveKnockoff({ images }), 0.5)).toEqual(adaptiveKnockoff({ images }).params);
  });

  test('by DeepInversion makes fewer batches, and in fewer iterations where a single one is too many', () => {
    const attack = deepInversion({ batches: 10, iterations: 100, halfIterations: 40, steps: 1000 });
    expect(paramsOf(attack, 0.2)).toEqual({ ...attack.params, batches: 2, steps: 200 });
    expect(paramsOf(attack, 0.05)).toEqual({
      ...attack.params,
      batches: 1,
      iterations: 50,
      halfIterations: 20,
      steps: 50,
    });
    expect(paramsOf(attack, 1)).toEqual(attack.params);
    expect(paramsOf(deepInversion({ iterations: 3 }), 0.001)).toMatchObject({ batches: 1, iterations: 1, steps: null });
    const adaptive = deepInversion({ batches: 4, adaptive: { scale: 0.2, every: 50 }, batch: 2, labels: [0, 1] });
    expect(paramsOf(adaptive, 0.5)).toEqual({ ...adaptive.params, batches: 2 });
  });

  test('by noise takes a fraction of the steps that it names', () => {
    expect(paramsOf(noise({ steps: 300 }), 0.1)).toEqual({ temperature: 1, steps: 30 });
    expect(paramsOf(noise(), 0.1)).toEqual({ temperature: 1, steps: null });
  });

  test('keeps the label that it was given', () => {
    for (const attack of [dafl({ label: 'mine', pictureEvery: 7 }), deepInversion({ label: 'mine', pictureEvery: 7 })])
      expect(attack.scaled?.(0.5).label).toBe('mine');
  });

  test('without iterations of its own is itself', () => {
    for (const attack of [kd(), transfer({ images: dataOf(thirds()) })])
      expect(scaled(made({ attacks: [attack] }), 0.1).attacks[0]?.attack).toBe(attack);
  });
});

test.each([0, -0.1, 2, Number.NaN, Number.POSITIVE_INFINITY])('a scale of %d is refused', (factor) => {
  const refused = withScale(made({ attacks: [scratch()] }), factor);
  if (E.isRight(refused)) throw new Error('it was accepted');
  expect(refused.left).toMatchObject({
    kind: 'usage',
    what: `a scale is a number above 0 and at most 1, not ${factor}`,
    where: '--scale',
    remedy: expect.stringContaining('0.01'),
  });
});
