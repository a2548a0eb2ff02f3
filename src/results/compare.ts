import { unique } from '../core/lists.js';
import { lookup } from './lookup.js';
import { distinct, type Numbers, numbersBySeed, pairedBySeed } from './seeds.js';
import { settingOf } from './setting.js';
import type { Spread } from './spread.js';
import type { Matrix } from './types.js';

/** Runs beside each other; the first is what the others are compared with. */
export interface Comparison {
  /** Names of the runs, each once. */
  readonly runs: readonly string[];
  /** What they were told and made with, where that is not the same in all. */
  readonly settings: readonly { readonly name: string; readonly values: readonly (string | undefined)[] }[];
  readonly cells: readonly ComparedCell[];
}

/** A teacher, or a student of an attack, in each of the runs. */
export interface ComparedCell {
  /** Absent of a teacher. */
  readonly student?: string;
  readonly attack?: string;
  readonly defense: string;
  /** One a run; undefined where a run has no such cell, or no number of it. */
  readonly of: readonly ({ readonly accuracy: Spread; readonly difference?: Spread } | undefined)[];
}

/** Every setting by its name: `data.fraction`, `attack kd.temperature`. Lists of plain values are one. */
const settingsOf = (
  matrix: Matrix,
  { withLearners }: { readonly withLearners: boolean },
): ReadonlyMap<string, string> => {
  const { experiment, students, seeds, attacks, defenses, learners, provenance } = matrix;
  const found = new Map<string, string>();
  const add = (name: string, value: unknown): void => {
    // Code is known by a hash, which says nothing.
    if (value === undefined || value === null || name.endsWith('.source')) return;
    if (typeof value === 'object' && !Array.isArray(value))
      for (const [field, each] of Object.entries(value)) add(`${name}.${field}`, each);
    else found.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  };
  for (const [name, value] of Object.entries({ experiment, ...settingOf(matrix), students, seeds })) add(name, value);
  if (withLearners) {
    add('trained teacher', learners?.teacher);
    for (const [label, student] of Object.entries(learners?.students ?? {})) add(`student ${label}`, student);
  }
  for (const { label, needs, owns, params } of attacks) add(`attack ${label}`, { needs, owns, params });
  for (const { label, exposes, params } of defenses) add(`defence ${label}`, { exposes, params });
  const madeWith = (of: (each: Matrix['provenance'][number]) => string): string =>
    [...unique(provenance.map(of))].sort().join(', ');
  add(
    'undistill',
    madeWith(({ undistill }) => undistill),
  );
  add(
    'engine',
    madeWith(({ engine, engineVersion }) => `${engine} ${engineVersion}`),
  );
  add(
    'commit',
    madeWith(({ git }) => (git === undefined ? '–' : `${git.commit}${git.dirty ? ' and changes' : ''}`)),
  );
  return found;
};

/** Compares runs cell by cell. Names of runs that are the same get a number. */
export const compared = (runs: readonly { readonly name: string; readonly matrix: Matrix }[]): Comparison => {
  const names = runs.map(({ name }, i) => {
    const before = runs.slice(0, i).filter((each) => each.name === name).length;
    return before === 0 ? name : `${name} (${before + 1})`;
  });
  // What one of them does not tell is no difference.
  const withLearners = runs.every(({ matrix }) => matrix.learners !== undefined);
  const settings = runs.map(({ matrix }) => settingsOf(matrix, { withLearners }));
  const differing = unique(settings.flatMap((each) => [...each.keys()])).flatMap((name) => {
    const values = settings.map((each) => each.get(name));
    return unique(values).length > 1 ? [{ name, values }] : [];
  });
  const cell = (
    place: Pick<ComparedCell, 'student' | 'attack' | 'defense'>,
    accuracies: readonly { readonly mean: Spread | undefined; readonly seeds: Numbers }[],
  ): ComparedCell => ({
    ...place,
    of: accuracies.map(({ mean, seeds }, i) => {
      const first = accuracies[0];
      if (mean === undefined) return undefined;
      const difference = i === 0 || first === undefined ? undefined : pairedBySeed(seeds, first.seeds);
      return { accuracy: mean, ...(difference === undefined ? {} : { difference }) };
    }),
  });

  const defenses = unique(runs.flatMap(({ matrix }) => matrix.victims.map(({ defense }) => defense)));
  const teachers = defenses.map((defense) =>
    cell(
      { defense },
      runs.map(({ matrix }) => {
        const victim = matrix.victims.find((each) => each.defense === defense);
        return {
          mean: victim?.accuracy,
          seeds: numbersBySeed(distinct(victim?.seeds ?? []), ({ measures }) => measures?.metrics.accuracy),
        };
      }),
    ),
  );
  const places = runs.flatMap(({ matrix }) =>
    matrix.cells.map(({ student, attack, defense }) => JSON.stringify([student, attack, defense])),
  );
  const found = runs.map(({ matrix }) => lookup(matrix.cells));
  const students = unique(places).map((text) => {
    const [student, attack, defense] = JSON.parse(text) as [string, string, string];
    return cell(
      { student, attack, defense },
      found.map((at) => {
        const own = at(attack, defense, student);
        return {
          mean: own?.accuracy,
          seeds: numbersBySeed(own?.seeds ?? [], (each) => each.student?.metrics.accuracy),
        };
      }),
    );
  });
  return { runs: names, settings: differing, cells: [...teachers, ...students] };
};
