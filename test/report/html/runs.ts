import type { Run, RunPlan } from '../../../src/report/html/run.js';
import { readLog } from '../../../src/report/logs.js';
import type { Cell, Matrix } from '../../../src/results/types.js';
import { cell, example, result } from '../matrix.js';

/** Names as nobody should choose them. */
export const hostile = [
  '"><script>alert(1)</script>',
  "it's \"quoted\" & 'so on'",
  'a/b\\c/../..',
  '</script><!-- <script>',
  'emoji 🎓👩‍🔬',
  'עברית ושלום',
  '\u202eright to left\u0007',
  '\ud800 half a pair',
  'javascript:alert(1)',
  '{{7*7}} %{alert(1)}',
] as const;

export const runOf = (more: Partial<Run> = {}): Run => ({
  name: 'example',
  stages: new Map(),
  images: [],
  charts: [],
  files: [],
  ...more,
});

/** A matrix of all pairs of names, each as an attack, a defence and a student. */
export const crossed = (
  attacks: readonly string[],
  defenses: readonly string[] = attacks,
  students: readonly string[] = ['small'],
): Matrix => ({
  ...example,
  experiment: attacks[0] ?? 'none',
  about: defenses[0] ?? '',
  teacher: attacks[0] ?? '',
  attacks: attacks.map((label) => ({
    label,
    needs: 'probabilities',
    owns: label,
    params: { [label]: label, list: [label] },
  })),
  defenses: defenses.map((label) => ({ label, exposes: 'weights', params: { [label]: { name: label } } })),
  students,
  victims: defenses.map((defense) => ({
    defense,
    exposes: 'weights',
    accuracy: { mean: 0.9, sd: 0.01, count: 2 },
    seeds: [{ seed: '0', warnings: [defense] }],
  })),
  cells: students.flatMap((student) =>
    attacks.flatMap((attack, i) =>
      defenses.map(
        (defense, j): Cell =>
          cell(attack, defense, [result('0', 0.5 + ((i * 7 + j * 3) % 40) / 100, { toBaseline: (i - j) / 50 })], {
            student,
          }),
      ),
    ),
  ),
  best: [],
});

/** A plan of one attack on one defence, over two seeds. */
export const plan: RunPlan = {
  experiment: 'example',
  stages: ['0', '1'].flatMap((seed) => [
    { id: `teacher-${seed}`, label: `seed-${seed}/teacher`, inputs: {} },
    { id: `kd-${seed}`, label: `seed-${seed}/none/small/kd`, inputs: { victim: `teacher-${seed}` } },
  ]),
  cells: ['0', '1'].map((seed) => ({
    attack: 'kd',
    defense: 'none',
    student: 'small',
    seed,
    stages: { steal: `kd-${seed}`, measure: `m-${seed}`, baseline: `b-${seed}`, baselineMeasure: `bm-${seed}` },
  })),
};

export const log = readLog(
  [0.5, 0.7, 0.9]
    .map((accuracy, epoch) =>
      JSON.stringify({ epoch, metrics: { loss: 1 - accuracy, accuracy }, validation: accuracy - 0.1 }),
    )
    .join('\n'),
);
