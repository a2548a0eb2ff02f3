import { Argument, InvalidArgumentError, Option } from 'commander';
import { readBytes, showBytes } from '../core/text.js';
import { cardPrecisions, executions, mostThreads } from '../engine/execution.js';
import { answers } from '../run/defaults.js';

/* Arguments and options that several commands have, and how what is given for one is read. */

export const whole =
  (from: number, to = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    const range = to === Number.MAX_SAFE_INTEGER ? `of at least ${from}` : `from ${from} to ${to}`;
    if (!Number.isInteger(value) || value < from || value > to)
      throw new InvalidArgumentError(`Give a whole number ${range}.`);
    return value;
  };

export const wholeFrom1 = whole(1);
export const port = whole(0, 65_535);
const threadCount = whole(1, mostThreads);
export const jobCount = (text: string): number | 'auto' => (text === 'auto' ? text : threadCount(text));

const bytesOrOff = (text: string): number | 'off' => {
  const bytes = text === 'off' ? text : readBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('Give a size, such as 4GB or 500MB, or off.');
  return bytes;
};

export const bytes = (text: string): number => {
  const size = readBytes(text);
  if (size === undefined) throw new InvalidArgumentError('Give a size, such as 4GB or 500MB.');
  return size;
};

const andMore = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

/** An option that may be given several times. */
const repeatable = (flags: string, says: string): Option => new Option(flags, says).argParser(andMore);

export const experimentFile = (): Argument =>
  new Argument(
    '<file>',
    'a TypeScript file whose default export is an experiment, or a list of them (then FILE#NAME is one)',
  );

export const oneRun = (): Argument => new Argument('<run>', "a run's folder, or its name below runs");

export const severalRuns = (): Argument =>
  new Argument('<runs...>', "folders of runs, or their names below runs; also a run's copy elsewhere");

export const data = (): Option => new Option('--data <path>', 'read the data from this file or folder');

export const only = (says: string): Option => repeatable('--only <pattern>', says);

export const seed = (says: string): Option => repeatable('--seed <label>', says);

export const scale = (
  says = 'with this fraction of all schedules, for a look before the whole; its run is <name>-scale-<fraction>',
): Option => new Option('--scale <fraction>', says).argParser(Number);

export const threads = (says = 'threads (default: all cores)'): Option =>
  new Option('--threads <number>', says).argParser(threadCount);

export const execution = (): Option =>
  new Option('--execution <how>', 'how steps run (default: xla on a graphics card, else graph)').choices(executions);

export const precision = (): Option =>
  new Option('--precision <type>', 'how a graphics card multiplies float32 (default: tf32)').choices(cardPrecisions);

export const recording = (): Option =>
  new Option(
    '--answers <size>',
    'room for recorded answers, so that a victim is asked once for all its students; or off',
  )
    .argParser(bytesOrOff)
    .default(answers, showBytes(answers));

export const format = (formats: readonly string[]): Option =>
  new Option('--format <format>', 'how').choices(formats).default('text');
