import { own, unique } from '../../core/lists.js';
import { metricsOf } from '../../results/columns.js';
import type { Spread } from '../../results/spread.js';
import type { Matrix } from '../../results/types.js';
import { headingOf, meanOf, sentenceOf } from '../numbers.js';
import { type Chart, page, palette } from './chart.js';
import { countedIn } from './words.js';

/** A number as the axis of its panel has it: shares in percent, others as they are. */
const onAxis = (unit: string, value: number): number => Number((unit === 'share' ? 100 * value : value).toPrecision(6));

/** The ends of a bar of a standard deviation to either side; none of one seed. */
const deviation = (unit: string, { mean, sd }: Spread): { readonly low?: number; readonly high?: number } =>
  sd === undefined ? {} : { low: onAxis(unit, mean - sd), high: onAxis(unit, mean + sd) };

/** What else is measured of students beside their accuracy: a panel a metric, a line an attack, a colour a defence. */
export const measuresChart = (matrix: Matrix): readonly Chart[] => {
  const several = matrix.students.length > 1;
  const named = metricsOf(matrix).filter(({ name }) => name !== 'accuracy');
  const rows = named.flatMap((metric) =>
    matrix.cells.flatMap(({ attack, defense, student, metrics }) => {
      const mean = own(metrics, metric.name);
      if (mean === undefined || !Number.isFinite(mean.mean)) return [];
      return [
        {
          metric: headingOf(metric),
          attack: several ? `${attack}, ${student}` : attack,
          defense,
          value: onAxis(metric.unit, mean.mean),
          ...deviation(metric.unit, mean),
          said: meanOf(metric, mean),
          seeds: mean.count,
        },
      ];
    }),
  );
  if (rows.length === 0) return [];
  const shown = named.filter((metric) => rows.some((row) => row.metric === headingOf(metric)));
  const defenses = unique(rows.map(({ defense }) => defense));
  const y = {
    field: 'attack',
    type: 'nominal',
    sort: unique(rows.map(({ attack }) => attack)).slice(),
    title: null,
  } as const;
  const x = {
    field: 'value',
    type: 'quantitative',
    title: null,
    scale: { zero: false, padding: 8 },
    axis: { labelFlush: false },
  } as const;
  const color = {
    field: 'defense',
    type: 'nominal',
    scale: { domain: [...defenses], range: defenses.map((_, i) => palette[i % palette.length] as string) },
    legend: { title: null },
  } as const;
  const title = 'What else is measured of the students';
  const description = `${title}. ${shown.map((metric) => `${headingOf(metric)}: ${sentenceOf(metric)}`).join(' ')}`;
  return [
    {
      name: 'measures',
      title,
      description,
      spec: {
        ...page,
        title: { text: title, subtitle: countedIn(matrix) },
        description,
        data: { values: rows },
        facet: { field: 'metric', type: 'nominal', sort: shown.map(headingOf), title: null },
        columns: 2,
        resolve: { scale: { x: 'independent' } },
        spec: {
          width: 260,
          height: { step: 22 },
          layer: [
            ...(rows.some(({ low }) => low !== undefined)
              ? [
                  {
                    transform: [{ filter: 'isValid(datum.low)' }],
                    mark: { type: 'rule' as const, opacity: 0.6 },
                    encoding: { y, x: { ...x, field: 'low' }, x2: { field: 'high' }, color },
                  },
                ]
              : []),
            {
              mark: { type: 'point' as const, filled: true, size: 70, opacity: 0.85 },
              encoding: {
                y,
                x,
                color,
                tooltip: [
                  { field: 'attack' },
                  { field: 'defense' },
                  { field: 'metric' },
                  { field: 'said', title: 'mean' },
                  { field: 'seeds' },
                ],
              },
            },
          ],
        },
      },
    },
  ];
};
