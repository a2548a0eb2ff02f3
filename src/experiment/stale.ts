import { basename } from 'node:path';
import type { Json, Source } from './identity.js';

/** Everything a stage's result depends on, as its plan or its record has it. */
export type Parts = Readonly<Record<string, Json>>;

/** The files behind a hash of code, where they are known. */
export type FilesOf = (hash: string) => Source['files'] | undefined;

/**
 * What differs between a stage and an earlier one of its label, in words: `kd.ts changed`, `attack.params.temperature:
 * 4 → 20`.
 *
 * @param before the files behind the earlier stage's hashes of code, and `after` those behind the present one's
 */
export const whyStale = (
  earlier: Parts,
  present: Parts,
  { before, after }: { readonly before: FilesOf; readonly after: FilesOf } = {
    before: () => undefined,
    after: () => undefined,
  },
): readonly string[] => {
  const reasons = new Set<string>();
  const code = (old: Json | undefined, now: Json | undefined, whose: string): void => {
    const files = changed(before(String(old)), after(String(now)));
    if (files.length === 0) reasons.add(`${whose} changed`);
    for (const file of files) reasons.add(`${basename(file)} changed`);
  };
  const compare = (old: Json | undefined, now: Json | undefined, path: string): void => {
    if (JSON.stringify(old) === JSON.stringify(now)) return;
    if (isComposite(old) && isComposite(now)) {
      for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
        compare(old[name], now[name], path === '' ? name : `${path}.${name}`);
      }
      return;
    }
    if (path === 'harness') code(old, now, present.kind === 'measure' ? 'the measuring' : 'the training loop');
    else if (path.endsWith('.experiment')) code(old, now, 'the experiment file');
    else if (path.includes('.own.')) reasons.add(`${path.replace('.own.', '.')} changed`);
    else if (path.endsWith('.source')) code(old, now, `the code of ${path.slice(0, -'.source'.length)}`);
    else if (path.startsWith('inputs.')) reasons.add(`its ${path.slice('inputs.'.length)} changed`);
    else if (path === 'data.fingerprint') reasons.add('the data changed');
    else if (path === 'weights') reasons.add('the pretrained weights changed');
    else reasons.add(`${path}: ${shown(old)} → ${shown(now)}`);
  };
  compare(earlier, present, '');
  return [...reasons];
};

const shown = (value: Json | undefined): string => (value === undefined ? 'nothing' : JSON.stringify(value));

/** Files that are in both and differ, or in one alone. */
const changed = (before: Source['files'] | undefined, after: Source['files'] | undefined): readonly string[] => {
  if (before === undefined || after === undefined) return [];
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((file) => before[file] !== after[file]);
};

type Composite = { readonly [key: string]: Json };

/** An object, or an array by its indices. */
const isComposite = (value: Json | undefined): value is Composite => typeof value === 'object' && value !== null;
