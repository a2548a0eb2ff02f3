import { headerOf } from '../metrics/quantity.js';
import { columnsOf, type VictimResult, victimColumnsOf } from '../results/columns.js';
import type { Spread } from '../results/spread.js';
import type { Cell, Matrix, Score, SeedResult, VictimSummary } from '../results/types.js';

type Value = string | number | boolean | undefined;

/** A line: a seed of a cell, with the victim that it stole from. */
interface Line {
  readonly cell: Cell;
  readonly result: SeedResult;
  readonly victim: VictimSummary | undefined;
  /** Of the same seed. */
  readonly victimResult: VictimResult | undefined;
  readonly score: Score | undefined;
}

/** What columns hold, by their heads, which say a unit where there is one: shares and their differences are 0..1. */
type Columns = Readonly<Record<string, (line: Line) => Value>>;

/** A cell's mean over seeds and its 95 % interval, the same in every line of the cell. */
const overSeeds = (name: string, pick: (cell: Cell) => Spread | undefined): Columns => ({
  [`mean_${name}`]: ({ cell }) => pick(cell)?.mean,
  [`mean_${name}_95_low`]: ({ cell }) => pick(cell)?.interval?.[0],
  [`mean_${name}_95_high`]: ({ cell }) => pick(cell)?.interval?.[1],
});

/** Numbers that files have had since version 0.1 keep their places; the columns of all others come last. */
const early: ReadonlySet<string> = new Set([
  ...['accuracy', 'last', 'best', 'toBaseline', 'toLabelSmoothing', 'toUndefended'],
  ...['agreement', 'klToVictim', 'softKlToVictim', 'calibrationError', 'negativeLogLikelihood'],
  ...['evaluatedImages', 'trainingImages', 'queries', 'seconds', 'stepsPerSecond'],
  ...['teacherAccuracy', 'klToAdversary', 'normalTeachersKl'],
]);

const columnsIn = (matrix: Matrix): Columns => {
  const students = columnsOf(matrix).map((column) => ({
    name: column.name,
    head: headerOf(column),
    value: ({ result }: Line): Value => column.of(result),
  }));
  const victims = victimColumnsOf(matrix).map((column) => ({
    name: column.name,
    head: column.name === 'normalTeachersKl' ? 'normal_teachers_kl_nats' : `teacher_${headerOf(column)}`,
    value: ({ victimResult }: Line): Value => victimResult && column.of(victimResult),
  }));
  const some = (all: typeof students, which: (name: string) => boolean): Columns =>
    Object.fromEntries(all.filter(({ name }) => which(name)).map(({ head, value }) => [head, value]));
  const columns: Columns = {
    experiment: () => matrix.experiment,
    data: () => matrix.data.name,
    images: () => matrix.report,
    checkpoint: () => matrix.select,
    teacher: () => matrix.teacher,
    student: ({ cell }) => cell.student,
    attack: ({ cell }) => cell.attack,
    defense: ({ cell }) => cell.defense,
    seed: ({ result }) => result.seed,
    status: ({ result }) => result.status,
    reason: ({ result }) => result.reason,
    ...some(students, (name) => early.has(name)),
    // A teacher's accuracy is a student's column, and its time comes with the warnings.
    ...some(victims, (name) => early.has(name) && name !== 'accuracy' && name !== 'seconds'),
    published_accuracy: ({ cell }) => cell.published,
    published_teacher_accuracy: ({ victim }) => victim?.published,
    published_source: ({ cell, victim }) =>
      (cell.published ?? victim?.published) === undefined ? undefined : matrix.published,
    ...overSeeds('accuracy', ({ accuracy }) => accuracy),
    ...overSeeds('difference_to_baseline', ({ toBaseline }) => toBaseline),
    ...overSeeds('difference_to_label_smoothing', ({ toLabelSmoothing }) => toLabelSmoothing),
    ...overSeeds('difference_to_undefended', ({ toUndefended }) => toUndefended),
    best_attack: ({ score }) => score?.attack,
    harm_of_best_attack: ({ score }) => score?.harm?.mean,
    harm_of_best_attack_95_low: ({ score }) => score?.harm?.interval?.[0],
    harm_of_best_attack_95_high: ({ score }) => score?.harm?.interval?.[1],
    undistillable: ({ score }) => score?.undistillable,
    ...some(victims, (name) => name === 'seconds'),
    warnings: ({ result, victimResult }) =>
      [...result.warnings, ...(victimResult?.warnings ?? [])].join('; ') || undefined,
  };
  const deviations: Columns = {
    sd_accuracy: ({ cell }) => cell.accuracy?.sd,
    sd_difference_to_baseline: ({ cell }) => cell.toBaseline?.sd,
    sd_difference_to_label_smoothing: ({ cell }) => cell.toLabelSmoothing?.sd,
    sd_difference_to_undefended: ({ cell }) => cell.toUndefended?.sd,
    sd_harm_of_best_attack: ({ score }) => score?.harm?.sd,
    sd_teacher_accuracy: ({ victim }) => victim?.accuracy?.sd,
    seeds_to_tell_undistillable: ({ score }) => score?.seedsToTell,
  };
  const later = [...students, ...victims]
    .filter(({ name }) => !early.has(name))
    .map(({ head, value }) => [head in columns ? `metric_${head}` : head, value] as const);
  return { ...columns, ...Object.fromEntries(later), ...deviations };
};

/** What begins a formula in a spreadsheet, also in the width of Chinese characters. */
const formula = /^[=+\-@\t\r\n＝＋－＠]/;

/** As OWASP advises against formulas in names: those that a spreadsheet would compute begin with an apostrophe. Numbers stay. */
const harmless = (text: string): string => (formula.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text);

/** A field as RFC 4180 has it, quoted where it must be, and no formula. */
export const field = (value: Value): string => {
  if (value === undefined) return '';
  const text = typeof value === 'string' ? harmless(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** One line a cell and seed, also of those without a number; lines end as RFC 4180 wants. */
export const csv = (matrix: Matrix): string => {
  const columns = columnsIn(matrix);
  const victims = new Map(matrix.victims.map((victim) => [victim.defense, victim]));
  const lines = matrix.cells.flatMap((cell) => {
    const { defense, student, seeds } = cell;
    const victim = victims.get(defense);
    const score = matrix.scores?.find((each) => each.defense === defense && each.student === student);
    return seeds.map((result) => {
      const victimResult = victim?.seeds.find(({ seed }) => seed === result.seed);
      return Object.values(columns).map((value) => value({ cell, result, victim, victimResult, score }));
    });
  });
  return [Object.keys(columns), ...lines].map((line) => `${line.map(field).join(',')}\r\n`).join('');
};
