import { extent, unique } from '../../core/lists.js';
import { percent } from '../../core/text.js';
import type { Spread } from '../../results/spread.js';
import { type Chart, fileName, inPercent, page, palette, type Row } from './chart.js';

/** An accuracy, or a loss, at a value, on a line of a panel. */
export interface Point {
  readonly panel: string;
  readonly line: string;
  /** Numbers make lines, words make dots. */
  readonly value: number | string;
  /** In 0..1; of a loss its own scale. */
  readonly accuracy: Spread;
  /** Whose line it is: the teacher's own is black, that of honest students, who are compared with, grey and dashed. */
  readonly role?: 'student' | 'teacher' | 'baseline';
}

export interface LinesOptions {
  readonly title: string;
  readonly subtitle: string;
  /** What the values are. */
  readonly across: string;
  /** Values that have a tick of their own; default: as many as fit. */
  readonly ticks?: readonly number[];
  /** What is drawn. Default: accuracies. */
  readonly of?: 'accuracy' | 'loss';
  /** The axis of the values. Default: logarithmic where they differ by two orders of magnitude. */
  readonly axis?: 'linear' | 'logarithmic';
}

/** Accuracy by a number as lines, or by a word as dots; bands and bars are a standard deviation to either side. */
export const lines = (
  points: readonly Point[],
  { title, subtitle, across, ticks, of = 'accuracy', axis }: LinesOptions,
): Chart => {
  const scaled = of === 'accuracy' ? inPercent : (value: number): number => Number(value.toPrecision(6));
  const heading = of === 'accuracy' ? 'accuracy (%)' : 'loss';
  const rows = points.map((point) => rowOf(point, of, scaled));
  const spreads = rows.some(({ sd }) => sd !== undefined);
  const panels = unique(points.map(({ panel }) => panel));
  const y = { type: 'quantitative', title: heading, scale: { zero: false, nice: true } } as const;
  const tooltip = [
    { field: 'line', title: 'line' },
    { field: 'value', title: across },
    { field: of, title: heading, format: of === 'accuracy' ? '.2f' : '.4~g' },
    ...(spreads ? [{ field: 'sd', title: 'standard deviation', format: '.2f' }] : []),
    { field: 'seeds', title: 'seeds' },
  ];
  const values = points.map(({ value }) => value);
  const numeric = values.every((value) => typeof value === 'number');
  const { color, strokeDash, shape } = styles(points, numeric ? 'stroke' : 'cross');
  const x = numeric
    ? {
        field: 'value',
        type: 'quantitative' as const,
        title: across,
        scale: { ...scaleOf(values as readonly number[], axis), nice: false, padding: 8 },
        axis: {
          grid: false,
          format: '.6~g',
          labelFlush: false,
          labelOverlap: true,
          ...(ticks === undefined ? {} : { values: [...ticks] }),
        },
      }
    : { field: 'value', type: 'nominal' as const, title: across, sort: null, axis: { labelAngle: 0 } };
  const band = { filter: 'isValid(datum.sd)' };
  const ends = { y: { ...y, field: 'low' }, y2: { field: 'high' } };
  const xOffset = { field: 'line', sort: color.scale.domain } as const;
  const dots = { type: 'point', filled: true, size: 70, opacity: 1 } as const;
  const place = { x, y: { ...y, field: of } };
  const layer = numeric
    ? [
        ...(spreads
          ? [{ transform: [band], mark: { type: 'area', opacity: 0.15 } as const, encoding: { x, ...ends, color } }]
          : []),
        { mark: { type: 'line', strokeWidth: 2 } as const, encoding: { ...place, color, strokeDash } },
        {
          transform: [{ filter: "datum.role !== 'baseline'" }],
          mark: { ...dots, opacity: unique(values).length > mostDots ? 0 : 1 },
          encoding: { ...place, color, shape, tooltip },
        },
      ]
    : [
        ...(spreads ? [{ transform: [band], mark: 'rule' as const, encoding: { x, xOffset, ...ends, color } }] : []),
        { mark: dots, encoding: { ...place, xOffset, color, shape, tooltip } },
      ];
  const drawn = { ...sizeOf(panels.length), layer };
  const head = {
    ...page,
    title: { text: title, subtitle },
    description: `${title}. ${subtitle}. ${said(points, of === 'accuracy' ? (value) => `${percent(value)} %` : (value) => value.toPrecision(3))}`,
    data: { values: rows },
  };
  return {
    name: fileName(title),
    title,
    description: head.description,
    spec:
      panels.length === 1
        ? { ...head, ...drawn }
        : {
            ...head,
            facet: { field: 'panel', type: 'nominal', sort: [...panels], title: null },
            columns: 2,
            spec: drawn,
          },
  };
};

const sizeOf = (panels: number) => {
  if (panels === 1) return { width: 480, height: 300 };
  return panels <= 4 ? { width: 360, height: 260 } : { width: 340, height: 180 };
};

const rowOf = (
  { panel, line, value, role, accuracy: { mean, sd, count } }: Point,
  of: string,
  scaled: (value: number) => number,
): Row => ({
  panel,
  line,
  ...(role === undefined ? {} : { role }),
  value,
  [of]: scaled(mean),
  ...(sd === undefined ? {} : { sd: scaled(sd), low: scaled(mean - sd), high: scaled(mean + sd) }),
  seeds: count,
});

/** A logarithmic axis is linear close to zero where that is one of the values. */
const scaleOf = (values: readonly number[], axis: LinesOptions['axis']) => {
  const sizes = values.map(Math.abs).filter((size) => size > 0);
  const [least, greatest] = extent(sizes);
  const isLogarithmic = axis === undefined ? greatest >= 100 * least : axis === 'logarithmic';
  if (sizes.length === 0 || !isLogarithmic) return { zero: false } as const;
  return values.every((value) => value > 0)
    ? ({ type: 'log' } as const)
    : ({ type: 'symlog', constant: least } as const);
};

const shapes = ['circle', 'square', 'triangle-up', 'diamond', 'triangle-down', 'cross', 'triangle-right'];
const dashes = [
  [1, 0],
  [8, 3],
  [2, 2],
];

export const styleOf = (i: number) => ({
  color: palette[i % palette.length] as string,
  shape: shapes[i % shapes.length] as string,
  dash: dashes[Math.floor(i / palette.length) % dashes.length] as number[],
});

/** Colour, dashes and shape of each line in one legend: students' first, then the teacher's, then those that are compared with. */
const styles = (points: readonly Point[], baseline: string) => {
  const special = {
    teacher: { color: '#000000', shape: 'diamond', dash: [1, 0] },
    baseline: { color: '#777777', shape: baseline, dash: [5, 4] },
  };
  const roleOf = new Map(points.map(({ line, role }) => [line, role]));
  const ranks = ['student', 'teacher', 'baseline'];
  const domain = ranks.flatMap((rank) =>
    [...roleOf].filter(([, role = 'student']) => role === rank).map(([line]) => line),
  );
  const range = domain.map((line, i) => {
    const role = roleOf.get(line);
    return role === 'teacher' || role === 'baseline' ? special[role] : styleOf(i);
  });
  const by = <T>(pick: (style: ReturnType<typeof styleOf>) => T) => ({
    field: 'line',
    type: 'nominal' as const,
    scale: { domain, range: range.map(pick) },
    legend: { title: null, symbolOpacity: 1 },
  });
  return { color: by(({ color }) => color), strokeDash: by(({ dash }) => dash), shape: by(({ shape }) => shape) };
};

/** Values from which on dots would hide their lines: they are there for the pointer only. */
const mostDots = 30;

/** Lines that are put into words: more would be no help to a listener. */
const mostSaid = 24;

/** Each line in words: where it begins, where it ends. */
const said = (points: readonly Point[], shown: (value: number) => string): string => {
  const keys = unique(points.map(({ panel, line }) => JSON.stringify([panel, line])));
  const sentences = keys.slice(0, mostSaid).map((key) => {
    const own = points.filter(({ panel, line }) => JSON.stringify([panel, line]) === key);
    const [first, last] = [own[0] as Point, own.at(-1) as Point];
    const at = ({ value, accuracy }: Point): string => `${shown(accuracy.mean)} at ${value}`;
    return `${first.panel}, ${first.line}: ${at(first)}${own.length === 1 ? '' : `, ${at(last)}`}.`;
  });
  return [...sentences, ...(keys.length > mostSaid ? [`And ${keys.length - mostSaid} more lines.`] : [])].join(' ');
};
