import * as v from 'valibot';
import { atLeast, checked, shown, text } from '../core/check.js';
import { refusal } from '../core/errors.js';
import { own } from '../core/lists.js';

/**
 * What a paper reports of an experiment, to stand beside one's own numbers. Accuracies are in per cent, as printed, and
 * are found by the labels of defences, students and attacks.
 */
export interface Published {
  /** The paper and its table. */
  readonly source: string;
  /** `recalled`: quoted from memory and unverified, which is said wherever a number of it is shown. */
  readonly provenance: 'read' | 'recalled';
  /** A sentence that a reader of the numbers must know. */
  readonly note?: string;
  /** How far, in percentage points, one's own number may be from the paper's and count as reproduced; default 1. */
  readonly tolerance?: number;
  /** Teachers, by defence. */
  readonly teachers?: Readonly<Record<string, number>>;
  /** Students, by student and attack: one number by defence, or one for all defences where none is involved. */
  readonly students?: Readonly<Record<string, Readonly<Record<string, number | Readonly<Record<string, number>>>>>>;
}

/** Percentage points: what training once more, with another seed, commonly changes. */
export const defaultTolerance = 1;

/** A published accuracy, 0..1. */
const shareOf = (percent: number | undefined): number | undefined =>
  percent === undefined ? undefined : percent / 100;

export const publishedTeacher = (of: Published | undefined, defense: string): number | undefined =>
  shareOf(own(of?.teachers, defense));

export const publishedStudent = (
  of: Published | undefined,
  { student, attack, defense }: { readonly student: string; readonly attack: string; readonly defense: string },
): number | undefined => {
  const found = own(own(of?.students, student), attack);
  return shareOf(typeof found === 'object' ? own(found, defense) : found);
};

/** What is said once of all published numbers. */
export const describePublished = ({ source, provenance, note }: Published): string =>
  [source, ...(provenance === 'recalled' ? ['quoted from memory, unverified'] : []), ...(note ? [note] : [])].join(
    '; ',
  );

const byLabel = v.pipe(v.record(v.string(), v.unknown()), v.title('a record by label'));

const shape = v.pipe(
  v.looseObject({
    note: v.optional(text),
    teachers: v.optional(byLabel),
    students: v.optional(v.pipe(v.record(v.string(), byLabel), v.title('a record by label'))),
  }),
  v.title('{ source, provenance, … }'),
);

/**
 * Throws a `FailureError` of kind `experiment` when a label is not one of the experiment's, or a number is no
 * percentage.
 */
export const checkPublished = (
  published: Published,
  labels: {
    readonly students: readonly string[];
    readonly attacks: readonly string[];
    readonly defenses: readonly string[];
  },
): void => {
  checked('experiment', { published: shape }, { published });
  const { source, provenance, tolerance = defaultTolerance, teachers = {}, students = {} } = published;
  const refuse = (what: string, remedy: string): never => refusal('experiment')(what, 'published', remedy);
  if (typeof source !== 'string' || source === '') refuse('it has no source', 'Name the paper and its table.');
  if (provenance !== 'read' && provenance !== 'recalled')
    refuse(`provenance is ${shown(provenance)}`, 'Say read or recalled.');
  checked('published', { tolerance: atLeast(0) }, { tolerance });
  const known = (which: keyof typeof labels, label: string): void => {
    if (!labels[which].includes(label))
      refuse(`the experiment has no ${label} among its ${which}`, `It has: ${labels[which].join(', ')}.`);
  };
  const numbers = (by: Readonly<Record<string, number>>): void => {
    for (const [defense, value] of Object.entries(by)) {
      known('defenses', defense);
      percentage(value);
    }
  };
  const percentage = (value: number): void => {
    if (typeof value !== 'number' || !(value >= 0 && value <= 100))
      refuse(`${shown(value)} is no percentage`, 'Give numbers from 0 to 100, as printed.');
  };
  numbers(teachers);
  for (const [student, attacks] of Object.entries(students)) {
    known('students', student);
    for (const [attack, value] of Object.entries(attacks)) {
      known('attacks', attack);
      if (typeof value === 'object' && value !== null) numbers(value);
      else percentage(value);
    }
  }
};
