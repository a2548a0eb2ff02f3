import { extent, unique } from '../../core/lists.js';
import { percent } from '../../core/text.js';
import { roleOf } from '../../results/roles.js';
import type { Spread } from '../../results/spread.js';
import type { Matrix } from '../../results/types.js';
import { type Chart, inPercent, page, palette, type Row } from './chart.js';
import { countedIn } from './words.js';

const size = { width: 480, height: 340 } as const;

/**
 * What a defence is worth against what it costs: the teacher's accuracy and that of the best student stolen from it, a
 * point a defence and student.
 */
export const tradeoffChart = (matrix: Matrix): readonly Chart[] => {
  const rows = matrix.best.flatMap(({ defense, student, attack, accuracy }) => {
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
  if (rows.length === 0) return [];
  const alone = matrix.students.flatMap((student) => {
    const honest = matrix.attacks.find((attack) => roleOf(attack) === 'honest')?.label;
    const accuracy = matrix.cells.find((cell) => cell.attack === honest && cell.student === student)?.accuracy;
    return accuracy === undefined ? [] : [{ student, alone: inPercent(accuracy.mean) }];
  });
  const all = (field: 'teacher' | 'best_student') =>
    rows.flatMap((row: Row) => [field, `${field}_low`, `${field}_high`].flatMap((name) => (row[name] as number) ?? []));
  const x = around(all('teacher'));
  const y = around([...all('best_student'), ...alone.map((each) => each.alone)]);
  const across = {
    type: 'quantitative',
    title: 'teacher accuracy (%)',
    scale: { domain: x, nice: false },
    axis: { tickCount: 7 },
  } as const;
  const up = {
    type: 'quantitative',
    title: 'accuracy of the best student stolen (%)',
    scale: { domain: y, nice: false },
    axis: { tickCount: 7 },
  } as const;
  const labelled = labels(rows, x, y);
  const students = unique(rows.map(({ student }) => student));
  const color = {
    field: 'student',
    type: 'nominal',
    scale: { domain: [...students], range: students.map((_, i) => palette[i % palette.length] as string) },
    legend: students.length === 1 ? null : { title: null, symbolOpacity: 1 },
  } as const;
  const title = 'What a defence costs, and what it leaves to steal';
  const subtitle = ['lower right: accurate, and hard to steal; dashed: a student trained alone', countedIn(matrix)];
  const description = `${title}. ${rows
    .map(
      (row) =>
        `${row.defense}: teacher ${percent(row.teacher / 100)} %, best student ${row.student} by ${row.attack} ${percent(row.best_student / 100)} %.`,
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
        data: { values: rows },
        layer: [
          {
            data: { values: alone },
            mark: { type: 'rule', strokeDash: [5, 4], opacity: 0.7 },
            encoding: { y: { ...up, field: 'alone' }, color },
          },
          // Bars of a standard deviation to either side.
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
          // From a label that had to go further off to its point.
          {
            data: { values: labelled.filter(({ far }) => far) },
            mark: { type: 'rule', color: '#888888', strokeWidth: 0.6, aria: false },
            encoding: {
              x: { ...across, field: 'teacher' },
              y: { ...up, field: 'best_student' },
              y2: { field: 'at' },
            },
          },
          {
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
          },
          ...(['left', 'right'] as const).map((align) => ({
            data: { values: labelled.filter((label) => label.align === align) },
            mark: {
              type: 'text',
              align,
              dx: align === 'left' ? 10 : -10,
              fontSize: 12,
              limit: size.width / 2,
            } as const,
            encoding: {
              x: { ...across, field: 'teacher' },
              y: { ...up, field: 'at' },
              text: { field: 'defense' },
            },
          })),
        ],
      },
    },
  ];
};

/** The ends of a bar of a standard deviation to either side. */
const ends = (field: string, { mean, sd = 0 }: Spread): Readonly<Record<string, number>> => ({
  [`${field}_low`]: inPercent(mean - sd),
  [`${field}_high`]: inPercent(mean + sd),
});

/** The range of some values with a margin. */
const around = (values: readonly number[]): [number, number] => {
  const [least, most] = extent(values);
  const margin = Math.max(0.5, (most - least) * 0.12);
  return [least - margin, most + margin];
};

/** Around a label's letters, in pixels; letters are about as wide on average. */
const [lineHeight, letter, gap] = [14, 7, 10];

/** Lines that a label may be away from its point, up or down. */
const furthest = 20;

/** Where a label may go, nearest first: to the right of its point or to the left, and lines higher or lower. */
const places = [0, ...Array.from({ length: furthest }, (_, i) => [-(i + 1), i + 1]).flat()].flatMap((lines) =>
  (['left', 'right'] as const).map((align) => ({ align, down: lines * lineHeight, far: Math.abs(lines) > 1 })),
);

interface Box {
  readonly left: number;
  readonly right: number;
  /** Of its middle. */
  readonly height: number;
}

/** Beside each point, where no other label and no other point is; where all is full, over them. */
const labels = (
  rows: readonly { readonly defense: string; readonly teacher: number; readonly best_student: number }[],
  [left, right]: [number, number],
  [bottom, top]: [number, number],
) => {
  const perPixel = (top - bottom) / size.height;
  const points = rows.map(({ teacher, best_student }) => {
    const across = ((teacher - left) / (right - left)) * size.width;
    return { left: across - 7, right: across + 7, height: (top - best_student) / perPixel };
  });
  const taken: Box[] = [...points];
  const meets = (a: Box, b: Box): boolean =>
    a.left < b.right && b.left < a.right && Math.abs(a.height - b.height) < lineHeight;
  return rows.map(({ defense, teacher, best_student }, i) => {
    const point = points[i] as Box;
    const width = Math.min(letter * [...defense].length, size.width / 2);
    const all = places.map(({ align, down, far }) => {
      const begin = align === 'left' ? point.left + 7 + gap : point.right - 7 - gap - width;
      return { align, far, box: { left: begin, right: begin + width, height: point.height + down } };
    });
    const inside = all.filter(
      ({ box }) => box.left >= 0 && box.right <= size.width && box.height > 0 && box.height < size.height,
    );
    const free = inside.find(({ box }) => !taken.some((other) => other !== point && meets(box, other)));
    const { align, far, box } = free ?? inside[0] ?? (all[0] as (typeof all)[number]);
    taken.push(box);
    return { defense, teacher, best_student, align, far, at: top - box.height * perPixel };
  });
};
