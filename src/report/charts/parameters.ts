import { extent, unique } from '../../core/lists.js';
import { described } from '../../experiment/labels.js';
import { lookup } from '../../results/lookup.js';
import { roleOf } from '../../results/roles.js';
import { shareSpread } from '../../results/spread.js';
import type { Cell, Matrix } from '../../results/types.js';
import type { Chart } from './chart.js';
import { lines, type Point } from './lines.js';
import { countedIn } from './words.js';

type Scalar = string | number;

/** A row or a column of the matrix with its parameters by their path. */
interface Plugin {
  readonly label: string;
  readonly params: ReadonlyMap<string, Scalar>;
}

/** Parameters by their path; a plugin among them as its name with its own parameters, and those by themselves too. */
export const leaves = (value: unknown, path: string): readonly (readonly [string, Scalar])[] => {
  if (typeof value === 'number') return [[path, value]];
  if (typeof value !== 'object') return value === undefined ? [] : [[path, String(value)]];
  if (value === null) return [[path, 'default']];
  const within = (fields: object) =>
    Object.entries(fields).flatMap(([name, each]) => leaves(each, path === '' ? name : `${path}.${name}`));
  const { name, params } = value as { readonly name?: unknown; readonly params?: unknown };
  return typeof name === 'string' && typeof params === 'object' && params !== null
    ? [[path, described({ name, params: params as Record<string, unknown> })], ...within(params)]
    : within(value);
};

/** What is swept of plugins of one name: which parameter, over which of them, and what else differs between them. */
interface Sweep {
  readonly path: string;
  readonly members: readonly { readonly plugin: Plugin; readonly value: Scalar; readonly others: string }[];
}

const sweepsOf = (plugins: readonly Plugin[]): readonly Sweep[] => {
  const paths = unique(plugins.flatMap(({ params }) => [...params.keys()]));
  const differing = paths.filter((path) => unique(plugins.map(({ params }) => params.get(path))).length > 1);
  return differing.flatMap((path) => {
    const apart = differing.filter(
      (other) => other !== path && !other.startsWith(`${path}.`) && !path.startsWith(`${other}.`),
    );
    const members = plugins.flatMap((plugin) => {
      const value = plugin.params.get(path);
      const others = apart.flatMap((other) => {
        const its = plugin.params.get(other);
        return its === undefined ? [] : [`${lastOf(other)} ${its}`];
      });
      return value === undefined ? [] : [{ plugin, value, others: others.join(', ') }];
    });
    const numeric = members.every(({ value }) => typeof value === 'number');
    const values = unique(members.map(({ others }) => others)).map(
      (others) => unique(members.filter((each) => each.others === others).map(({ value }) => value)).length,
    );
    if (extent(values)[1] < (numeric ? 3 : 2)) return [];
    const sorted = [...members].sort((a, b) => (numeric ? Number(a.value) - Number(b.value) : 0));
    return [{ path, members: sorted }];
  });
};

export const lastOf = (path: string): string => path.split('.').at(-1) as string;

/**
 * Student accuracy by each parameter that attacks or defences of one name differ in: by a number that takes three values
 * or more, and by a word (a net's name) that takes two. Budgets of attacks are in one chart for all.
 */
export const parameterCharts = (matrix: Matrix): readonly Chart[] => {
  const ofAttacks = namedSweeps(matrix.attacks);
  const others = ofAttacks.filter((sweep) => !isBudget(sweep));
  return [
    ...bySweeps(matrix, namedSweeps(matrix.defenses), (members) => pointsOfDefenses(matrix, members)),
    ...bySweeps(matrix, others, (members) => pointsOfAttacks(matrix, members)),
    ...byQueries(matrix, ofAttacks.filter(isBudget)),
  ];
};

type Members = Sweep['members'];

type NamedSweep = Sweep & { readonly name: string };

/** The sweeps of plugins of one name, with that name. */
const namedSweeps = (
  plugins: readonly { readonly label: string; readonly name?: string; readonly params: unknown }[],
): readonly NamedSweep[] =>
  unique(plugins.map(({ name, label }) => name ?? label)).flatMap((name) => {
    const own = plugins
      .filter((each) => (each.name ?? each.label) === name)
      .map(({ label, params }) => ({ label, params: new Map(leaves(params, '')) }));
    return sweepsOf(own).map((sweep) => ({ ...sweep, name }));
  });

/** An attack's budget is the answers that it may ask for at most. */
const isBudget = ({ path }: Sweep): boolean => path === 'budget';

const bySweeps = (
  matrix: Matrix,
  sweeps: readonly NamedSweep[],
  pointsOf: (members: Members) => readonly Point[],
): readonly Chart[] =>
  sweeps.flatMap(({ name, path, members }) => {
    const points = pointsOf(members);
    if (points.every(({ role }) => role !== 'student')) return [];
    const values = members.map(({ value }) => value);
    const ticks = unique(values.filter((value) => typeof value === 'number'));
    return [
      lines(points, {
        title: `Accuracy by ${lastOf(path)} of ${name}`,
        subtitle: countedIn(matrix),
        across: lastOf(path),
        ...(ticks.length > 12 ? {} : { ticks }),
      }),
    ];
  });

/** Accuracy by the answers that were asked for: a panel a victim and student, a line for each attack of three budgets or more. */
const byQueries = (matrix: Matrix, sweeps: readonly NamedSweep[]): readonly Chart[] => {
  const at = lookup(matrix.cells);
  const points = matrix.students.flatMap((student) =>
    matrix.defenses.flatMap(({ label: defense }) =>
      sweeps.flatMap(({ name, members }) =>
        members.flatMap(({ plugin, others }): readonly Point[] => {
          const { accuracy, queries } = at(plugin.label, defense, student) ?? {};
          const panel = matrix.students.length === 1 ? defense : `${student}: ${defense}`;
          return accuracy === undefined || queries === undefined
            ? []
            : [{ panel, line: named(name, others), value: queries.mean, accuracy, role: 'student' }];
        }),
      ),
    ),
  );
  const title = 'Accuracy by number of queries';
  return points.length === 0
    ? []
    : [lines(points, { title, subtitle: countedIn(matrix), across: 'answers', axis: 'logarithmic' })];
};

const alone = 'trained alone';

const named = (line: string, others: string): string => (others === '' ? line : `${line}, ${others}`);

/** One line for each attack that takes something from the victim, and one of the victims themselves. */
const pointsOfDefenses = (matrix: Matrix, members: Members): readonly Point[] => {
  const at = lookup(matrix.cells);
  return matrix.students.flatMap((panel) => {
    const stolen = matrix.attacks
      .filter((attack) => roleOf(attack) === 'attack')
      .flatMap(({ label, baseline }) => {
        const cells = members.map((member) => ({ member, cell: at(label, member.plugin.label, panel) }));
        return [
          ...cells.flatMap(({ member: { value, others }, cell }): readonly Point[] =>
            cell?.accuracy === undefined
              ? []
              : [{ panel, line: named(label, others), value, accuracy: cell.accuracy, role: 'student' }],
          ),
          ...cells.flatMap(({ member: { value }, cell }) => baselinePoint(panel, baseline ?? '', value, cell)),
        ];
      });
    const teachers = members.flatMap(({ plugin, value, others }): readonly Point[] => {
      const accuracy = matrix.victims.find(({ defense }) => defense === plugin.label)?.accuracy;
      return accuracy === undefined
        ? []
        : [{ panel, line: named('teacher', others), value, accuracy, role: 'teacher' }];
    });
    return [...students(stolen), ...teachers, ...baselines(stolen)];
  });
};

/** One line for each column; an honest student is the same in all of them. */
const pointsOfAttacks = (matrix: Matrix, members: Members): readonly Point[] => {
  const at = lookup(matrix.cells);
  return matrix.students.flatMap((panel) => {
    const swept = matrix.attacks.find(({ label }) => label === members[0]?.plugin.label);
    const honest = swept !== undefined && roleOf(swept) !== 'attack';
    const columns = matrix.defenses.map(({ label }) => label);
    const points = (honest ? columns.slice(0, 1) : columns).flatMap((defense) =>
      members.flatMap(({ plugin, value, others }): readonly Point[] => {
        const cell = at(plugin.label, defense, panel);
        if (cell?.accuracy === undefined) return [];
        const line = named(honest ? alone : defense, others);
        return [
          { panel, line, value, accuracy: cell.accuracy, role: 'student' },
          ...baselinePoint(panel, others, value, cell),
        ];
      }),
    );
    return [...students(points), ...baselines(points)];
  });
};

const students = (points: readonly Point[]) => points.filter(({ role }) => role === 'student');

/** The honest student that a cell is compared with, over the seeds in which both are there. */
const baselinePoint = (panel: string, line: string, value: Scalar, cell: Cell | undefined): readonly Point[] => {
  const accuracies = (cell?.seeds ?? []).flatMap(({ student, toBaseline }) =>
    student?.metrics.accuracy === undefined || toBaseline === undefined ? [] : [student.metrics.accuracy - toBaseline],
  );
  const accuracy = shareSpread(accuracies);
  return accuracy === undefined ? [] : [{ panel, line, value, accuracy, role: 'baseline' }];
};

/** Honest students are one line where those of one value are alike, and else one for each that they are compared with. */
const baselines = (points: readonly Point[]): readonly Point[] => {
  const own = points.filter(({ role }) => role === 'baseline');
  const alike = own.every((one) =>
    own.every(({ value, accuracy }) => value !== one.value || Math.abs(accuracy.mean - one.accuracy.mean) < 1e-9),
  );
  const named = own.map((point) => ({ ...point, line: alike ? alone : `${alone} (${point.line})` }));
  return named.filter(
    ({ line, value }, i) => i === named.findIndex((other) => other.line === line && other.value === value),
  );
};
