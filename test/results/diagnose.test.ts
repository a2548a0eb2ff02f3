import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scratch } from '../../src/attacks/scratch.js';
import { labelOnly } from '../../src/defenses/answers.js';
import { gaussianNoise } from '../../src/defenses/gaussian-noise.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { loadEngine } from '../../src/engine/engine.js';
import { type Prepared, prepare } from '../../src/harness/session.js';
import { entropy } from '../../src/metrics/answers.js';
import { klToVictim } from '../../src/metrics/divergence.js';
import { diagnoseTeachers, type TeacherDiagnostics } from '../../src/results/diagnose.js';
import { crewOf } from '../../src/run/crew.js';
import { localExecutor } from '../../src/run/executor.js';
import { run } from '../../src/run/scheduler.js';
import { openStore, type Store } from '../../src/run/store.js';
import { learnerOf, made, tiny } from '../run/helpers.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-diagnose-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let prepared: Prepared;
let store: Store;
let found: TeacherDiagnostics;

const diagnosed = (mapped = 40, stages = store): Promise<TeacherDiagnostics> =>
  diagnoseTeachers({
    experiment: prepared.plan.experiment,
    data: prepared.data,
    victims: prepared.plan.victims,
    store: stages,
    mapped,
  });

beforeAll(async () => {
  await loadEngine();
  prepared = await prepare(
    made({
      teacher: learnerOf(tiny(), { epochs: 8 }),
      defenses: [none(), nasty({ omega: 0.05, temperature: 3 }), labelOnly(), gaussianNoise({ sd: 5 })],
      attacks: [scratch()],
      seeds: [0, 1],
    }),
  );
  store = openStore(root, () => undefined);
  const environment = { ...prepared, store, version: 'test', checkpointEvery: 100 };
  await run(prepared.plan, store, crewOf(localExecutor(environment)), () => undefined);
  found = await diagnosed();
});

/** A teacher's stored logits. */
const logitsOf = async (defense: string, seed: string) => {
  const { evaluate = '' } = prepared.plan.victims.find((each) => each.defense === defense && each.seed === seed) ?? {};
  const stored = (await (await store.find(evaluate))?.tensors('logits.safetensors'))?.tensors['last/test'];
  return { values: stored?.data as Float32Array, classes: 3 };
};

describe('the diagnosis of teachers', () => {
  test('has every network once, over all seeds', () => {
    expect(found).toMatchObject({ version: 1, experiment: 'test', data: 'thirds', images: 48, missing: [] });
    expect(found.teachers.map(({ defense, others }) => [defense, others])).toEqual([
      ['none', ['labelOnly', 'gaussianNoise']],
      ['nasty', []],
    ]);
    for (const { seeds, accuracy, answers } of found.teachers) {
      expect(seeds.map(({ seed }) => seed)).toEqual(['0', '1']);
      expect(accuracy.count).toBe(2);
      expect(answers.map(({ temperature }) => temperature)).toEqual([1, 2, 4, 8, 20]);
    }
  });

  test('measures the stored answers; the nasty ones against the normal ones of their seed', async () => {
    const [normal, defended] = found.teachers;
    const [none, nasty] = [await logitsOf('none', '1'), await logitsOf('nasty', '1')];
    expect(normal?.seeds[1]?.answers[2]?.entropy).toBe(entropy(none, 4));
    expect(defended?.seeds[1]?.answers[3]?.klFromNormal).toBe(klToVictim(nasty, none, 8));
    expect(normal?.seeds[1]?.answers[0]).not.toHaveProperty('klFromNormal');
    expect(normal?.answers[0]).not.toHaveProperty('klFromNormal');
    expect(defended?.answers[3]?.klFromNormal?.count).toBe(2);
  });

  test('tells what is answered in place of what a teacher says, and how right it is', () => {
    const [noisy, ...others] = found.given ?? [];
    expect(others).toEqual([]);
    expect(noisy).toMatchObject({ defense: 'gaussianNoise', accuracy: { count: 2 } });
    expect(noisy?.accuracy.mean).toBeLessThan((found.teachers[0]?.accuracy.mean ?? 0) - 0.1);
    for (const each of [noisy?.l1, noisy?.kl, noisy?.changed]) expect(each?.mean).toBeGreaterThan(0.1);
  });

  test('shows answers to images of different classes that every teacher classifies rightly', async () => {
    const { responses } = found;
    expect(responses).toMatchObject({ seed: '0', temperature: 3 });
    const labels = responses?.images.map(({ label }) => label) ?? [];
    expect(labels.length).toBeGreaterThan(0);
    expect(new Set(labels).size).toBe(labels.length);
    const nasty = await logitsOf('nasty', '0');
    for (const { image, label, answers } of responses?.images ?? []) {
      expect(prepared.data.test.labels[image]).toBe(label);
      expect(answers.map(({ defense }) => defense)).toEqual(['none', 'nasty']);
      for (const { probabilities, softened } of answers) {
        expect(probabilities.indexOf(Math.max(...probabilities))).toBe(label);
        for (const of of [probabilities, softened]) expect(of.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 4);
      }
      expect(answers[1]?.logits[label]).toBeCloseTo(nasty.values[image * 3 + label] as number, 4);
    }
  });

  test('maps logits and features of some images, the same ones for all teachers', () => {
    const { maps } = found;
    expect(maps?.images).toHaveLength(40);
    expect(maps?.maps.map(({ defense, of }) => [defense, of])).toEqual([
      ['none', 'features'],
      ['none', 'logits'],
      ['nasty', 'features'],
      ['nasty', 'logits'],
    ]);
    for (const { points } of maps?.maps ?? []) expect(points.flat().every(Number.isFinite)).toBe(true);
    for (const { image, label } of maps?.images ?? []) expect(prepared.data.test.labels[image]).toBe(label);
  });

  test('is the same once more, and keeps no tensor', async () => {
    const before = tf.memory().numTensors;
    expect(await diagnosed()).toEqual(found);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('has no maps of too few images', async () => {
    expect(await diagnosed(3)).not.toHaveProperty('maps');
  });

  test('has no maps of teachers whose weights are not there', async () => {
    const without = { ...store, find: async (id: string) => (trained.has(id) ? undefined : store.find(id)) };
    const trained = new Set(prepared.plan.victims.map(({ train }) => train));
    expect(await diagnosed(40, without)).not.toHaveProperty('maps');
  });

  test('goes on without what is not finished, and refuses where nothing is', async () => {
    const victims = prepared.plan.victims;
    for (const { evaluate } of victims.filter(({ defense }) => defense === 'nasty')) await store.remove(evaluate);
    const rest = await diagnosed(4);
    expect(rest.missing).toEqual([
      { defense: 'nasty', seed: '0' },
      { defense: 'nasty', seed: '1' },
    ]);
    expect(rest.teachers.map(({ defense }) => defense)).toEqual(['none']);
    for (const { evaluate } of victims) await store.remove(evaluate);
    await expect(diagnosed()).rejects.toThrow('no teacher of this run is finished');
  });
});
