import { own, unique } from '../../core/lists.js';
import { counted, inWords, percent } from '../../core/text.js';
import { columnsOf, metricsOf, victimColumnsOf } from '../../results/columns.js';
import type { Spread } from '../../results/spread.js';
import type { Cell, Matrix, VictimSummary } from '../../results/types.js';
import {
  answersSaid,
  divergences,
  type Labels,
  type Listed,
  labelsOf,
  ownBaselines,
  partOfTheData,
  queries,
  reasonOf,
  scoresSaid,
  seedsSaid,
  warningsSaid,
  whatIsCounted,
} from '../layout.js';
import { headingOf, meanOf, sentenceOf } from '../numbers.js';
import { cellId, victimId } from './addresses.js';
import { type Detail, detailsOf } from './details.js';
import { type Fact, flattened } from './facts.js';
import { conclusions, type Finding, findingsOf, lead, planned } from './findings.js';
import { type Reproduction, reproductionOf } from './reproduction.js';
import type { DrawnChart, Run, RunPlan } from './run.js';

/** A run as its page shows it: words, and numbers as text. */
export interface Page {
  readonly title: string;
  readonly about: string;
  /** What was tested, in sentences. */
  readonly lead: readonly string[];
  /** What came of it, in sentences. */
  readonly conclusions: readonly string[];
  /** One a defence. */
  readonly findings: readonly Finding[];
  /** Absent where all is done, or nothing is known of it. */
  readonly progress?: Progress;
  /** One a student. */
  readonly tables: readonly Table[];
  readonly shifts: readonly Shift[];
  readonly notes: readonly string[];
  /** What the numbers tell that open from a cell, a sentence each. */
  readonly glossary: readonly Fact[];
  readonly warnings: readonly string[];
  readonly reproduction?: Reproduction;
  /** What attacks synthesised, a pool a cell and seed. */
  readonly pools: readonly Pool[];
  readonly charts: readonly DrawnChart[];
  readonly provenance: readonly Fact[];
  readonly files: Run['files'];
  readonly details: readonly Detail[];
}

/** Numbers that the tables can show in place of the accuracy. */
export interface Shift {
  readonly name: string;
  readonly heading: string;
  readonly sentence: string;
  /** By the address of a cell or a teacher: the mean, its deviation, and the value to sort by. */
  readonly cells: Readonly<Record<string, readonly [mean: string, deviation: string, value: number]>>;
}

/** Images that lie in the details of a cell. */
export interface Pool {
  /** The address of the cell. */
  readonly cell: string;
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  readonly seed: string;
  readonly classes: readonly string[];
}

export interface Progress {
  readonly finished: number;
  readonly of: number;
  /** Stages that are begun, with where they are. */
  readonly begun: readonly string[];
}

export interface Table {
  readonly student: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** The best attack on each defence; undefined where there is none. */
  readonly best: readonly (Best | undefined)[];
}

export interface Best {
  readonly attack: string;
  readonly mean: string;
}

/** A defence and its teacher. */
export interface Column extends Shown {
  readonly label: string;
}

/** An attack. */
export interface Row {
  readonly label: string;
  readonly cells: readonly (Shown | undefined)[];
}

/** What a cell of the table shows. */
export interface Shown {
  /** The address of its details within the page. */
  readonly id: string;
  readonly status: Cell['status'];
  /** The mean, and what follows it: its deviation. */
  readonly mean?: string;
  readonly deviation?: string;
  /** To sort by. */
  readonly value?: number;
  /** To the baseline or, of a teacher, to the undefended one. */
  readonly difference?: number;
  /** Why there is no number, or one of fewer seeds. */
  readonly reason?: string;
}

/** A matrix of what is planned, for a run that has none yet. */
const plannedMatrix = (name: string, plan: RunPlan | undefined): Matrix => {
  const cells = plan?.cells ?? [];
  const labels = (of: 'attack' | 'defense' | 'student' | 'seed') => unique(cells.map((cell) => cell[of]));
  return {
    version: 1,
    experiment: plan?.experiment ?? name,
    about: '',
    data: { name: '', fingerprint: '', fraction: 1, validation: 0 },
    report: 'test',
    select: 'last',
    teacher: '',
    attacks: labels('attack').map((label) => ({ label, needs: '', owns: '', params: {} })),
    defenses: labels('defense').map((label) => ({ label, exposes: '', params: {} })),
    students: labels('student'),
    seeds: labels('seed'),
    victims: [],
    cells: [],
    best: [],
    provenance: [],
  };
};

/** The cells of a matrix, and those that are only planned. */
const allCells = (matrix: Matrix, plan: RunPlan | undefined): readonly Cell[] => {
  const found = new Map(matrix.cells.map((cell) => [cellId(cell), cell]));
  for (const { attack, defense, student, stages, reason } of plan?.cells ?? []) {
    const id = cellId({ attack, defense, student });
    if (found.has(id)) continue;
    const status = stages === undefined ? 'n/a' : 'not run';
    found.set(id, { attack, defense, student, status, seeds: [], metrics: {}, ...(reason ? { reason } : {}) });
  }
  return [...found.values()];
};

/** A run as its page shows it, under its own name or a title that is given. */
export const pageOf = (run: Run, title?: string): Page => {
  const plannedOnes = plannedMatrix(run.name, run.plan);
  // A file may have been written by hand, or by a run that was stopped at once.
  const matrix: Matrix = { ...plannedOnes, ...run.matrix };
  const cells = allCells(matrix, run.plan);
  // What was added to an experiment is in its plan before it is in its matrix.
  const listed = {
    attacks: [...matrix.attacks, ...plannedOnes.attacks],
    defenses: [...matrix.defenses, ...plannedOnes.defenses],
    students: [...matrix.students, ...plannedOnes.students],
  };
  const labels = labelsOf(matrix, cells);
  // Where nothing is left to be made, what is not finished has failed, and the table says so.
  const isOver = run.matrix !== undefined && cells.every(isDecided);
  const progress = isOver ? undefined : progressOf(run);
  const reproduction = reproductionOf(matrix);
  const some = run.matrix !== undefined;
  return {
    title: title ?? matrix.title ?? matrix.experiment,
    about: matrix.about,
    lead: some ? lead(matrix) : planned(matrix),
    conclusions: conclusions(matrix),
    findings: findingsOf(matrix),
    ...(progress === undefined ? {} : { progress }),
    tables: tablesOf(matrix, cells, labels, listed),
    shifts: shiftsOf(matrix, cells),
    notes: some
      ? [
          whatIsCounted(matrix),
          seedsSaid(matrix),
          ...ownBaselines(matrix),
          ...answersSaid(matrix),
          ...scoresSaid(matrix),
          ...partOfTheData(matrix),
          ...queries(matrix),
          ...divergences(matrix),
        ]
      : [],
    glossary: glossaryOf(matrix),
    warnings: warningsSaid(matrix),
    ...(reproduction === undefined ? {} : { reproduction }),
    pools: run.images
      .filter(({ thumbnails }) => thumbnails.length > 0)
      .map(({ file: { attack, defense, student, seed, classes } }) => ({
        ...{ cell: cellId({ attack, defense, student }), attack, defense, student, seed, classes },
      })),
    charts: run.charts,
    provenance: some ? provenanceOf(matrix) : [],
    files: run.files,
    details: detailsOf(run, matrix, cells, labels.defenses),
  };
};

const isDecided = ({ status, seeds }: Cell): boolean =>
  status !== 'not run' && seeds.every((seed) => seed.status !== 'not run');

const progressOf = ({ plan, stages }: Run): Progress | undefined => {
  if (plan === undefined) return undefined;
  const finished = plan.stages.filter(({ id }) => stages.get(id)?.state === 'finished').length;
  if (finished === plan.stages.length) return undefined;
  const begun = plan.stages.flatMap(({ id, label }) => {
    const stage = stages.get(id);
    if (stage?.state !== 'begun') return [];
    const last = stage.logs.flatMap(({ epochs }) => epochs.slice(-1)).at(-1);
    if (last === undefined) return [label];
    const accuracy = last.validation ?? last.metrics.accuracy;
    return [
      `${label}: ${counted(last.epoch + 1, 'epoch')}${
        accuracy === undefined ? '' : `, accuracy ${percent(accuracy)} %`
      }`,
    ];
  });
  return { finished, of: plan.stages.length, begun };
};

/* The tables */

const shownMean = (mean: Spread | undefined): Pick<Shown, 'mean' | 'deviation' | 'value'> =>
  mean === undefined
    ? {}
    : {
        mean: percent(mean.mean),
        value: mean.mean,
        ...(mean.sd === undefined ? {} : { deviation: `± ${percent(mean.sd)}` }),
      };

const shownCell = (cell: Cell, listed: Listed): Shown => {
  const reason = reasonOf(listed, cell);
  return {
    id: cellId(cell),
    status: cell.accuracy === undefined && cell.status === 'done' ? 'not run' : cell.status,
    ...shownMean(cell.accuracy),
    ...(cell.toBaseline === undefined ? {} : { difference: cell.toBaseline.mean }),
    ...(reason === undefined ? {} : { reason }),
  };
};

const shownVictim = (defense: string, victim: VictimSummary | undefined): Column => {
  const failed = victim?.seeds.find(({ reason }) => reason !== undefined);
  return {
    label: defense,
    id: victimId(defense),
    status: victim?.accuracy !== undefined ? 'done' : failed === undefined ? 'not run' : 'failed',
    ...shownMean(victim?.accuracy),
    ...(victim?.toUndefended === undefined ? {} : { difference: victim.toUndefended.mean }),
    ...(failed === undefined ? {} : { reason: `seed ${failed.seed}: ${failed.reason}` }),
  };
};

const tablesOf = (
  matrix: Matrix,
  cells: readonly Cell[],
  { attacks, defenses, students }: Labels,
  listed: Listed,
): readonly Table[] => {
  const byId = new Map(cells.map((cell) => [cellId(cell), cell]));
  const columns = defenses.map((defense) =>
    shownVictim(
      defense,
      matrix.victims.find((victim) => victim.defense === defense),
    ),
  );
  return students.map((student) => ({
    student,
    columns,
    rows: attacks.flatMap((attack) => {
      const own = defenses.map((defense) => byId.get(cellId({ student, attack, defense })));
      if (own.every((cell) => cell === undefined)) return [];
      return [{ label: attack, cells: own.map((cell) => (cell === undefined ? undefined : shownCell(cell, listed))) }];
    }),
    best: defenses.map((defense) => {
      const best = matrix.best.find((each) => each.student === student && each.defense === defense);
      return best === undefined ? undefined : { attack: best.attack, mean: percent(best.accuracy.mean) };
    }),
  }));
};

/** Every metric but the accuracy that some student or teacher has a mean of. */
const shiftsOf = (matrix: Matrix, cells: readonly Cell[]): readonly Shift[] =>
  metricsOf(matrix).flatMap((metric) => {
    const { name } = metric;
    const means = [
      ...cells.map((cell) => [cellId(cell), own(cell.metrics, name)] as const),
      ...matrix.victims.map(({ defense, metrics = {} }) => [victimId(defense), own(metrics, name)] as const),
    ].flatMap(([id, mean]) => (mean === undefined ? [] : [[id, mean] as const]));
    if (name === 'accuracy' || means.length === 0) return [];
    const written = means.map(([id, mean]) => {
      const [first = '', deviation = ''] = meanOf(metric, mean).split(/ (?=±)/);
      return [id, [first, deviation, mean.mean] as const] as const;
    });
    return [{ name, heading: headingOf(metric), sentence: sentenceOf(metric), cells: Object.fromEntries(written) }];
  });

/* What is said of the whole */

/** Each number of students and of teachers once. */
const glossaryOf = (matrix: Matrix): readonly Fact[] => [
  ...new Map(
    [...columnsOf(matrix), ...victimColumnsOf(matrix)].map((column) => [headingOf(column), sentenceOf(column)]),
  ),
];

const provenanceOf = ({ data, seeds, teacher, provenance }: Matrix): readonly Fact[] => [
  ['data', data.name],
  ['data fingerprint', data.fingerprint],
  ['teacher', teacher],
  ['seeds', seeds.join(', ')],
  ...unique(
    provenance.flatMap((each) =>
      flattened(each)
        .filter(([key, value]) => !(key === 'gpus' && value === 'none'))
        .map(([key, value]) => JSON.stringify([inWords(key), value])),
    ),
  ).map((text) => JSON.parse(text) as Fact),
];
