import { spread } from '../../src/results/spread.js';
import type { Cell, Matrix, SeedResult } from '../../src/results/types.js';

/** A student's numbers, as far as a table shows them. */
export const result = (seed: string, accuracy: number, more: Partial<SeedResult> = {}): SeedResult => ({
  seed,
  status: 'done',
  student: { images: 10_000, last: accuracy, metrics: { accuracy } },
  warnings: [],
  ...more,
});

const over = (seeds: readonly SeedResult[], pick: (seed: SeedResult) => number | undefined) =>
  spread(seeds.flatMap((seed) => pick(seed) ?? []));

/** A cell with its means. */
export const cell = (attack: string, defense: string, seeds: readonly SeedResult[], more: Partial<Cell> = {}): Cell => {
  const [accuracy, toBaseline, toUndefended, queries] = [
    over(seeds, (seed) => seed.student?.metrics.accuracy),
    over(seeds, (seed) => seed.toBaseline),
    over(seeds, (seed) => seed.toUndefended),
    over(seeds, (seed) => seed.queries),
  ];
  return {
    attack,
    defense,
    student: 'small',
    status: accuracy === undefined ? 'failed' : 'done',
    seeds,
    metrics: {},
    ...(accuracy === undefined ? {} : { accuracy }),
    ...(toBaseline === undefined ? {} : { toBaseline }),
    ...(toUndefended === undefined ? {} : { toUndefended }),
    ...(queries === undefined ? {} : { queries }),
    ...more,
  };
};

/** Two seeds, two defences and one that tells labels only; one attack of which a seed failed, one that failed whole. */
export const example: Matrix = {
  version: 1,
  experiment: 'example',
  about: 'made by hand',
  data: { name: 'mnist', fingerprint: 'f', fraction: 0.2, validation: 0.1 },
  report: 'test',
  select: 'last',
  teacher: 'big',
  attacks: [
    { label: 'scratch', needs: 'none', owns: 'all', params: {} },
    { label: 'kd', needs: 'probabilities', owns: 'all', baseline: 'scratch', params: {} },
    { label: 'partialKd', needs: 'probabilities', owns: '10 %', baseline: 'scratch on 10 %', params: {} },
    { label: 'broken', needs: 'probabilities', owns: 'all', baseline: 'scratch', params: {} },
  ],
  defenses: [
    { label: 'none', exposes: 'weights', params: {} },
    { label: 'nasty', exposes: 'weights', params: {} },
    { label: 'a|b', exposes: 'label', params: {} },
  ],
  students: ['small'],
  seeds: ['0', '1'],
  victims: [
    {
      defense: 'none',
      exposes: 'weights',
      accuracy: { mean: 0.98, sd: 0.001, count: 2 },
      seeds: [
        { seed: '0', warnings: [], measures: { images: 10_000, last: 0.981, metrics: { accuracy: 0.981 } } },
        { seed: '1', warnings: [] },
      ],
    },
    {
      defense: 'nasty',
      exposes: 'weights',
      accuracy: { mean: 0.97, sd: 0.002, count: 2 },
      toUndefended: { mean: -0.01, sd: 0.001, count: 2 },
      seeds: [
        { seed: '0', warnings: ['not nasty: too small'], divergence: { kl: 2, normal: 0.5 } },
        { seed: '1', warnings: [], divergence: { kl: 4, normal: 0.5 } },
      ],
    },
    {
      defense: 'a|b',
      exposes: 'label',
      seeds: [
        { seed: '0', reason: 'loss became NaN', warnings: [] },
        { seed: '1', warnings: [] },
      ],
    },
  ],
  cells: [
    cell('scratch', 'none', [result('0', 0.9), result('1', 0.92)]),
    cell('scratch', 'nasty', [result('0', 0.9), result('1', 0.92)]),
    cell('scratch', 'a|b', [result('0', 0.9), result('1', 0.92)]),
    cell('kd', 'none', [
      result('0', 0.93, { toBaseline: 0.03, queries: 32_400 }),
      result('1', 0.93, { toBaseline: 0.01, queries: 32_400 }),
    ]),
    cell('kd', 'nasty', [
      result('0', 0.85, { toBaseline: -0.05, toUndefended: -0.08, queries: 32_400 }),
      { seed: '1', status: 'failed', reason: 'loss, "said" NaN', warnings: [] },
    ]),
    cell('kd', 'a|b', [], { status: 'n/a', reason: 'kd needs probabilities; a|b exposes label' }),
    cell('partialKd', 'none', [result('0', 0.8, { toBaseline: 0.1 }), result('1', 0.8, { toBaseline: 0.1 })]),
    cell('partialKd', 'nasty', [], { status: 'not run' }),
    cell('partialKd', 'a|b', [], { status: 'n/a', reason: 'partialKd needs probabilities; a|b exposes label' }),
    cell('broken', 'none', [{ seed: '0', status: 'failed', reason: 'no | good', warnings: [] }], {
      reason: 'no | good',
    }),
  ],
  best: [{ defense: 'none', student: 'small', attack: 'kd', accuracy: { mean: 0.93, sd: 0, count: 2 } }],
  provenance: [
    {
      undistill: '0.1.0',
      engine: 'tensorflow-cpu',
      engineVersion: '2.21.0',
      threads: 2,
      gpus: [],
      node: 'v20.0.0',
      platform: 'linux-x64',
      finished: '2026-01-01',
    },
  ],
};

/** A run of some of its seeds alone. */
export const only = (of: Matrix, ...seeds: readonly string[]): Matrix => {
  const chosen = <Of extends { readonly seed: string }>(all: readonly Of[]) =>
    all.filter(({ seed }) => seeds.includes(seed));
  return {
    ...of,
    seeds,
    victims: of.victims.map(({ accuracy: _, toUndefended: __, ...victim }) => ({
      ...victim,
      seeds: chosen(victim.seeds),
    })),
    cells: of.cells.map(({ accuracy: _, toBaseline: __, ...cell }) => ({ ...cell, seeds: chosen(cell.seeds) })),
  };
};
