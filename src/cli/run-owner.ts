import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type Failure, failure } from '../core/errors.js';
import { firstFew } from '../core/text.js';
import type { Json } from '../experiment/identity.js';
import type { Plan } from '../experiment/plan.js';
import { whyStale } from '../experiment/stale.js';
import type { PlanFile } from '../harness/plan-file.js';
import { shown } from './paths.js';

type Parts = Readonly<Record<string, Json>>;

/** What a run is about, whatever attacks and defences it has: its teacher and the data, without the code that both are made by. */
const subjectOf = (stages: readonly { readonly parts: Parts }[]): Parts => {
  const {
    seed: _,
    inputs: __,
    engine: ___,
    harness: ____,
    ...asked
  } = stages.find(({ parts: { kind } }) => kind === 'teacher' || kind === 'import')?.parts ?? {};
  const isCode = (name: string): boolean => name === 'source' || name === 'experiment';
  return JSON.parse(JSON.stringify(asked, (name, value) => (isCode(name) ? undefined : value)));
};

/** What is said of a run's folder that another file has written before: a failure where the two must not share it. */
export type Owner = { readonly warning: string } | { readonly refusal: Failure };

/**
 * Of whom a run's folder is, where that is another experiment file than the one that is now to write there; undefined where it is this
 * one's, or nobody's. The other file is not read: a run that was copied may name anything.
 *
 * @param folder the run's
 * @param path the experiment file
 */
export const otherOwner = (
  earlier: Pick<PlanFile, 'file' | 'stages'> | undefined,
  { stages }: Pick<Plan, 'stages'>,
  { folder, path }: { readonly folder: string; readonly path: string },
): Owner | undefined => {
  if (earlier?.file === undefined || earlier.file === relative(folder, path)) return undefined;
  const other = join(folder, earlier.file);
  // Renamed or moved, it is what it was.
  if (!existsSync(other))
    return { warning: `${shown(folder)} is the run of ${shown(other)}, which is gone: it becomes this file's` };
  const [before, now] = [subjectOf(earlier.stages), subjectOf(stages)];
  const apart = Object.keys(before).length === 0 ? [] : whyStale(before, now);
  const remedy = 'Give one of the two experiments another name, or this one --out FOLDER.';
  if (apart.length === 0)
    return {
      warning: `${shown(folder)} is the run of ${shown(other)}, and becomes this file's. ${remedy}`,
    };
  return {
    refusal: failure('usage', `this is the run of ${shown(other)}, another experiment: ${firstFew(apart, 3)}`, {
      where: shown(folder),
      remedy: `${remedy} If that run is no longer wanted, remove its folder.`,
    }),
  };
};
