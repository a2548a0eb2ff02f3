import { extent, unique } from '../../core/lists.js';
import { spreadOf } from '../../results/spread.js';
import type { Matrix } from '../../results/types.js';
import type { Epoch } from '../logs.js';
import type { Chart } from './chart.js';
import { lines, type Point } from './lines.js';
import { countedIn } from './words.js';

/** What one training of a run logged of its epochs, as far as it has come. */
export interface TrainingLog {
  /** The stage's label: `seed-0/nasty/teacher`. */
  readonly stage: string;
  /** The stage's kind: `teacher`, `protect`, `steal`. */
  readonly kind: string;
  readonly epochs: readonly Epoch[];
}

/** Accuracy by epoch, on the training and on the held-out images: of teachers, and of students by whom they learn from. */
export const trainingCharts = (matrix: Matrix, logs: readonly TrainingLog[]): readonly Chart[] => {
  // Without the seed: those that differ in nothing else are one line.
  const courses = logs.map(({ stage, kind, epochs }) => ({ kind, path: stage.split('/').slice(1), epochs }));
  const teachers = courses
    .filter(({ kind }) => kind === 'teacher' || kind === 'protect')
    .map(({ path, epochs }) => ({ group: '', line: path.join('/'), epochs }));
  const students = courses
    .filter(({ kind }) => kind === 'steal')
    .map(({ path, epochs }) => ({ group: path.slice(0, -1).join('/'), line: path.at(-1) ?? '', epochs }));
  // Whose images have no labels, or are made on the way, has no accuracy while it learns.
  const unlabelled = students.filter(({ epochs }) =>
    epochs.every((epoch) => images.every(({ of }) => of(epoch) === undefined)),
  );
  return [
    ...chartOf(matrix, 'Training of teachers', teachers),
    ...chartOf(matrix, 'Training of students', students),
    ...chartOf(matrix, 'Loss of students without labels', unlabelled, 'loss'),
  ];
};

/** One seed's training, by the panel and the line that it belongs to. */
interface Course {
  readonly group: string;
  readonly line: string;
  readonly epochs: TrainingLog['epochs'];
}

const images = [
  { name: 'training images', of: ({ metrics }: Course['epochs'][number]) => metrics.accuracy },
  { name: 'held-out images', of: ({ validation }: Course['epochs'][number]) => validation },
] as const;

const losses = [{ name: 'training loss', of: ({ metrics }: Course['epochs'][number]) => metrics.loss }] as const;

/** More epochs than this are thinned out evenly, the last one kept. */
const mostEpochs = 200;

const chartOf = (
  matrix: Matrix,
  title: string,
  courses: readonly Course[],
  what: 'accuracy' | 'loss' = 'accuracy',
): readonly Chart[] => {
  const [, count] = extent([0, ...courses.flatMap(({ epochs }) => epochs.map(({ epoch }) => epoch + 1))]);
  const every = Math.max(1, Math.ceil(count / mostEpochs));
  const shown = Array.from({ length: count }, (_, i) => i).filter((i) => (count - 1 - i) % every === 0);
  const points = unique(courses.map(({ group }) => group)).flatMap((group) =>
    (what === 'accuracy' ? images : losses).flatMap(({ name, of }) => {
      const own = courses.filter((each) => each.group === group);
      // A long name of a victim is cut at its end.
      const panel = group === '' ? name : `${name}: ${group}`;
      return unique(own.map(({ line }) => line)).flatMap((line) => {
        const seeds = own
          .filter((each) => each.line === line)
          .map(({ epochs }) => new Map(epochs.map((epoch) => [epoch.epoch, of(epoch)])));
        return shown.flatMap((epoch): readonly Point[] => {
          const own = seeds.flatMap((seed) => seed.get(epoch) ?? []).filter(Number.isFinite);
          const accuracy = spreadOf(what === 'accuracy' ? 'share' : 'number', own);
          return accuracy === undefined ? [] : [{ panel, line, value: epoch + 1, accuracy }];
        });
      });
    }),
  );
  if (points.length === 0) return [];
  const ticks = count > 12 ? {} : { ticks: shown.map((epoch) => epoch + 1) };
  return [lines(points, { title, subtitle: countedIn(matrix), across: 'epoch', of: what, axis: 'linear', ...ticks })];
};
