import type { Cell, Matrix } from '../../src/results/types.js';
import { cell, example, result } from './matrix.js';

/** Students of two seeds, by their accuracies on the reported images and on those held out. */
export const students = (
  attack: string,
  defense: string,
  reported: readonly number[],
  heldOut?: readonly number[],
  l1?: number,
): Cell =>
  cell(
    attack,
    defense,
    reported.map((accuracy, seed) =>
      result(String(seed), accuracy, {
        student: {
          images: 100,
          last: accuracy,
          metrics: { accuracy },
          ...(heldOut === undefined ? {} : { heldOut: heldOut[seed] as number }),
        },
        toBaseline: accuracy - 0.8,
        ...(l1 === undefined ? {} : { answers: { l1, kl: 1, changed: 0 }, queries: 43_200 }),
      }),
    ),
  );

const victim = (defense: string, exposes: string, accuracy: number, answerL1?: number): Matrix['victims'][number] => ({
  defense,
  exposes,
  accuracy: { mean: accuracy, count: 2 },
  ...(defense === 'none' ? {} : { toUndefended: { mean: accuracy - 0.98, count: 2 } }),
  seeds: ['0', '1'].map((seed) => ({
    seed,
    warnings: [],
    measures: { images: 100, last: accuracy, metrics: { accuracy, ...(answerL1 === undefined ? {} : { answerL1 }) } },
  })),
});

const honest = { needs: 'none', owns: 'all', data: 'labelled', params: {} } as const;
/** Two seeds, four defences, attackers of every access: one failed, one that is the highest on the reported images alone. */
export const ranked: Matrix = {
  ...example,
  attacks: [
    { label: 'scratch', role: 'honest', ...honest },
    { label: 'ls .1', name: 'labelSmoothing', role: 'reference', ...honest },
    { label: 'ls .3', name: 'labelSmoothing', role: 'reference', ...honest },
    { label: 'hardLabel', needs: 'label', owns: 'all', data: 'unlabelled', params: {} },
    { label: 'kd(temperature 4)', name: 'kd', needs: 'probabilities', owns: 'all', data: 'labelled', params: {} },
    { label: 'inverseKd', needs: 'probabilities', owns: 'all', data: 'labelled', params: {} },
    { label: 'dfme', needs: 'probabilities', owns: 'no images', data: 'none', params: {} },
    { label: 'fitNet', needs: 'weights', owns: 'all', data: 'labelled', params: {} },
  ],
  defenses: [
    { label: 'none', role: 'identity', exposes: 'weights', params: {} },
    { label: 'reversed', exposes: 'probabilities', params: {} },
    { label: 'useless', exposes: 'probabilities', params: {} },
    { label: 'labelOnly', exposes: 'label', params: {} },
  ],
  victims: [
    victim('none', 'weights', 0.98),
    victim('reversed', 'probabilities', 0.98, 0.1),
    victim('useless', 'probabilities', 0.97, 0.2),
    victim('labelOnly', 'label', 0.98),
  ],
  cells: [
    ...['none', 'reversed', 'useless', 'labelOnly'].flatMap((defense) => [
      students('scratch', defense, [0.8, 0.8], [0.8, 0.8]),
      students('ls .1', defense, [0.83, 0.83], [0.81, 0.81]),
      students('ls .3', defense, [0.82, 0.84], [0.82, 0.82]),
      students('hardLabel', defense, [0.81, 0.83], [0.81, 0.81]),
    ]),
    students('kd(temperature 4)', 'none', [0.9, 0.92], [0.9, 0.9]),
    students('kd(temperature 4)', 'reversed', [0.6, 0.6], [0.6, 0.6]),
    students('kd(temperature 4)', 'useless', [0.9, 0.9], [0.9, 0.9]),
    // The highest on the reported images, but not on the others.
    students('inverseKd', 'reversed', [0.86, 0.9], [0.88, 0.88], 0.25),
    students('dfme', 'reversed', [0.89, 0.89], [0.5, 0.5]),
    students('dfme', 'none', [0.5, 0.7], [0.6, 0.6]),
    cell('dfme', 'useless', [
      result('0', 0.4, { student: { images: 1, last: 0.4, metrics: { accuracy: 0.4 }, heldOut: 0.4 } }),
      { seed: '1', status: 'failed', reason: 'NaN', warnings: [] },
    ]),
    students('fitNet', 'none', [0.95, 0.95], [0.95, 0.95]),
    cell('fitNet', 'reversed', [], { status: 'n/a' }),
  ],
};
