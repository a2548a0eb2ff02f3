import { spread } from '../../../src/results/spread.js';
import type { Matrix, VictimSummary } from '../../../src/results/types.js';
import { cell, example, result } from '../matrix.js';

const victim = (defense: string, accuracies: readonly number[]): VictimSummary => ({
  defense,
  exposes: 'weights',
  ...(accuracies.length === 0 ? {} : { accuracy: spread(accuracies) as NonNullable<VictimSummary['accuracy']> }),
  seeds: [],
});

type Side<T> = Readonly<Record<string, { readonly name: string; readonly params?: unknown } & T>>;

/**
 * A matrix of one student: accuracies by seed for each teacher, and for each attack by defence; attacks are compared with
 * what `alone` has for them.
 */
export const matrixOf = ({
  defenses,
  attacks,
  student = 'small',
}: {
  readonly defenses: Side<{ readonly teacher: readonly number[] }>;
  readonly attacks: Side<{
    readonly needs?: string;
    readonly baseline?: string;
    readonly alone?: readonly number[];
    readonly accuracy: Readonly<Record<string, readonly number[]>>;
  }>;
  readonly student?: string;
}): Matrix => {
  const cells = Object.entries(attacks).flatMap(([attack, { accuracy, alone }]) =>
    Object.keys(defenses).map((defense) => {
      const seeds = (accuracy[defense] ?? []).map((each, i) =>
        result(String(i), each, alone === undefined ? {} : { toBaseline: each - (alone[i] as number) }),
      );
      return cell(attack, defense, seeds, { student, ...(seeds.length === 0 ? { status: 'not run' } : {}) });
    }),
  );
  const seeds = Math.max(...cells.map((each) => each.seeds.length));
  return {
    ...example,
    experiment: 'sweep',
    attacks: Object.entries(attacks).map(([label, { name, params = {}, needs = 'probabilities', baseline }]) => ({
      label,
      name,
      needs,
      owns: 'all',
      params,
      ...(baseline === undefined ? {} : { baseline }),
    })),
    defenses: Object.entries(defenses).map(([label, { name, params = {} }]) => ({
      label,
      name,
      exposes: 'weights',
      params,
    })),
    students: [student],
    seeds: Array.from({ length: seeds }, (_, i) => String(i)),
    victims: Object.entries(defenses).map(([label, { teacher }]) => victim(label, teacher)),
    cells,
    best: Object.keys(defenses).flatMap((defense) => {
      const accuracy = cells.find((each) => each.attack !== 'scratch' && each.defense === defense)?.accuracy;
      return accuracy === undefined ? [] : [{ defense, student, attack: 'kd', accuracy }];
    }),
  };
};

const alone = [0.7, 0.72];

/** ω of 0, 0.01 and 0.1 over two seeds. */
export const omegas = (): Matrix =>
  matrixOf({
    defenses: {
      none: { name: 'none', teacher: [0.81, 0.83] },
      'nasty(omega 0)': { name: 'nasty', params: { omega: 0, adversary: null }, teacher: [0.8, 0.82] },
      'nasty(omega 0.01)': { name: 'nasty', params: { omega: 0.01, adversary: null }, teacher: [0.8, 0.8] },
      'nasty(omega 0.1)': { name: 'nasty', params: { omega: 0.1, adversary: null }, teacher: [0.78, 0.8] },
    },
    attacks: {
      scratch: {
        name: 'scratch',
        needs: 'none',
        accuracy: Object.fromEntries(
          ['none', 'nasty(omega 0)', 'nasty(omega 0.01)', 'nasty(omega 0.1)'].map((defense) => [defense, alone]),
        ),
      },
      kd: {
        name: 'kd',
        baseline: 'scratch',
        alone,
        accuracy: {
          none: [0.75, 0.77],
          'nasty(omega 0)': [0.74, 0.76],
          'nasty(omega 0.01)': [0.73, 0.75],
          'nasty(omega 0.1)': [0.6, 0.62],
        },
      },
    },
  });

/** Attacks of one name on a normal and a nasty teacher, one seed: accuracies by label, and their parameters. */
export const attacksOf = (
  attacks: Readonly<
    Record<string, { readonly params: unknown; readonly none: number; readonly nasty: number; readonly alone: number }>
  >,
): Matrix =>
  matrixOf({
    defenses: { none: { name: 'none', teacher: [0.8] }, nasty: { name: 'nasty', teacher: [0.79] } },
    attacks: Object.fromEntries(
      Object.entries(attacks).map(([label, { params, none, nasty, alone: honest }]) => [
        label,
        {
          name: 'kd',
          params,
          baseline: `alone for ${label}`,
          alone: [honest],
          accuracy: { none: [none], nasty: [nasty] },
        },
      ]),
    ),
  });
