import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Plan } from '../../src/experiment/plan.js';
import type { Stage } from '../../src/experiment/stage.js';
import { acceptStale } from '../../src/run/accept.js';
import { files, readRecord } from '../../src/run/outputs.js';
import { journalName, openStore, type StageOutput, type Store, sumsOf } from '../../src/run/store.js';
import { aRecord } from './record.js';

let root: string;
let store: Store;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-accept-'));
  store = openStore(root, (_, file) => expect.unreachable(file));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const stageOf = (id: string, label: string, parts: Stage['parts'], inputs: Stage['inputs'] = {}): Stage => ({
  ...{ id, label, parts: { ...parts, inputs }, inputs },
  work: { kind: 'measure' },
});

const keep = async (stage: Stage, text: string): Promise<void> => {
  const staging = await store.begin(stage.id);
  await staging?.writeText('history/x.txt', text);
  const { id, label, parts, inputs } = stage;
  const provenance = { ...aRecord.provenance, finished: text };
  await staging?.writeJson(files.record, { ...aRecord, ...{ id, label, parts, inputs, provenance } });
  await staging?.finish();
};

const plan = (...stages: readonly Stage[]): Plan => ({ stages }) as never as Plan;
const attack = (source: string, temperature = 4) => ({ attack: { name: 'kd', params: { temperature }, source } });

test('what differs in code alone is taken, with what is made of it, and the record says why', async () => {
  await keep(stageOf('old1', 'teacher', { harness: 'a', undistill: '1' }), '2026-01-01');
  await keep(stageOf('old2', 'kd', attack('a'), { victim: 'old1' }), '2026-01-02');
  const now = plan(
    stageOf('new1', 'teacher', { harness: 'b', undistill: '2' }),
    stageOf('new2', 'kd', attack('b'), { victim: 'new1' }),
  );
  expect(await acceptStale(now, store, 'a comment')).toEqual(['teacher', 'kd']);
  const found = await store.find('new2');
  expect(String(await found?.bytes('history/x.txt'))).toBe('2026-01-02');
  expect(await readRecord(found as NonNullable<typeof found>)).toMatchObject({
    id: 'new2',
    inputs: { victim: 'new1' },
    accepted: { from: 'old2', reason: 'a comment' },
    warnings: ['it was made by other code than there is now, and accepted: a comment'],
  });
  // Once is enough.
  expect(await acceptStale(now, store, 'a comment')).toEqual([]);
});

test('of what is taken all files of the stage are copied, and nothing else that lies there', async () => {
  await keep(stageOf('old', 'teacher', { harness: 'a' }), '1');
  // The system's, and the journal of a process that was killed as it finished the stage.
  for (const name of ['.DS_Store', 'history/.nfs0001', journalName]) writeFileSync(join(root, 'old', name), 'x');
  const begun = await store.begin('new');
  await begun?.writeText('fits/teacher/checkpoint.safetensors', 'begun');
  await begun?.release();
  expect(await acceptStale(plan(stageOf('new', 'teacher', { harness: 'b' })), store, 'a comment')).toEqual(['teacher']);
  const found = await openStore(root, (_, file) => expect.unreachable(file)).find('new');
  expect(Object.keys(await sumsOf(found as StageOutput))).toEqual(['history/x.txt', files.record]);
  expect(readdirSync(join(root, 'new')).sort()).toEqual(['history', 'manifest.json', files.record]);
});

test('what another process has made meanwhile stays', async () => {
  const now = stageOf('new', 'teacher', { harness: 'b' });
  await keep(stageOf('old', 'teacher', { harness: 'a' }), '1');
  const late: Store = {
    ...store,
    begin: async (id) => {
      await keep(now, 'made');
      return store.begin(id);
    },
  };
  expect(await acceptStale(plan(now), late, 'a comment')).toEqual([]);
  expect(String(await (await store.find('new'))?.bytes('history/x.txt'))).toBe('made');
});

test('what differs in more, or is made of other stages, is not taken', async () => {
  await keep(stageOf('old1', 'teacher', { seed: 0, harness: 'a' }), '1');
  await keep(stageOf('old2', 'kd', attack('a'), { victim: 'old1' }), '2');
  await keep(stageOf('old3', 'kd 20', attack('a', 20)), '3');
  const now = plan(
    stageOf('new1', 'teacher', { seed: 1, harness: 'b' }),
    stageOf('new2', 'kd', attack('b'), { victim: 'new1' }),
    stageOf('new3', 'kd 20', attack('b', 4)),
    stageOf('new4', 'another label', attack('a', 20)),
  );
  expect(await acceptStale(now, store, 'why not')).toEqual([]);
  await expect(acceptStale(now, store, ' ')).rejects.toThrow('there is no reason');
});
