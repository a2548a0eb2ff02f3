import { describe, expect, test } from 'vitest';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd } from '../../src/attacks/kd.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import { failure, orFail } from '../../src/core/errors.js';
import { labelOnly } from '../../src/defenses/answers.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { plan } from '../../src/experiment/plan.js';
import type { Published } from '../../src/experiment/published.js';
import { withScale } from '../../src/experiment/scale.js';
import { table } from '../../src/report/table.js';
import { type Finished, matrix } from '../../src/results/matrix.js';
import type { Matrix } from '../../src/results/types.js';
import type { StageRecord } from '../../src/run/record.js';
import { made, thirds } from '../run/helpers.js';

type Accuracies = Readonly<Record<string, readonly (number | undefined)[]>>;

/** Accuracies by what a stage's label says after its seed, one a seed; undefined: it failed. */
const accuracies: Accuracies = {
  teacher: [0.95, 0.96, 0.97],
  'nasty/teacher': [0.94, 0.96, 0.95],
  'tiny/scratch': [0.8, 0.8, 0.8],
  'tiny/labelSmoothing': [0.82, 0.82, 0.82],
  'none/tiny/kd': [0.86, 0.85, 0.87],
  'nasty/tiny/kd': [0.7, 0.72, 0.71],
  'none/tiny/hardLabel': [0.81, 0.79, 0.8],
  'nasty/tiny/hardLabel': [0.8, 0.81, 0.79],
};

const published: Published = {
  source: 'Table 1',
  provenance: 'read',
  teachers: { none: 95.5, nasty: 95 },
  students: { tiny: { scratch: 81, kd: { none: 83, nasty: 70 }, hardLabel: { none: 80, labelOnly: 81 } } },
};

const found = (
  changes: Parameters<typeof made>[0] & { readonly scale?: number } = {},
  numbers: Accuracies = accuracies,
): Matrix => {
  const { scale = 1, ...spec } = changes;
  const of = made({
    defenses: [none(), nasty(), labelOnly()],
    attacks: [scratch(), labelSmoothing(), kd(), hardLabel()],
    seeds: [0, 1, 2],
    ...spec,
  });
  const planned = plan(orFail(withScale(of, scale)), {
    data: thirds(),
    others: new Map(),
    code: { modules: new Map() },
    harness: { training: 'training', measuring: 'measuring' },
    engine: 'tensorflow-cpu',
  });
  const finished = new Map<string, Finished>();
  for (const { id, label, work } of planned.stages) {
    const [, seed = '', rest = ''] = /^seed-([\d-]+)\/(.*?)(\/measure)?$/.exec(label) ?? [];
    const accuracy = numbers[rest]?.[of.seeds.findIndex(({ label: own }) => own === seed)];
    if (work.kind !== 'measure' || !(rest in numbers)) continue;
    const record = { warnings: [], provenance: { finished: '2026-01-01' } } as never as StageRecord;
    finished.set(
      id,
      accuracy === undefined
        ? { outcome: { status: 'failed', failure: failure('diverged', 'loss became NaN') } }
        : {
            outcome: { status: 'done', record },
            result: { images: 48, last: accuracy, metrics: { accuracy } },
          },
    );
  }
  return matrix(planned, finished, 'fingerprint');
};

const close = (value: number) => expect.closeTo(value, 10);

describe('the score of a defence', () => {
  test('is what it does to the best attack, seed by seed, and to its teacher', () => {
    const { scores } = found();
    const of = (defense: string) => scores?.find((score) => score.defense === defense);
    expect(scores).toHaveLength(3);
    // hardLabel 0.80, 0.81, 0.79 in place of kd 0.86, 0.85, 0.87: −0.06, −0.04, −0.08.
    expect(of('nasty')).toMatchObject({
      attack: 'hardLabel',
      student: 'tiny',
      harm: { mean: close(-0.06), sd: close(0.02), count: 3 },
      teacherCost: { mean: close(-0.01), sd: close(0.01), count: 3 },
      toLabelSmoothing: { mean: close(-0.02), sd: close(0.01), count: 3 },
      undistillable: 'undecided',
      // 3.18245 · 0.01 / √4 is less than 0.02, and 4.30265 · 0.01 / √3 is not.
      seedsToTell: 4,
    });
    // 4.30265 · 0.02 / √3.
    expect(of('nasty')?.harm?.interval).toEqual([expect.closeTo(-0.10968, 5), expect.closeTo(-0.01032, 5)]);
    expect(of('labelOnly')).toMatchObject({
      attack: 'hardLabel',
      teacherCost: { mean: 0 },
      undistillable: 'undecided',
    });
    expect(of('none')?.attack).toBe('kd');
    expect(of('none')).not.toHaveProperty('undistillable');
    expect(of('none')).not.toHaveProperty('harm');
    expect(of('none')).not.toHaveProperty('teacherCost');
  });

  test('is by the best over the seeds that all have, and not by who failed with the others', () => {
    // 0.90 of its only seed is a higher mean than (0.91 + 0.79 + 0.80) / 3.
    const lucky = { 'none/tiny/kd': [0.9, undefined, undefined], 'none/tiny/hardLabel': [0.91, 0.79, 0.8] };
    const of = found({}, { ...accuracies, ...lucky });
    expect(of.best.find(({ defense }) => defense === 'none')).toMatchObject({
      attack: 'hardLabel',
      accuracy: { count: 3 },
    });
    expect(of.scores?.find(({ defense }) => defense === 'nasty')?.harm?.count).toBe(3);
  });

  test('has a verdict that says how sure it is', () => {
    const verdict = (of: Matrix, defense: string) => of.scores?.find((score) => score.defense === defense)?.verdict;
    expect(verdict(found(), 'none')).toContain('Nothing is defended here');
    expect(verdict(found(), 'nasty')).toBe(
      'The seeds do not tell whether it is undistillable: the best attack, hardLabel, is 2.00 points below a student trained on smoothed labels (95 % interval −4.48 to +0.48 over 3 seeds). About 4 would, if the others are like these.',
    );
    expect(verdict(found({ seeds: [0] }), 'nasty')).toMatch(/\(one seed\)\. It takes two at least\.$/);
    expect(verdict(found({ attacks: [scratch(), kd()] }), 'nasty')).toContain('cannot be said');
  });

  test('knows no undistillable teacher without a student trained on smoothed labels', () => {
    for (const score of found({ attacks: [scratch(), kd()] }).scores ?? []) {
      expect(score).not.toHaveProperty('undistillable');
      expect(score).not.toHaveProperty('toLabelSmoothing');
    }
  });

  test('knows references by their roles, whatever their names', () => {
    const plain = { ...none(), name: 'plain', label: 'plain' };
    const reference = { ...labelSmoothing(), name: 'soft' };
    const named = {
      ...accuracies,
      'plain/tiny/kd': [0.86, 0.85, 0.87],
      'tiny/soft': [0.82, 0.82, 0.82],
    };
    const { scores, defenses, attacks } = found(
      { defenses: [plain, nasty()], attacks: [scratch(), reference, kd()] },
      named,
    );
    expect(scores?.find(({ defense }) => defense === 'nasty')).toMatchObject({
      harm: { mean: close(-0.15) },
      toLabelSmoothing: { mean: close(-0.11) },
    });
    expect(defenses.map(({ role }) => role)).toEqual(['identity', undefined]);
    expect(attacks.map(({ role }) => role)).toEqual(['honest', 'reference', 'attack']);
    const impostors = found({ defenses: [{ ...nasty(), name: 'none' }], attacks: [scratch(), kd()] }, named);
    expect(impostors.scores?.[0]).not.toHaveProperty('harm');
  });

  test('compares with the best of several references, whichever comes first', () => {
    const [weak, strong] = [labelSmoothing({ epsilon: 0.5, label: 'weak' }), labelSmoothing({ label: 'strong' })];
    const { cells, scores } = found(
      { defenses: [none(), nasty()], attacks: [scratch(), weak, strong, hardLabel()] },
      { ...accuracies, 'tiny/weak': [0.78, 0.77, 0.79], 'tiny/strong': [0.82, 0.82, 0.82] },
    );
    // hardLabel's 0.80, 0.81, 0.79 are above the first, and 0.02, 0.01 and 0.03 below the second.
    expect(scores?.find(({ defense }) => defense === 'nasty')?.toLabelSmoothing?.mean).toBeCloseTo(-0.02, 10);
    const at = (attack: string) => cells.find((cell) => cell.attack === attack && cell.defense === 'none');
    expect(at('weak')?.toLabelSmoothing?.mean).toBeCloseTo(-0.04, 10);
    expect(at('strong')).not.toHaveProperty('toLabelSmoothing');
  });

  test('has no harm without an undefended teacher', () => {
    const [score, ...others] = found({ defenses: [nasty()] }).scores ?? [];
    expect(others).toEqual([]);
    expect(score).toMatchObject({ defense: 'nasty', undistillable: 'undecided' });
    expect(score).not.toHaveProperty('harm');
    expect(score).not.toHaveProperty('teacherCost');
  });

  test('pairs only the seeds that both have, and is absent where nothing was stolen', () => {
    const holes = {
      ...accuracies,
      'nasty/tiny/hardLabel': [0.8, undefined, 0.79],
      'none/tiny/kd': [undefined, 0.85, 0.87],
    };
    const { scores } = found({}, holes);
    // Of the third seed alone: 0.79 − 0.87.
    expect(scores?.find(({ defense }) => defense === 'nasty')?.harm).toEqual({ mean: close(-0.08), count: 1 });
    expect(found({}, {}).scores).toEqual([]);
    expect(found({ attacks: [scratch()] }).scores).toEqual([]);
  });
});

describe('a reproduction', () => {
  test('has every published number once, with its verdict', () => {
    const { reproduction } = found({ published });
    expect(reproduction).toMatchObject([
      { what: 'teacher of none', paper: 0.955, difference: close(0.005), verdict: 'within' },
      { what: 'teacher of nasty', paper: 0.95, difference: close(0), verdict: 'within' },
      { what: 'scratch, student tiny', paper: 0.81, difference: close(-0.01), tolerance: 0.01, verdict: 'within' },
      { what: 'kd on none, student tiny', paper: 0.83, difference: close(0.03), verdict: 'outside' },
      { what: 'kd on nasty, student tiny', paper: 0.7, difference: close(0.01) },
      { what: 'hardLabel on none, student tiny', paper: 0.8, difference: close(0), verdict: 'within' },
      { what: 'hardLabel on labelOnly, student tiny', paper: 0.81 },
    ]);
    expect(reproduction?.[0]?.ours).toMatchObject({ mean: close(0.96), count: 3, interval: expect.any(Array) });
  });

  test('is within its tolerance, 1 point where none is named', () => {
    const verdicts = (tolerance?: number) =>
      found({ published: { ...published, ...(tolerance === undefined ? {} : { tolerance }) } }).reproduction?.map(
        ({ verdict }) => verdict === 'within',
      );
    expect(verdicts(5)?.every(Boolean)).toBe(true);
    expect(verdicts(0.6)?.filter(Boolean)).toHaveLength(3);
    expect(verdicts()?.filter(Boolean).length).toBeGreaterThan(2);
  });

  test('compares differences with the paper’s, and their direction', () => {
    const { effects } = found({ published });
    expect(effects).toMatchObject([
      {
        what: 'teacher of nasty − teacher of none',
        paper: close(-0.005),
        ours: { mean: close(-0.01) },
        direction: 'same',
      },
      {
        what: 'kd on none − scratch, student tiny',
        paper: close(0.02),
        ours: { mean: close(0.06) },
        direction: 'same',
      },
      {
        what: 'kd on nasty − on none, student tiny',
        paper: close(-0.13),
        ours: { mean: close(-0.15), count: 3 },
        difference: close(-0.02),
        direction: 'same',
      },
      {
        what: 'kd on nasty − scratch, student tiny',
        paper: close(-0.11),
        ours: { mean: close(-0.09) },
        direction: 'same',
      },
      { what: 'hardLabel on none − scratch, student tiny', paper: close(-0.01), direction: 'opposite' },
      // On labels alone an attack does as on the undefended teacher, and the paper's went up.
      { what: 'hardLabel on labelOnly − on none, student tiny', paper: close(0.01), direction: 'opposite' },
      { what: 'hardLabel on labelOnly − scratch, student tiny', paper: close(0) },
    ]);
  });

  test('of what was not run says so', () => {
    const { reproduction, effects } = found({ published }, { 'tiny/scratch': [0.8, 0.8, 0.8] });
    expect(reproduction?.map(({ verdict }) => verdict)).toEqual(
      expect.arrayContaining(['not run', expect.not.stringMatching('not run')]),
    );
    expect(reproduction?.filter(({ verdict }) => verdict !== 'not run')).toMatchObject([
      { what: 'scratch, student tiny' },
    ]);
    for (const effect of effects ?? []) expect(effect).not.toHaveProperty('direction');
    expect(found()).not.toHaveProperty('reproduction');
    expect(found()).not.toHaveProperty('effects');
  });

  test('says why its setting is reduced', () => {
    expect(found()).not.toHaveProperty('reduced');
    expect(found({ fraction: 0.5 }).reduced).toBe('50 % of the training images');
    expect(found({ fraction: 0.5, reduced: 'a smaller net', scale: 0.5 }).reduced).toBe(
      'a smaller net; 50 % of the training images; 50 % of the schedules',
    );
  });
});

test('a teacher that was trained anew is said to be, without a divergence that was measured', () => {
  const { victims } = found();
  expect(victims.map(({ defense, retrained }) => [defense, retrained])).toEqual([
    ['none', undefined],
    ['nasty', true],
    ['labelOnly', undefined],
  ]);
  expect(victims.flatMap(({ seeds }) => seeds.flatMap(({ divergence }) => divergence ?? []))).toEqual([]);
});

test('a teacher or a student that several seeds share counts once, and is said to', () => {
  const shared = found(
    { seeds: [0, 1].map((student) => ({ victim: 0, student })) },
    { ...accuracies, teacher: [0.95], 'nasty/teacher': [0.94] },
  );
  const [first, second] = shared.seeds;
  const none = shared.victims.find(({ defense }) => defense === 'none');
  expect(none?.seeds.map(({ seed, sameAs }) => [seed, sameAs])).toEqual([
    [first, undefined],
    [second, first],
  ]);
  expect(none?.accuracy).toEqual({ mean: 0.95, count: 1 });
  expect(shared.victims.find(({ defense }) => defense === 'nasty')?.toUndefended).toEqual({
    mean: expect.closeTo(-0.01, 10),
    count: 1,
  });
  const kdOnNone = shared.cells.find(({ attack, defense }) => attack === 'kd' && defense === 'none');
  expect(kdOnNone?.seeds.map(({ sameAs }) => sameAs)).toEqual([undefined, undefined]);
  expect(table({ ...shared, provenance: [] })).toContain(
    '2 seeds share 1 teacher: intervals of students and differences say nothing of how teachers differ.',
  );
  expect(table({ ...found(), provenance: [] })).not.toContain('share');
});
