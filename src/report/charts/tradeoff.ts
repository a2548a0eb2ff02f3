import { extent, unique } from '../../core/lists.js';
import { percent } from '../../core/text.js';
import { roleOf } from '../../results/roles.js';
import type { Spread } from '../../results/spread.js';
import type { Matrix } from '../../results/types.js';
import { type Chart, inPercent, type Layer, page, palette, type Row } from './chart.js';
import { gap, type Placed, placeLabels, widest } from './place-labels.js';
import { countedIn } from './words.js';

const size = { width: 480, height: 340 } as const;

/** A point of the chart, as its CSV has it: accuracies in percent. */
interface Point extends Row {
  readonly student: string;
  readonly defense: string;
  readonly teacher: number;
  readonly best_student: number;
  readonly attack: string;
}

/** A point for each defence and student of which there are numbers. */
const pointsOf = (matrix: Matrix): readonly Point[] =>
  matrix.best.flatMap(({ defense, student, attack, accuracy }) => {
    const teacher = matrix.victims.find((victim) => victim.defense === defense)?.accuracy;
    if (teacher === undefined) return [];
    return [
      {
        student,
        defense,
        teacher: inPercent(teacher.mean),
        ...(teacher.sd === undefined ? {} : { teacher_sd: inPercent(teacher.sd), ...ends('teacher', teacher) }),
        best_student: inPercent(accuracy.mean),
        ...(accuracy.sd === undefined
          ? {}
          : { best_student_sd: inPercent(accuracy.sd), ...ends('best_student', accuracy) }),
        attack,
        seeds: accuracy.count,
      },
    ];
  });

/** The ends of a bar of a standard deviation to either side. */
const ends = (field: string, { mean, sd = 0 }: Spread): Readonly<Record<string, number>> => ({
  [`${field}_low`]: inPercent(mean - sd),
  [`${field}_high`]: inPercent(mean + sd),
});

/** What each student reaches where it is trained alone, in percent. */
const aloneOf = ({ students, attacks, cells }: Matrix) => {
  const honest = attacks.find((attack) => roleOf(attack) === 'honest')?.label;
  return students.flatMap((student) => {
    const accuracy = cells.find((cell) => cell.attack === honest && cell.student === student)?.accuracy;
    return accuracy === undefined ? [] : [{ student, alone: inPercent(accuracy.mean) }];
  });
};

type Alone = ReturnType<typeof aloneOf>;

/** The range of some values with a margin. */
const around = (values: readonly number[]): [number, number] => {
  const [least, most] = extent(values);
  const margin = Math.max(0.5, (most - least) * 0.12);
  return [least - margin, most + margin];
};

/** The ends of both axes, between which all points lie with their bars, and what students reach alone. */
const rangesOf = (points: readonly Point[], alone: Alone) => {
  const all = (field: 'teacher' | 'best_student') =>
    points.flatMap((point: Row) =>
      [field, `${field}_low`, `${field}_high`].flatMap((name) => (point[name] as number) ?? []),
    );
  return { x: around(all('teacher')), y: around([...all('best_student'), ...alone.map((each) => each.alone)]) };
};

type Ranges = ReturnType<typeof rangesOf>;

const axis = (title: string, domain: [number, number]) =>
  ({ type: 'quantitative', title, scale: { domain, nice: false }, axis: { tickCount: 7 } }) as const;

/** What the layers encode alike: accuracies along both axes, students by colour. */
const encodingsOf = (points: readonly Point[], { x, y }: Ranges) => {
  const students = unique(points.map(({ student }) => student));
  return {
    across: axis('teacher accuracy (%)', x),
    up: axis('accuracy of the best student stolen (%)', y),
    students,
    color: {
      field: 'student',
      type: 'nominal',
      scale: { domain: [...students], range: students.map((_, i) => palette[i % palette.length] as string) },
      legend: students.length === 1 ? null : { title: null, symbolOpacity: 1 },
    },
  } as const;
};

type Encodings = ReturnType<typeof encodingsOf>;

const aloneLayer = (alone: Alone, { up, color }: Encodings): Layer => ({
  data: { values: alone },
  mark: { type: 'rule', strokeDash: [5, 4], opacity: 0.7 },
  encoding: { y: { ...up, field: 'alone' }, color },
});

/** Bars of a standard deviation to either side, of the teacher and of the student. */
const barLayers = ({ across, up, color }: Encodings): readonly Layer[] => [
  {
    transform: [{ filter: 'isValid(datum.teacher_sd)' }],
    mark: { type: 'rule', opacity: 0.5, aria: false },
    encoding: {
      x: { ...across, field: 'teacher_low' },
      x2: { field: 'teacher_high' },
      y: { ...up, field: 'best_student' },
      color,
    },
  },
  {
    transform: [{ filter: 'isValid(datum.best_student_sd)' }],
    mark: { type: 'rule', opacity: 0.5, aria: false },
    encoding: {
      x: { ...across, field: 'teacher' },
      y: { ...up, field: 'best_student_low' },
      y2: { field: 'best_student_high' },
      color,
    },
  },
];

const pointLayer = ({ across, up, color, students }: Encodings): Layer => ({
  mark: { type: 'point', filled: true, size: 110, opacity: 1 },
  encoding: {
    x: { ...across, field: 'teacher' },
    y: { ...up, field: 'best_student' },
    color,
    shape: { ...color, scale: { domain: [...students] } },
    tooltip: [
      { field: 'defense' },
      { field: 'student' },
      { field: 'attack', title: 'best attack' },
      { field: 'teacher', title: 'teacher accuracy (%)', format: '.2f' },
      { field: 'best_student', title: 'student accuracy (%)', format: '.2f' },
    ],
  },
});

const labelsOf = (points: readonly Point[], ranges: Ranges) => {
  const placed = placeLabels(
    points.map(({ defense, teacher, best_student }) => ({ label: defense, x: teacher, y: best_student })),
    { ...size, ...ranges },
  );
  return points.map(({ defense, teacher, best_student }, i) => ({
    ...{ defense, teacher, best_student },
    ...(placed[i] as Placed),
  }));
};

type Labels = ReturnType<typeof labelsOf>;

/** From a label that had to go further off to its point. */
const leaderLayer = (labels: Labels, { across, up }: Encodings): Layer => ({
  data: { values: labels.filter(({ far }) => far) },
  mark: { type: 'rule', color: '#888888', strokeWidth: 0.6, aria: false },
  encoding: {
    x: { ...across, field: 'teacher' },
    y: { ...up, field: 'best_student' },
    y2: { field: 'at' },
  },
});

const labelLayers = (labels: Labels, { across, up }: Encodings): readonly Layer[] =>
  (['left', 'right'] as const).map((align) => ({
    data: { values: labels.filter((label) => label.align === align) },
    mark: { type: 'text', align, dx: align === 'left' ? gap : -gap, fontSize: 12, limit: widest(size.width) },
    encoding: {
      x: { ...across, field: 'teacher' },
      y: { ...up, field: 'at' },
      text: { field: 'defense' },
    },
  }));

/**
 * What a defence is worth against what it costs: the teacher's accuracy and that of the best student stolen from it, a
 * point a defence and student.
 */
export const tradeoffChart = (matrix: Matrix): readonly Chart[] => {
  const points = pointsOf(matrix);
  if (points.length === 0) return [];
  const alone = aloneOf(matrix);
  const ranges = rangesOf(points, alone);
  const encodings = encodingsOf(points, ranges);
  const labels = labelsOf(points, ranges);
  const title = 'What a defence costs, and what it leaves to steal';
  const subtitle = ['lower right: accurate, and hard to steal; dashed: a student trained alone', countedIn(matrix)];
  const description = `${title}. ${points
    .map(
      (point) =>
        `${point.defense}: teacher ${percent(point.teacher / 100)} %, best student ${point.student} by ${point.attack} ${percent(point.best_student / 100)} %.`,
    )
    .join(' ')}`;
  return [
    {
      name: 'utility-against-distillability',
      title,
      description,
      spec: {
        ...page,
        ...size,
        title: { text: title, subtitle },
        description,
        data: { values: [...points] },
        layer: [
          aloneLayer(alone, encodings),
          ...barLayers(encodings),
          leaderLayer(labels, encodings),
          pointLayer(encodings),
          ...labelLayers(labels, encodings),
        ],
      },
    },
  ];
};
