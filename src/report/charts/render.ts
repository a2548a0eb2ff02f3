import { createRequire } from 'node:module';
import * as vega from 'vega';
import { compile } from 'vega-lite';
import { unique } from '../../core/lists.js';
import { field } from '../csv.js';
import { type Chart, nameIn } from './chart.js';

/** Vega says what it makes of a specification to nobody: there is no one at the console who wrote it. */
const silent: vega.LoggerInterface = vega.logger(vega.None);

/**
 * Without a canvas to measure on, vega takes every letter for 0.8 of its size and leaves a third of the room empty. These
 * are about DejaVu Sans's, one of the wide ones; what is not Latin or Greek is taken for a square.
 */
const letterWidth = (letter: string): number => {
  if (letter >= '\u1100') return 1;
  if (/[\s.,:;'|!()[\]ijlftrI·-]/.test(letter)) return 0.36;
  return /[mwMWOQ%@+<>=±]/.test(letter) ? 0.88 : 0.63;
};

const widthOf = ({ text, fontSize = 11, fontWeight }: TextItem, line: unknown = text): number => {
  const ems = [...String(line ?? '')].reduce((sum, letter) => sum + letterWidth(letter), 0);
  return ems * fontSize * (fontWeight === 'bold' ? 1.12 : 1);
};

interface TextItem {
  readonly text?: unknown;
  readonly fontSize?: number;
  readonly fontWeight?: string | number;
}

// Vega's types leave it out, and its code expects it to be set.
(vega as unknown as { readonly textMetrics: { width: typeof widthOf } }).textMetrics.width = widthOf;

/** A chart as an SVG, with its description for readers who do not see it. */
export const svgOf = async ({ spec }: Chart): Promise<string> => {
  const view = new vega.View(vega.parse(compile(spec, { logger: silent }).spec), { renderer: 'none', logger: silent });
  try {
    return printable(await view.toSVG());
  } finally {
    view.finalize();
  }
};

/** Without what XML has no way to write: control characters, and halves of characters. */
const printable = (text: string): string => text.replace(/[^\P{Cc}\t\n\r]|[\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd');

const require = createRequire(import.meta.url);
const fonts = ['DejaVuSans', 'DejaVuSans-Bold'].map((name) => require.resolve(`dejavu-fonts-ttf/ttf/${name}.ttf`));

/** An SVG as a PNG of twice as many pixels each way, for screens that have them. Letters are DejaVu Sans's everywhere. */
export const pngOf = async (svg: string): Promise<Buffer> => {
  // Native code, which not every platform has: the other files do without it.
  const { Resvg } = await import('@resvg/resvg-js');
  const family = 'DejaVu Sans';
  return new Resvg(svg, {
    fitTo: { mode: 'zoom', value: 2 },
    font: { fontFiles: fonts, loadSystemFonts: false, defaultFontFamily: family, sansSerifFamily: family },
  })
    .render()
    .asPng();
};

/** A chart's data as RFC 4180 has it, a line a point. */
export const csvOf = ({ spec }: Chart): string => {
  const rows = spec.data.values;
  const columns = unique(rows.flatMap((row) => Object.keys(row)));
  return [columns, ...rows.map((row) => columns.map((column) => nameIn(row[column])))]
    .map((line) => `${line.map(field).join(',')}\r\n`)
    .join('');
};
