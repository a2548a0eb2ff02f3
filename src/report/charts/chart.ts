import type { TopLevelSpec } from 'vega-lite';

/** One row of a chart's data, as its CSV has it. */
export type Row = Readonly<Record<string, string | number | undefined>>;

export interface Chart {
  /** For its files: letters, digits and dashes. */
  readonly name: string;
  readonly title: string;
  /** What it shows, for a reader who does not see it. */
  readonly description: string;
  /** A vega-lite specification with its data in it. */
  readonly spec: Spec;
}

/** A specification whose data are rows of its own. */
export type Spec = TopLevelSpec & { readonly data: { readonly values: Row[] } };

/** One of the layers that a chart lies in. */
export type Layer = Extract<TopLevelSpec, { readonly layer: unknown }>['layer'][number];

/** What all charts have in common. */
export const page = {
  $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
  background: 'white',
  padding: 12,
  config: {
    view: { stroke: '#cccccc' },
    axis: { gridColor: '#e8e8e8', labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', labelLimit: 260 },
    axisX: { titlePadding: 10 },
    axisY: { titlePadding: 10 },
    legend: { labelFontSize: 12, labelLimit: 320, symbolLimit: 60, symbolSize: 90, rowPadding: 4 },
    header: { labelFontSize: 12, labelFontWeight: 'bold', title: null, labelLimit: 330 },
    title: { fontSize: 15, subtitleFontSize: 12, subtitleColor: '#555555', anchor: 'start', offset: 14, limit: 900 },
  },
} as const;

/** Okabe and Ito's colours, which people with any colour vision tell apart, without the yellow that white paper swallows. */
export const palette = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'] as const;

/** Behind a word that vega takes for one of its own. */
const mark = '\u00a0';

const isReserved = (text: string): boolean => text === 'if' || text in Object.prototype;

const namesIn = (value: unknown): unknown => {
  if (typeof value === 'string') return isReserved(value) ? value + mark : value;
  if (Array.isArray(value)) return value.map(namesIn);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, each]) => [field, namesIn(each)]));
};

/**
 * A chart in which no name is a word that vega takes for one of its own: text that is `if`, or goes by the name of what every
 * object inherits (`constructor`), it reads as code in the expressions by which values are sorted, and loses as a key.
 */
export const withNames = (chart: Chart): Chart => ({ ...chart, spec: namesIn(chart.spec) as Spec });

/** A name as it was before. */
export const nameIn = <Value>(value: Value): Value | string =>
  typeof value === 'string' && value.endsWith(mark) && isReserved(value.slice(0, -mark.length))
    ? value.slice(0, -mark.length)
    : value;

/** A share as percent, without the noise of binary fractions. */
export const inPercent = (share: number): number => Number((100 * share).toFixed(4));

/** A name that every file system takes. */
export const fileName = (text: string): string =>
  text
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .toLowerCase()
    .slice(0, 80) || 'chart';
