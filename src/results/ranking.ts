import type { Role } from '../attacks/attack.js';
import { sha256 } from '../core/hash.js';
import { defined, grouped, own, unique } from '../core/lists.js';
import { hasOf, passiveAttacks, type ThiefAsks, type ThiefHas } from '../experiment/strongest.js';
import { type Access, rank } from '../train/oracle.js';
import { lookup } from './lookup.js';
import { roleOf, undefendedIn } from './roles.js';
import { paired } from './scores.js';
import { type Spread, spread } from './spread.js';
import type { Cell, Matrix } from './types.js';

/** Defences by what the strongest of several attackers gets of them. */
export interface Ranking {
  readonly version: 1;
  readonly runs: readonly RankedRun[];
  readonly entries: readonly Entry[];
}

/** A run that entries are from: in what setting they are, and with what they were made. */
export interface RankedRun {
  /**
   * SHA-256 of the numbers of its matrix: the same when it is run again from its file with the same version, on the same class of engine.
   */
  readonly id: string;
  readonly experiment: string;
  readonly data: Matrix['data'];
  readonly report: Matrix['report'];
  readonly select: Matrix['select'];
  readonly teacher: string;
  readonly seeds: readonly string[];
  readonly budget?: number;
  readonly reduced?: string;
  readonly attackers: readonly Attacker[];
  readonly provenance: Matrix['provenance'];
}

/** A row of a run's matrix that takes something from a victim. */
export interface Attacker {
  readonly label: string;
  readonly name: string;
  readonly needs: Access;
  readonly has: ThiefHas;
  readonly params: unknown;
}

/** A defence as one student net leaves it. */
export interface Entry {
  /** The `id` of its run. */
  readonly run: string;
  readonly defense: string;
  /** Of the plugin. */
  readonly name: string;
  readonly role?: 'identity';
  readonly exposes: string;
  readonly params: unknown;
  readonly student: string;
  /** What it costs. */
  readonly cost: Cost;
  /** By who attacks; the widest last. */
  readonly scores: readonly Standing[];
  /** Each attacker's students, those on labels alone among them. */
  readonly students: readonly Stolen[];
}

export interface Cost {
  /** The accuracy of the teacher as it answers, and that minus the undefended one's, seed by seed. */
  readonly teacher?: Spread;
  readonly toUndefended?: Spread;
  /**
   * Mean Σ|given − clean| of the answers to the reported images, 0 to 2; 0 where none are changed. Absent where no probabilities are told.
   */
  readonly l1?: Spread;
}

/** Accuracies of the students of one attack by seed, in 0..1. */
export interface Stolen {
  readonly attack: string;
  readonly status: Cell['status'];
  readonly reason?: string;
  readonly accuracy: Readonly<Record<string, number>>;
  /** On held-out images. */
  readonly heldOut: Readonly<Record<string, number>>;
}

/** An attack and what its students are worth. */
export interface Named {
  readonly attack: string;
  readonly accuracy: Spread;
}

/** Who attacks: for what access they ask at most, and what images they have at most. */
export interface Thief {
  readonly access: ThiefAsks;
  readonly has: ThiefHas;
}

/** What the strongest of such attackers gets. */
export interface Standing extends Thief {
  /** The strongest. */
  readonly attack: string;
  readonly accuracy: Spread;
  /**
   * On which images it was found to be the strongest. `reported`: on those of `accuracy`, which then flatters the attacker, since not
   * all have numbers on held-out ones.
   */
  readonly chosenOn: 'heldOut' | 'reported';
  /** The highest on the reported images, where that is another. */
  readonly highest?: Named;
  /** The strongest on the undefended teacher, chosen in the same way; and the accuracy minus that, seed by seed. Below 0 it is harmed. */
  readonly undefended?: Named;
  readonly harm?: Spread;
  /** Minus the same net trained on labels alone, and on smoothed ones. */
  readonly toBaseline?: Spread;
  readonly toLabelSmoothing?: Spread;
  /** Minus the strongest of those who ask for labels alone. */
  readonly toLabelOnly?: Spread;
  /** The first of them that takes answers as they are told; and the strongest's accuracy minus its. */
  readonly passive?: Named;
  readonly gap?: Spread;
  /** Attackers that lack a number of some seed: the score is no more than a lower bound on what can be stolen. */
  readonly missing: readonly string[];
}

const accesses = ['label', 'probabilities', 'weights'] as const;
/** From the least to the most. */
const possessions = ['none', 'other', 'own'] as const;

/** The run of a matrix, and its defences. */
export const rankingOf = (matrix: Matrix): Ranking => {
  const attackers = matrix.attacks.filter((row) => roleOf(row) === 'attack').map(attackerOf);
  const { experiment, data, report, select, teacher, seeds, budget, reduced, provenance } = matrix;
  const run: RankedRun = {
    id: numbersOf(matrix),
    experiment,
    data,
    report,
    select,
    teacher,
    seeds,
    ...(budget === undefined ? {} : { budget }),
    ...(reduced === undefined ? {} : { reduced }),
    attackers,
    provenance,
  };
  const undefended = undefendedIn(matrix);
  const at = lookup(matrix.cells);
  const cellsOf = (defense: string, student: string, labels: readonly string[]): readonly Cell[] =>
    labels.flatMap((attack) => at(attack, defense, student) ?? []);
  const labelled = (role: Role) => matrix.attacks.filter((row) => roleOf(row) === role).map(({ label }) => label);

  const standing = (defense: string, student: string, access: ThiefAsks, has: ThiefHas): readonly Standing[] => {
    const mayBe = (most: ThiefAsks) =>
      attackers
        .filter((each) => rank[each.needs] <= rank[most] && possessions.indexOf(each.has) <= possessions.indexOf(has))
        .map(({ label }) => label);
    const among = mayBe(access);
    const tried = cellsOf(defense, student, among);
    const best = strongestOf(tried);
    if (best === undefined) return [];
    const { cell, chosenOn } = best;
    const namedAs = ({ attack, accuracy }: Cell): Named => ({ attack, accuracy: accuracy as Spread });
    const [highest] = byMean(tried, accuraciesOf);
    const clean =
      undefended && undefended !== defense ? strongestOf(cellsOf(undefended, student, among))?.cell : undefined;
    const smoothed = strongestOf(cellsOf(defense, student, labelled('reference')))?.cell;
    const labelOnly = strongestOf(cellsOf(defense, student, mayBe('label')))?.cell;
    const passive = passiveAttacks
      .flatMap((name) => attackers.filter((each) => each.name === name && among.includes(each.label)))
      .flatMap(
        ({ label }) => tried.find(({ attack, accuracy }) => attack === label && accuracy !== undefined) ?? [],
      )[0];
    return [
      {
        access,
        has,
        ...namedAs(cell),
        chosenOn,
        ...defined({
          highest: highest === undefined || highest === cell ? undefined : namedAs(highest),
          undefended: clean && namedAs(clean),
          harm: clean && paired(cell, clean),
          toBaseline: cell.toBaseline,
          toLabelSmoothing: smoothed && paired(cell, smoothed),
          toLabelOnly: labelOnly && labelOnly !== cell ? paired(cell, labelOnly) : undefined,
          passive: passive && namedAs(passive),
          gap: passive && paired(cell, passive),
        }),
        missing: tried.filter((each) => each.status !== 'n/a' && !isWhole(each, seeds)).map(({ attack }) => attack),
      },
    ];
  };

  const entries = matrix.defenses.flatMap((defense) =>
    matrix.students.map((student): Entry => {
      const victim = matrix.victims.find((each) => each.defense === defense.label);
      const l1 = spread(
        (defense.exposes === 'label' ? [] : (victim?.seeds ?? [])).flatMap(({ measures }) =>
          measures === undefined ? [] : [own(measures.metrics, 'answerL1') ?? 0],
        ),
      );
      return {
        run: run.id,
        defense: defense.label,
        name: defense.name ?? defense.label,
        ...(defense.role === undefined ? {} : { role: defense.role }),
        exposes: defense.exposes,
        params: defense.params,
        student,
        cost: defined({ teacher: victim?.accuracy, toUndefended: victim?.toUndefended, l1 }),
        scores: thieves(attackers).flatMap(({ access, has }) => standing(defense.label, student, access, has)),
        students: cellsOf(
          defense.label,
          student,
          matrix.attacks.map(({ label }) => label),
        ).map(stolenOf),
      };
    }),
  );
  return { version: 1, runs: [run], entries };
};

const attackerOf = ({ label, name = label, needs, data, owns, params }: Matrix['attacks'][number]): Attacker => ({
  label,
  name,
  needs: needs as Access,
  // Older versions say in words alone what is owned.
  has: hasOf(data ?? (owns === 'no images' ? 'none' : owns.startsWith('other images') ? 'other' : 'labelled')),
  params,
});

/** Who attacks, as far as somebody more does than by asking for less or having less. */
const thieves = (attackers: readonly Attacker[]): readonly Thief[] =>
  possessions.flatMap((has) =>
    accesses.flatMap((access, i) => {
      const [most, before] = [rank[access], i === 0 ? rank.none : rank[accesses[i - 1] as Access]];
      const isNew = ({ needs, has: its }: Attacker) => its === has && rank[needs] <= most && rank[needs] > before;
      return attackers.some(isNew) ? [{ access, has }] : [];
    }),
  );

const stolenOf = ({ attack, status, reason, seeds }: Cell): Stolen => {
  const bySeed = (of: (seed: Cell['seeds'][number]) => number | undefined) =>
    Object.fromEntries(seeds.flatMap((each) => (of(each) === undefined ? [] : [[each.seed, of(each) as number]])));
  return {
    attack,
    status,
    ...(reason === undefined ? {} : { reason }),
    accuracy: bySeed(({ student }) => student?.metrics.accuracy),
    heldOut: bySeed(({ student }) => student?.heldOut),
  };
};

const accuraciesOf = ({ seeds }: Cell): readonly number[] =>
  seeds.flatMap(({ student }) => student?.metrics.accuracy ?? []);
const heldOutOf = ({ seeds }: Cell): readonly number[] => seeds.flatMap(({ student }) => student?.heldOut ?? []);

/** Cells with numbers, the highest mean of them first. */
const byMean = (cells: readonly Cell[], numbers: (cell: Cell) => readonly number[]): readonly Cell[] => {
  const mean = (cell: Cell) => spread(numbers(cell))?.mean ?? Number.NEGATIVE_INFINITY;
  return cells.filter(({ accuracy }) => accuracy !== undefined).sort((a, b) => mean(b) - mean(a));
};

/** The cell that is best on held-out images; on the reported ones where some cell has no others. */
const strongestOf = (
  cells: readonly Cell[],
): { readonly cell: Cell; readonly chosenOn: Standing['chosenOn'] } | undefined => {
  const isHeldOut = cells.every((cell) => heldOutOf(cell).length === accuraciesOf(cell).length);
  const [cell] = byMean(cells, isHeldOut ? heldOutOf : accuraciesOf);
  return cell && { cell, chosenOn: isHeldOut ? 'heldOut' : 'reported' };
};

const isWhole = (cell: Cell, seeds: readonly string[]): boolean => accuraciesOf(cell).length === seeds.length;

/** A hash of the numbers of a matrix, without what differs from one run of it to the next. */
const numbersOf = (matrix: Matrix): string =>
  sha256(
    JSON.stringify(matrix, (name, value) =>
      ['seconds', 'stepsPerSecond', 'provenance'].includes(name) ? undefined : value,
    ),
  );

/** Several rankings in one. Of a run that is in two of them the first counts. */
export const together = (rankings: readonly Ranking[]): Ranking => {
  const runs = unique(rankings.flatMap((each) => each.runs.map(({ id }) => id))).map((id) => {
    const from = rankings.find((each) => each.runs.some((run) => run.id === id)) as Ranking;
    return {
      run: from.runs.find((run) => run.id === id) as RankedRun,
      entries: from.entries.filter(({ run }) => run === id),
    };
  });
  return { version: 1, runs: runs.map(({ run }) => run), entries: runs.flatMap(({ entries }) => entries) };
};

/** Entries that can be compared: of one setting, one student net, and the same attackers. */
export interface Board {
  readonly run: RankedRun;
  readonly student: string;
  readonly entries: readonly Entry[];
}

export const boardsOf = ({ runs, entries }: Ranking): readonly Board[] => {
  const runOf = new Map(runs.map((run) => [run.id, run]));
  const settingOf = ({ data, report, select, teacher, budget, attackers }: RankedRun) =>
    JSON.stringify([
      ...[data, report, select, teacher, budget],
      attackers.map(({ name, needs, has, params }) => JSON.stringify([name, needs, has, params])).sort(),
    ]);
  return [
    ...grouped(
      entries.filter(({ run }) => runOf.has(run)),
      ({ run, student }) => JSON.stringify([settingOf(runOf.get(run) as RankedRun), student]),
    ).values(),
  ].map((group) => {
    const [first] = group as readonly [Entry];
    return { run: runOf.get(first.run) as RankedRun, student: first.student, entries: group };
  });
};

/** Who attacks in a board's table: behind an interface where somebody does, with the most that any has. */
export const mainThief = ({ entries }: Pick<Board, 'entries'>): Thief | undefined => {
  const all = entries.flatMap(({ scores }) => scores);
  const has = [...possessions].reverse().find((each) => all.some((score) => score.has === each));
  const access = (['probabilities', 'label', 'weights'] as const).find((each) =>
    all.some((score) => score.has === has && score.access === each),
  );
  return has && access && { access, has };
};

export const standingAt = ({ scores }: Pick<Entry, 'scores'>, thief: Thief | undefined): Standing | undefined =>
  scores.find(({ access, has }) => access === thief?.access && has === thief.has);

/**
 * By its place, for each entry that another one is no worse than in the teacher's accuracy, the answers' distance and the strongest
 * attacker's student, and better in one of the three: the first such. By means: what the seeds do not tell apart may go either way.
 */
export const dominated = (entries: readonly Entry[], thief: Thief | undefined): ReadonlyMap<Entry, Entry> => {
  // Of each, less is better.
  const pointOf = (entry: Entry): readonly number[] | undefined => {
    const { teacher, l1 } = entry.cost;
    const stolen = standingAt(entry, thief)?.accuracy;
    return teacher && l1 && stolen && [-teacher.mean, l1.mean, stolen.mean];
  };
  const points = entries.flatMap((entry) => {
    const point = pointOf(entry);
    return point === undefined ? [] : [{ entry, point }];
  });
  const isNoWorse = (a: readonly number[], b: readonly number[]) => a.every((value, i) => value <= (b[i] as number));
  return new Map(
    points.flatMap(({ entry, point }) => {
      const better = points.find((other) => isNoWorse(other.point, point) && !isNoWorse(point, other.point));
      return better === undefined ? [] : [[entry, better.entry] as const];
    }),
  );
};
