import { inOneLine, visible } from '../core/text.js';
import { type Stream, standardOutput } from './output.js';

/**
 * Where a command writes: lines that stay, and on a terminal live lines below them. Names and messages in them may be
 * from anywhere: of what would steer a terminal only our own colours get there.
 */
export interface Terminal {
  /** Whether lines can be live. */
  readonly live: boolean;
  /** Characters in a line. */
  readonly width: number;
  /** A line that stays. */
  log(line: string): void;
  /** What a file would hold, as it is; on a terminal as a terminal may have it. */
  print(text: string): void;
  /** Replaces the live line of that key; undefined takes it away. Nothing where lines cannot be live. */
  update(key: string, line: string | undefined): void;
  /** Replaces the live line below all others. */
  foot(line: string | undefined): void;
  readonly paint: Paint;
}

export interface Paint {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly faint: (text: string) => string;
}

/** Milliseconds between two drawings of the live lines. */
const redrawEvery = 100;

/** Cut to `width` characters, with an ellipsis where something is missing. */
export const cut = (text: string, width: number): string => {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`;
};

/** A line that stays, marked as a warning. */
export const warn = (out: Pick<Terminal, 'log' | 'paint'>, text: string): void =>
  out.log(`${out.paint.warning('!')} ${text}`);

const inks = { good: 32, bad: 31, warning: 33, faint: 2 } as const;

/** What the paints put around a text. */
const ink = new RegExp(`(\x1b\\[(?:0|${Object.values(inks).join('|')})m)`);

export const terminal = (stream: Stream = standardOutput, env: NodeJS.ProcessEnv = process.env): Terminal => {
  // `NO_COLOR` (no-color.org) and dumb terminals are respected.
  const colours = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  const painted = (code: number) => (text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  const safe = (text: string, made: (part: string) => string): string =>
    colours
      ? text
          .split(ink)
          .map((part, i) => (i % 2 === 0 ? made(part) : part))
          .join('')
      : made(text);
  const live = stream.isTTY === true && env.TERM !== 'dumb';
  const width = () => (stream.isTTY === true ? (stream.columns ?? 80) : 120);
  const lines = new Map<string, string>();
  let last: string | undefined;
  let drawn = 0;
  let drawnAt = 0;

  const erased = (): string => (drawn === 0 ? '' : `\x1b[${drawn}A\x1b[J`);
  const draw = (before = ''): void => {
    // A live line that wrapped could not be erased.
    const shown = [...lines.values(), ...(last === undefined ? [] : [last])].map(
      (line) => `${cut(safe(line, inOneLine), width() - 1)}\n`,
    );
    stream.write(`${erased()}${before}${shown.join('')}`);
    drawn = shown.length;
    drawnAt = performance.now();
  };

  return {
    live,
    get width() {
      return width();
    },
    log: (line) => {
      const text = `${safe(line, visible)}\n`;
      if (live) draw(text);
      else stream.write(text);
    },
    print: (text) => void stream.write(stream.isTTY === true ? visible(text) : text),
    update: (key, line) => {
      if (!live || (line === undefined && !lines.has(key))) return;
      const isNew = !lines.has(key);
      if (line === undefined) lines.delete(key);
      else lines.set(key, line);
      if (line === undefined || isNew || performance.now() - drawnAt > redrawEvery) draw();
    },
    foot: (line) => {
      const isGone = line === undefined && last !== undefined;
      last = line;
      if (live && (isGone || performance.now() - drawnAt > redrawEvery)) draw();
    },
    paint: {
      good: painted(inks.good),
      bad: painted(inks.bad),
      warning: painted(inks.warning),
      faint: painted(inks.faint),
    },
  };
};
