import { grouped, unique } from '../../core/lists.js';
import { percent } from '../../core/text.js';
import { type Board, boardsOf, dominated, mainThreat, standingAt } from '../../results/boards.js';
import type { Entry, Ranking } from '../../results/ranking.js';
import { threatSaid } from '../ranking.js';
import { type Chart, fileName, inPercent, page, withNames } from './chart.js';
import { styleOf } from './lines.js';
import { lastOf, leaves } from './parameters.js';

/** Pixels that a line takes in the legend. */
const legendRow = 20;

/** Points of accuracy that a teacher may lose and be drawn by its accuracy: one that lost more is of no use, and would squeeze all others. */
const usable = 5;

/** What a defence costs its owner, as the axis of a panel. */
const costs = [
  { field: 'teacher', title: 'teacher accuracy (%)' },
  { field: 'l1', title: 'L1 of answers to clean ones' },
] as const;

/**
 * What each defence leaves to steal, by what it costs: a point a defence, in one line those that are the same but for their strength, by
 * the accuracy of the teacher and by the distance of the answers. A chart for each student and setting.
 */
export const rankingCharts = (ranking: Ranking): readonly Chart[] => {
  const boards = boardsOf(ranking);
  return boards.flatMap((board, i) => chartOf(board, boards.length === 1 ? '' : `-${i + 1}`)).map(withNames);
};

const chartOf = (board: Board, suffix: string): readonly Chart[] => {
  const threat = mainThreat(board);
  const worse = dominated(board.entries, threat);
  const lineOf = linesOf(board.entries);
  const rows = board.entries.flatMap((entry) => {
    const stolen = standingAt(entry, threat);
    const { teacher, l1 } = entry.cost;
    if (stolen === undefined || teacher === undefined) return [];
    const { line, strength } = lineOf.get(entry) as { line: string; strength: number };
    return [
      {
        defense: entry.defense,
        line,
        strength,
        teacher: inPercent(teacher.mean),
        ...(l1 === undefined ? {} : { l1: Number(l1.mean.toPrecision(5)) }),
        student: inPercent(stolen.accuracy.mean),
        attack: stolen.attack,
        dominated_by: worse.get(entry)?.defense ?? '',
      },
    ];
  });
  if (rows.length === 0 || threat === undefined) return [];
  const undefended = board.entries.find(({ role }) => role === 'identity');
  const floor = undefended && standingAt(undefended, { ...threat, access: 'label' });
  const names = unique(rows.map(({ line }) => line));
  const normal = undefended?.cost.teacher;
  const least = normal === undefined ? 0 : inPercent(normal.mean) - usable;
  const useless = rows.filter(({ teacher }) => teacher < least);
  const [right, nowhere] = [useless.filter(({ l1 }) => l1 !== undefined), useless.filter(({ l1 }) => l1 === undefined)];
  const domain = { domain: [...names], range: names.map((_, i) => styleOf(i).color) };
  const color = { field: 'line', type: 'nominal', scale: domain, legend: { title: null, symbolOpacity: 1 } } as const;
  const shape = { ...color, scale: { domain: [...names], range: names.map((_, i) => styleOf(i).shape) } };
  const up = { type: 'quantitative', title: "accuracy of the strongest attacker's student (%)" } as const;
  const y = { ...up, field: 'student', scale: { zero: false, padding: 12 } } as const;
  const title = 'What a defence leaves to the strongest attacker, and what it costs';
  const subtitle = [
    `student ${board.student}, teacher ${board.run.teacher}, on ${board.run.data.name}; attackers: ${threatSaid(threat)}`,
    `lower is harder to steal; pale: another defence is better; ${floor === undefined ? 'lines: by strength' : `dashed: labels alone of the undefended teacher, ${percent(floor.accuracy.mean)} %`}`,
    ...(right.length === 0
      ? []
      : [
          `${right.length === 1 ? 'a teacher that lost' : `${right.length} teachers that lost`} more than ${usable} points: on the right alone`,
        ]),
    ...nowhere.map(
      ({ defense, teacher, student }) =>
        `not drawn, of no L1 and a teacher of ${teacher.toFixed(2)} %: ${defense}, ${student.toFixed(2)} %`,
    ),
  ];
  const description = `${title}. ${rows
    .map(
      (row) =>
        `${row.defense}: teacher ${row.teacher} %, L1 ${row.l1 ?? 'none'}, ${row.student} % by ${row.attack}${row.dominated_by === '' ? '' : `, dominated by ${row.dominated_by}`}.`,
    )
    .join(' ')}`;
  const panel = ({ field, title }: (typeof costs)[number]) => {
    // No distance is below 0, which a rounded end of the axis would be; most are small.
    const from = field === 'l1' ? ({ type: 'sqrt', zero: true, nice: false } as const) : { zero: false };
    const x = { field, type: 'quantitative', title, scale: { ...from, padding: 12 } } as const;
    return {
      transform: [
        { filter: `isValid(datum.${field})` },
        ...(field === 'teacher' ? [{ filter: `datum.teacher >= ${least}` }] : []),
      ],
      width: 380,
      height: Math.max(340, legendRow * names.length),
      layer: [
        ...(floor === undefined
          ? []
          : [
              {
                data: { values: [{}] },
                mark: { type: 'rule', strokeDash: [5, 4], opacity: 0.7 } as const,
                encoding: { y: { ...up, datum: inPercent(floor.accuracy.mean) } },
              },
            ]),
        {
          mark: { type: 'line', strokeWidth: 1.5 } as const,
          encoding: { x, y, color, order: { field: 'strength', type: 'quantitative' } as const },
        },
        {
          mark: { type: 'point', filled: true, size: 80 } as const,
          encoding: {
            x,
            y,
            color,
            shape,
            opacity: { condition: { test: "datum.dominated_by === ''", value: 1 }, value: 0.35 },
            tooltip: [
              { field: 'defense' },
              { field: 'attack', title: 'strongest attacker' },
              { field: 'student', title: 'its student (%)', format: '.2f' },
              { field: 'teacher', title: 'teacher accuracy (%)', format: '.2f' },
              ...(field === 'l1' ? [{ field: 'l1', title: 'L1 of answers' }] : []),
              { field: 'dominated_by', title: 'dominated by' },
            ],
          },
        },
      ],
    };
  };
  return [
    {
      name: `${fileName('defences by the strongest attacker')}${suffix}`,
      title,
      description,
      spec: {
        ...page,
        title: { text: title, subtitle },
        description,
        data: { values: rows },
        hconcat: costs.map(panel),
      } as Chart['spec'],
    },
  ];
};

/**
 * The line of each entry, and where on it: those of one plugin that differ in nothing but one number are a line, in its order. One that is by
 * itself goes by its label.
 */
const linesOf = (
  entries: readonly Entry[],
): ReadonlyMap<Entry, { readonly line: string; readonly strength: number }> => {
  const found = [...grouped(entries, ({ name }) => name).values()].flatMap((own) => {
    const flat = new Map(own.map((entry) => [entry, new Map(leaves(entry.params, ''))]));
    const valuesOf = (path: string) => unique(own.map((entry) => flat.get(entry)?.get(path)));
    const differing = unique([...flat.values()].flatMap((params) => [...params.keys()])).filter(
      (path) => valuesOf(path).length > 1,
    );
    const strength = differing.find((path) => valuesOf(path).every((value) => typeof value === 'number'));
    return own.map((entry) => {
      const at = (path: string) => flat.get(entry)?.get(path);
      const words = differing.filter((path) => path !== strength).map((path) => `${lastOf(path)} ${at(path)}`);
      const line = words.length === 0 ? entry.name : `${entry.name}, ${words.join(', ')}`;
      return { entry, line, strength: strength === undefined ? 0 : (at(strength) as number) };
    });
  });
  const members = grouped(found, ({ line }) => line);
  return new Map(
    found.map(({ entry, line, strength }) => [
      entry,
      { line: members.get(line)?.length === 1 ? entry.defense : line, strength },
    ]),
  );
};
