import { beforeEach, describe, expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { transfer } from '../../src/attacks/transfer.js';
import { FailureError } from '../../src/core/errors.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { experiment, isExperiment } from '../../src/experiment/experiment.js';
import { changed, placesIn, wrong } from '../mutations.js';
import { dataOf, learnerOf, thirds, tiny } from '../run/helpers.js';
import { planned } from './planned.js';

const data = { ...dataOf(thirds()), from: () => dataOf(thirds()) };

/** An experiment with everything that one can have. */
const spec = {
  name: 'test',
  title: 'x',
  about: 'x',
  data,
  fraction: 0.9,
  validation: 0.2,
  report: 'test',
  select: 'last',
  teacher: { ...learnerOf(), label: 'teacher' },
  students: [{ ...learnerOf(tiny(4)), label: 'student' }, 'self'],
  defenses: [
    {
      ...nasty(),
      ...{ name: 'made', label: 'made by hand', adversary: tiny(3), outliers: data, prepare: () => undefined },
      ...{ scaled: () => none(), preserves: 'label', exposes: 'probabilities' },
      answers: { kind: 'stateful', init: () => ({}), answer: (x: unknown) => x },
    },
    compose(nasty(), rounding(2)),
    none(),
  ],
  attacks: [
    {
      ...kd(),
      ...{
        name: 'made',
        label: 'made by hand',
        role: 'attack',
        baseline: scratch(),
        budget: 5,
        synthesises: true,
        questions: 2,
      },
      ...{ pool: { params: {}, make: () => undefined }, refuses: () => undefined, scaled: () => kd() },
      warns: () => undefined,
    },
    { ...transfer({ images: dataOf(thirds({ size: 8 })) }), label: 'other images' },
    scratch(),
  ],
  pairs: [{ attack: kd(), defense: none() }],
  seeds: [{ victim: 1, student: 2 }],
  budget: 100,
  metrics: [
    {
      ...{ name: 'mine', title: 'Mine', unit: 'number', better: 'neither', describe: 'x', only: 'student', params: {} },
      ...{ source: import.meta.url, of: () => 1 },
    },
  ],
  published: {
    ...{ source: 'x', provenance: 'read', note: 'x', tolerance: 1, teachers: { none: 90 } },
    students: { student: { scratch: 90, 'made by hand': { none: 50 } } },
  },
  reduced: 'x',
};

const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;

/** What no field may be, and functions that do not what they should. */
const values = [
  ...wrong,
  () => 5,
  () => {
    throw new TypeError('thrown');
  },
  cyclic,
  Symbol('x'),
  5n,
  kd(),
  nasty(),
  tiny(),
];

const places = placesIn(spec).filter((path) => !path.includes('published') || path.length < 4);

test('an experiment with everything is planned', async () => {
  await planned(experiment(spec as never));
  expect(places.length).toBeGreaterThan(80);
});

// The test runner is told between two tests how far they are.
beforeEach(() => new Promise(setImmediate));

describe('an experiment', () => {
  test.each(places.map((path) => [path.join('.'), path] as const))(
    'with another %s is refused by name, or planned',
    async (_, path) => {
      for (const [i, value] of values.entries()) {
        try {
          await planned(experiment(changed(spec, path, value) as never));
        } catch (error) {
          if (!(error instanceof FailureError)) throw new Error(`value ${i}`, { cause: error });
          const { kind, where, what, remedy } = error.failure;
          expect(['experiment', 'data', 'plugin']).toContain(kind);
          expect(`${where}: ${what}`.length).toBeGreaterThan(10);
          if (kind === 'experiment') expect(remedy, `${where}: ${what}`).toBeTruthy();
        }
      }
    },
  );

  test('is what experiment() made, and nothing that only looks like it', () => {
    const of = experiment(spec as never);
    expect(isExperiment(of)).toBe(true);
    for (const other of [{ _tag: 'Experiment' }, { ...of }, { ...of, attacks: 5 }, null, 5])
      expect(isExperiment(other)).toBe(false);
  });
});
