import { refusal } from '../core/errors.js';
import type { Dataset } from '../data/dataset.js';
import type { Diagnostic } from '../metrics/synthesis.js';

/** What a run says of the images that a data-free attack made for one student: its `images.json`. */
export interface ImagesFile {
  readonly version: 1;
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  /** The seed's label. */
  readonly seed: string;
  /** Class names in label order. */
  readonly classes: readonly string[];
  readonly shape: Dataset['image'];
  /** Images in the pool, of which `images` are some. */
  readonly count: number;
  readonly images: readonly SynthesisedImage[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface SynthesisedImage {
  /** A PNG of the image alone, relative to the list; absent where it is not among those shown. */
  readonly file?: string;
  /** Updates that the image, or the generator that made it, took; absent in older files. */
  readonly updates?: number;
  /** The class it was made for, an index into the classes. */
  readonly label: number;
  /** The teacher's probability for each class. */
  readonly teacher: readonly number[];
  /** The probability for each class of a network that the attack has not seen. */
  readonly verifier: readonly number[];
}

/** What is wrong with a value that lies at `at`; undefined when it is as it should be. */
type Check = (value: unknown, at: string) => string | undefined;

const first = (faults: readonly (string | undefined)[]): string | undefined =>
  faults.find((fault) => fault !== undefined);

const be =
  (holds: (value: unknown) => boolean, says: string): Check =>
  (value, at) =>
    holds(value) ? undefined : `${at} is not ${says}`;

const text = be((value) => typeof value === 'string', 'text');
const flag = be((value) => typeof value === 'boolean', 'true or false');
const number = be((value) => typeof value === 'number', 'a number');

const wholeIn = (least: number, most: number, says: string): Check =>
  be((value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most, says);

const wholeFrom = (least: number): Check =>
  wholeIn(least, Number.MAX_SAFE_INTEGER, `a whole number of at least ${least}`);

const optional =
  (check: Check): Check =>
  (value, at) =>
    value === undefined ? undefined : check(value, at);

const listOf =
  (check: Check, length?: number): Check =>
  (value, at) => {
    if (!Array.isArray(value)) return `${at} is not a list`;
    if (length !== undefined && value.length !== length) return `${at} has ${value.length} entries, not ${length}`;
    return first(value.map((each, i) => check(each, `${at}[${i}]`)));
  };

const record =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value, at) => {
    if (typeof value !== 'object' || value === null) return `${at} is not an object`;
    const fields = value as Readonly<Record<string, unknown>>;
    return first(
      Object.entries(checks).map(([name, check]) => check(fields[name], at === '' ? name : `${at}.${name}`)),
    );
  };

const heading = record({
  attack: text,
  defense: text,
  student: text,
  seed: text,
  classes: listOf(text),
  shape: record({
    height: wholeFrom(1),
    width: wholeFrom(1),
    channels: be((value) => value === 1 || value === 3, '1 or 3'),
  }),
  count: wholeFrom(0),
  diagnostics: listOf(
    record({
      name: text,
      value: (value, at) => (Array.isArray(value) ? listOf(number)(value, at) : number(value, at)),
      of: optional(listOf(text)),
      describe: optional(text),
      sentence: text,
      warning: flag,
    }),
  ),
});

const imagesOf = (classes: number): Check =>
  record({
    images: listOf(
      record({
        file: optional(text),
        updates: optional(wholeFrom(0)),
        label: wholeIn(0, classes - 1, `a whole number from 0 to ${classes - 1}`),
        teacher: listOf(number, classes),
        verifier: listOf(number, classes),
      }),
    ),
  });

/**
 * What a run left in the `images.json` at `path`. JSON writes null for a number that is not finite, which is read as NaN.
 *
 * Throws a `FailureError` of kind `usage` that names the path and what is wrong.
 */
export const decodeImagesFile = (content: string, path: string): ImagesFile => {
  const refuse = (what: string): never => refusal('usage')(what, path, 'Run the experiment again to make it anew.');
  let value: unknown;
  try {
    value = JSON.parse(content, (_, each) => (each === null ? Number.NaN : each));
  } catch {
    return refuse('the file is not JSON');
  }
  const file = value as ImagesFile;
  if (file.version !== 1) return refuse('the file is no list of images of this version of undistill');
  const fault = heading(file, '') ?? imagesOf(file.classes.length)(file, '');
  return fault === undefined ? file : refuse(fault);
};
