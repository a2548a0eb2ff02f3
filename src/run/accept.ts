import { FailureError, failure } from '../core/errors.js';
import type { Json } from '../experiment/identity.js';
import type { Plan } from '../experiment/plan.js';
import type { Stage } from '../experiment/stage.js';
import { files, readRecord } from './outputs.js';
import { acceptedWarning, isAcceptedWarning, type StageRecord } from './record.js';
import { journalName, type StageOutput, type StagingDir, type Store, stagesIn, sumsOf } from './store.js';

/** What of a stage's parts is a hash of code, and nothing that a person chose; `undistill`, the version, in older ones. */
const code: ReadonlySet<string> = new Set(['source', 'experiment', 'harness', 'undistill']);

/** A stage's parts but for its code and for which stages it takes from. */
const withoutCode = (value: Json | undefined, isTop = true): Json => {
  if (Array.isArray(value)) return value.map((each) => withoutCode(each as Json, false));
  if (typeof value !== 'object' || value === null) return value ?? null;
  return Object.fromEntries(
    Object.entries(value)
      // A parameter may go by such a name.
      .filter(([name]) => !(code.has(name) && (isTop || 'params' in value)) && !(isTop && name === 'inputs'))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, withoutCode(each, false)]),
  );
};

const asAsked = ({ label, parts }: Pick<Stage, 'label' | 'parts'>): string =>
  JSON.stringify([label, withoutCode(parts as Json)]);

/**
 * Takes stages that other code made for those of a plan, where a person says that the code computes the same: of the same label and with
 * the same parameters, data, seeds and engine, and made of what was taken itself. The newest of several. Each is a copy whose record says
 * of which stage and why. Gives the labels of those that were taken.
 *
 * Rejects with a `FailureError` of kind `usage` for an empty reason.
 */
export const acceptStale = async ({ stages }: Plan, store: Store, reason: string): Promise<readonly string[]> => {
  if (reason.trim() === '')
    throw new FailureError(
      failure('usage', 'there is no reason', {
        where: '--accept-stale',
        remedy: 'Say why the numbers are the same: --accept-stale "a comment changed".',
      }),
    );
  const stored = await stagesIn(store.root);
  const found = new Map<string, { readonly output: StageOutput; readonly record: StageRecord }[]>();
  for (const [id, { state }] of stored) {
    const output = state === 'finished' ? await store.find(id) : undefined;
    const record = output && (await readRecord(output));
    if (output === undefined || record?.parts === undefined || record.failure !== undefined) continue;
    const asked = asAsked(record);
    found.set(asked, [...(found.get(asked) ?? []), { output, record }]);
  }
  /** By the id of a stage of the plan those for which it stands. */
  const standsFor = new Map<string, ReadonlySet<string>>();
  const taken: string[] = [];
  for (const stage of stages) {
    const isSame = ({ record }: { readonly record: StageRecord }): boolean =>
      Object.entries(stage.inputs).every(
        ([role, id]) => record.inputs[role] === id || standsFor.get(id)?.has(record.inputs[role] ?? ''),
      );
    const all = (found.get(asAsked(stage)) ?? []).filter(isSame);
    standsFor.set(stage.id, new Set(all.map(({ record }) => record.id)));
    if (all.some(({ record }) => record.id === stage.id)) continue;
    const newest = [...all].sort((a, b) => (a.record.provenance.finished < b.record.provenance.finished ? 1 : -1))[0];
    if (newest !== undefined && (await copied(stage, newest, store, reason))) taken.push(stage.label);
  }
  return taken;
};

/** Copies a stage under another's name; not while a process makes that. */
const copied = async (
  stage: Stage,
  { output, record }: { readonly output: StageOutput; readonly record: StageRecord },
  store: Store,
  reason: string,
): Promise<boolean> => {
  const staging = await store.begin(stage.id);
  if (staging === undefined) return false;
  try {
    // Another process may have made it since it was looked for.
    if ((await store.find(stage.id)) !== undefined) {
      await staging.release();
      return false;
    }
    await empty(staging);
    const names = Object.keys(await sumsOf(output));
    for (const name of names.filter((each) => each !== files.record))
      await staging.writeBytes(name, await output.bytes(name));
    const { id, inputs, parts } = stage;
    await staging.writeJson(files.record, {
      ...record,
      ...{ id, inputs, parts },
      warnings: [...record.warnings.filter((each) => !isAcceptedWarning(each)), acceptedWarning(reason)],
      accepted: { from: record.id, reason },
    } satisfies StageRecord);
    await staging.finish();
    return true;
  } catch (error) {
    // Half a copy would be gone on from as if the code that there is now had made it.
    await empty(staging).catch(() => undefined);
    await staging.release();
    throw error;
  }
};

/** Removes all that there is of a stage in the making. */
const empty = async (staging: StagingDir): Promise<void> => {
  for (const name of await staging.list('')) if (name !== journalName) await staging.remove(name);
};
