import type { Spread } from '../results/spread.js';
import type { Cell, Matrix, Score, SeedResult, VictimSummary } from '../results/types.js';

type Value = string | number | boolean | undefined;
type Victim = VictimSummary['seeds'][number] | undefined;

/** What a column holds; its name says the unit where it is not a count. */
type Column = (of: {
  readonly matrix: Matrix;
  readonly cell: Cell;
  readonly result: SeedResult;
  readonly victim: Victim;
}) => Value;

/** A cell's mean over seeds and its 95 % interval, the same in every line of the cell. */
const overSeeds = (name: string, pick: (cell: Cell) => Spread | undefined): Readonly<Record<string, Column>> => ({
  [`mean_${name}`]: ({ cell }) => pick(cell)?.mean,
  [`mean_${name}_95_low`]: ({ cell }) => pick(cell)?.interval?.[0],
  [`mean_${name}_95_high`]: ({ cell }) => pick(cell)?.interval?.[1],
});

const scoreOf = ({ matrix, cell }: { readonly matrix: Matrix; readonly cell: Cell }): Score | undefined =>
  matrix.scores?.find(({ defense, student }) => defense === cell.defense && student === cell.student);

/** Accuracies, agreements and their differences are shares, 0..1. */
const columns: Readonly<Record<string, Column>> = {
  experiment: ({ matrix }) => matrix.experiment,
  data: ({ matrix }) => matrix.data.name,
  images: ({ matrix }) => matrix.report,
  checkpoint: ({ matrix }) => matrix.select,
  teacher: ({ matrix }) => matrix.teacher,
  student: ({ cell }) => cell.student,
  attack: ({ cell }) => cell.attack,
  defense: ({ cell }) => cell.defense,
  seed: ({ result }) => result.seed,
  status: ({ result }) => result.status,
  reason: ({ result }) => result.reason,
  accuracy: ({ result }) => result.student?.metrics.accuracy,
  accuracy_last: ({ result }) => result.student?.last,
  accuracy_best: ({ result }) => result.student?.best,
  difference_to_baseline: ({ result }) => result.toBaseline,
  difference_to_label_smoothing: ({ result }) => result.toLabelSmoothing,
  difference_to_undefended: ({ result }) => result.toUndefended,
  agreement_with_victim: ({ result }) => result.student?.metrics.agreement,
  kl_to_victim_nats: ({ result }) => result.student?.metrics.klToVictim,
  kl_to_victim_at_temperature_4_nats: ({ result }) => result.student?.metrics.softKlToVictim,
  calibration_error_15_bins: ({ result }) => result.student?.metrics.calibrationError,
  negative_log_likelihood_nats: ({ result }) => result.student?.metrics.negativeLogLikelihood,
  evaluated_images: ({ result }) => result.student?.images,
  training_images: ({ result }) => result.trainImages,
  queries: ({ result }) => result.queries,
  seconds: ({ result }) => result.seconds,
  steps_per_second: ({ result }) => result.stepsPerSecond,
  teacher_accuracy: ({ result }) => result.teacherAccuracy,
  teacher_accuracy_last: ({ victim }) => victim?.measures?.last,
  teacher_accuracy_best: ({ victim }) => victim?.measures?.best,
  teacher_calibration_error_15_bins: ({ victim }) => victim?.measures?.metrics.calibrationError,
  teacher_negative_log_likelihood_nats: ({ victim }) => victim?.measures?.metrics.negativeLogLikelihood,
  teacher_kl_to_adversary_nats: ({ victim }) => victim?.divergence?.kl,
  normal_teachers_kl_nats: ({ victim }) => victim?.divergence?.normal,
  published_accuracy: ({ cell }) => cell.published,
  published_teacher_accuracy: ({ matrix, cell }) =>
    matrix.victims.find(({ defense }) => defense === cell.defense)?.published,
  published_source: ({ matrix, cell }) =>
    [cell, matrix.victims.find(({ defense }) => defense === cell.defense)].some((each) => each?.published !== undefined)
      ? matrix.published
      : undefined,
  ...overSeeds('accuracy', ({ accuracy }) => accuracy),
  ...overSeeds('difference_to_baseline', ({ toBaseline }) => toBaseline),
  ...overSeeds('difference_to_label_smoothing', ({ toLabelSmoothing }) => toLabelSmoothing),
  ...overSeeds('difference_to_undefended', ({ toUndefended }) => toUndefended),
  best_attack: (of) => scoreOf(of)?.attack,
  harm_of_best_attack: (of) => scoreOf(of)?.harm?.mean,
  harm_of_best_attack_95_low: (of) => scoreOf(of)?.harm?.interval?.[0],
  harm_of_best_attack_95_high: (of) => scoreOf(of)?.harm?.interval?.[1],
  undistillable: (of) => scoreOf(of)?.undistillable,
  teacher_seconds: ({ victim }) => victim?.seconds,
  warnings: ({ result, victim }) => [...result.warnings, ...(victim?.warnings ?? [])].join('; ') || undefined,
};

/** A field as RFC 4180 has it: quoted where it must be. */
export const field = (value: Value): string => {
  if (value === undefined) return '';
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** One line a cell and seed, also of those without a number; lines end as RFC 4180 wants. */
export const csv = (matrix: Matrix): string => {
  const lines = matrix.cells.flatMap((cell) =>
    cell.seeds.map((result) => {
      const victim = matrix.victims
        .find(({ defense }) => defense === cell.defense)
        ?.seeds.find(({ seed }) => seed === result.seed);
      return Object.values(columns).map((column) => column({ matrix, cell, result, victim }));
    }),
  );
  return [Object.keys(columns), ...lines].map((line) => `${line.map(field).join(',')}\r\n`).join('');
};
