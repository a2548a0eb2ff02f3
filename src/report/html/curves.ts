import { extent, thinned, unique } from '../../core/lists.js';
import { counted } from '../../core/text.js';
import type { Log } from '../logs.js';
import { html, type Markup } from './markup.js';

/** One line of a chart. */
export interface Line {
  readonly label: string;
  /** Which of the colours. */
  readonly colour: number;
  readonly dashed: boolean;
  /** By epoch, counted from 0. */
  readonly points: readonly (readonly [epoch: number, value: number])[];
}

/** A small chart: one metric of one fit, a line a seed. */
export interface Curve {
  readonly metric: string;
  readonly lines: readonly Line[];
}

/** The charts of one fit. */
export interface Curves {
  /** Of the stage's own model: ''. */
  readonly fit: string;
  readonly curves: readonly Curve[];
}

/** As many points as a small chart can show. */
const mostPoints = 80;

/** What everybody looks at first comes first. */
const rankOf = (metric: string): number => {
  const at = ['accuracy', 'loss'].indexOf(metric);
  return at < 0 ? 2 : at;
};

/** The charts of a stage that was made once a seed: for every fit, a chart a metric. */
export const curvesOf = (
  seeds: readonly { readonly seed: string; readonly logs: readonly Log[] }[],
): readonly Curves[] => {
  const fits = unique(seeds.flatMap(({ logs }) => logs.map(({ fit }) => fit)));
  return fits.flatMap((fit) => {
    const own = seeds.flatMap(({ seed, logs }, colour) =>
      logs.filter((log) => log.fit === fit).map(({ epochs }) => ({ seed, colour, epochs })),
    );
    const metrics = unique(own.flatMap(({ epochs }) => epochs.flatMap((each) => Object.keys(each.metrics))));
    const heldOut = own.some(({ epochs }) => epochs.some(({ validation }) => validation !== undefined));
    const shown = heldOut && !metrics.includes('accuracy') ? ['accuracy', ...metrics] : metrics;
    const curves = [...shown]
      .sort((a, b) => rankOf(a) - rankOf(b))
      .map((metric) => ({
        metric,
        lines: own.flatMap(({ seed, colour, epochs }) => {
          const line = (
            label: string,
            dashed: boolean,
            pick: (epoch: (typeof epochs)[number]) => number | undefined,
          ) => {
            const points = epochs.flatMap((each): readonly (readonly [number, number])[] => {
              const value = pick(each);
              return value === undefined || !Number.isFinite(value) ? [] : [[each.epoch, value]];
            });
            return points.length === 0 ? [] : [{ label, colour, dashed, points: thinned(points, mostPoints) }];
          };
          return [
            ...line(`seed ${seed}`, false, (each) => each.metrics[metric]),
            ...(metric === 'accuracy' ? line(`seed ${seed}, held out`, true, (each) => each.validation) : []),
          ];
        }),
      }))
      .filter(({ lines }) => lines.length > 0);
    return curves.length === 0 ? [] : [{ fit, curves }];
  });
};

const box = { width: 280, height: 130, left: 46, right: 8, top: 8, bottom: 20 } as const;

/** Colours there are; after the last the first comes again. */
export const colours = 6;

const short = (value: number): string => {
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replaceAll('-', '−');
};

/** A curve as a small picture, with its range in words for those who do not see it. */
export const curveSvg = ({ metric, lines }: Curve): Markup => {
  const all = lines.flatMap(({ points }) => points);
  const [low, high] = extent(all.map(([, value]) => value));
  const [first, last] = extent(all.map(([epoch]) => epoch));
  const across = (epoch: number): number =>
    box.left + ((epoch - first) / Math.max(1, last - first)) * (box.width - box.left - box.right);
  const down = (value: number): number =>
    high === low
      ? (box.top + box.height - box.bottom) / 2
      : box.top + ((high - value) / (high - low)) * (box.height - box.top - box.bottom);
  const bottom = box.height - box.bottom;
  const said = lines
    .map(({ label, points }) => `${label} from ${short(points[0]?.[1] ?? 0)} to ${short(points.at(-1)?.[1] ?? 0)}`)
    .join('; ');
  const drawn = lines.map(({ colour, dashed, points }) => {
    const place = `s${colour % colours}`;
    if (points.length === 1) {
      const [epoch, value] = points[0] as readonly [number, number];
      return html`<circle class="${place}" cx="${across(epoch).toFixed(1)}" cy="${down(value).toFixed(1)}" r="2.5"/>`;
    }
    const path = points.map(([epoch, value]) => `${across(epoch).toFixed(1)} ${down(value).toFixed(1)}`).join('L');
    return html`<path class="${place}${dashed && ' dashed'}" d="M${path}"/>`;
  });
  return html`<svg viewBox="0 0 ${box.width} ${box.height}" role="img" aria-label="${metric} by epoch: ${said}"
    ><path class="axis" d="M${box.left} ${box.top}V${bottom}H${box.width - box.right}"
    /><text x="${box.left - 5}" y="${box.top + 4}" text-anchor="end">${short(high)}</text
    >${high !== low && html`<text x="${box.left - 5}" y="${bottom}" text-anchor="end">${short(low)}</text>`}<text x="${box.left}" y="${box.height - 5}">${
      first + 1
    }</text><text x="${box.width - box.right}" y="${box.height - 5}" text-anchor="end">${
      last === first ? '' : counted(last + 1, 'epoch')
    }</text>${drawn}</svg>`;
};
