import { describe, expect, test } from 'vitest';
import { scratch } from '../../src/attacks/scratch.js';
import { none } from '../../src/defenses/none.js';
import { evaluationSets } from '../../src/experiment/data-access.js';
import type { Experiment } from '../../src/experiment/experiment.js';
import type { Stage } from '../../src/experiment/stage.js';
import type { Metric } from '../../src/metrics/metric.js';
import { diverge, hardlyOther, measure, measureBy, measureStage } from '../../src/run/measure.js';
import type { StageOutput } from '../../src/run/store.js';
import type { RunEnvironment } from '../../src/run/types.js';
import { made, thirds } from './helpers.js';

const data = thirds({ train: 30, test: 4 });
const of = (changes: Partial<Experiment> = {}): Experiment => ({
  ...made({ attacks: [scratch()], defenses: [none()] }),
  ...changes,
});

/** Logits of an evaluated model, by checkpoint and images. */
const evaluated = (logits: Readonly<Record<string, readonly (readonly number[])[]>>): StageOutput => ({
  folder: 'evaluated',
  json: async () => undefined as never,
  bytes: async () => Buffer.alloc(0),
  list: async () => [],
  tensors: async () => ({
    metadata: {},
    tensors: Object.fromEntries(
      Object.entries(logits).map(([name, rows]) => [
        name,
        { shape: [rows.length, 3], data: Float32Array.from(rows.flat()) },
      ]),
    ),
  }),
});
const says = (...classes: readonly number[]) => classes.map((label) => [0, 1, 2].map((k) => (k === label ? 5 : 0)));

describe('a model', () => {
  // The labels of the test images are 0, 1, 2, 0.
  const model = evaluated({ 'last/test': says(0, 1, 0, 1), 'best/test': says(0, 1, 2, 1) });

  test('has the numbers of the checkpoint that counts, and the accuracy of both', async () => {
    const last = await measure({ data, experiment: of() }, model);
    expect(last).toMatchObject({ images: 4, last: 0.5, best: 0.75, metrics: { accuracy: 0.5 } });
    const best = await measure({ data, experiment: of({ select: 'best' }) }, model);
    expect(best).toMatchObject({ images: 4, last: 0.5, best: 0.75, metrics: { accuracy: 0.75 } });
  });

  test('has those of the last where there is no best', async () => {
    const attacker = evaluated({ 'last/test': says(0, 1, 0, 1) });
    const numbers = await measure({ data, experiment: of({ select: 'best' }) }, attacker);
    expect(numbers).toMatchObject({ last: 0.5, metrics: { accuracy: 0.5 } });
    expect(numbers).not.toHaveProperty('best');
  });

  test('is compared with its victim where it has one', async () => {
    const victim = evaluated({ 'last/test': says(0, 1, 2, 1) });
    const alone = (await measure({ data, experiment: of() }, model)).metrics;
    const attacker = (await measure({ data, experiment: of() }, model, { victim })).metrics;
    expect(Object.keys(alone)).not.toContain('agreement');
    expect(attacker.agreement).toBe(0.75);
    expect(attacker.klToVictim).toBeGreaterThan(0);
  });

  test('agrees with the class that its victim names, whatever else it gives', async () => {
    const victim = evaluated({ 'last/test': says(0, 1, 2, 1), 'told/test': [[1], [1], [0], [1]] });
    expect((await measure({ data, experiment: of() }, model, { victim })).metrics.agreement).toBe(0.75);
  });

  test('that names another class than the largest that it gives is as accurate as what it names', async () => {
    const given = evaluated({ 'last/test': says(1, 1, 1, 1), 'told/test': [[0], [1], [2], [1]] });
    const { last, metrics } = await measure({ data, experiment: of() }, given, { clean: model });
    // Of which checkpoint they are is chosen: there are no others.
    expect(await measure({ data, experiment: of({ select: 'best' }) }, given, { clean: model })).not.toHaveProperty(
      'last',
    );
    expect([last, metrics.accuracy]).toEqual([0.75, 0.75]);
  });

  test('that answers through a wrapper is compared with itself without one', async () => {
    const given = evaluated({ 'last/test': says(0, 1, 1, 1) });
    const { metrics } = await measure({ data, experiment: of() }, given, { clean: model });
    expect(metrics).toMatchObject({ accuracy: 0.5, answerChanged: 0.25 });
    expect(metrics).not.toHaveProperty('agreement');
  });

  test('is said not to preserve the label where it does not, and has the accuracy of what it answers', async () => {
    // Of equals none is another class; the clean answers are right in half of the images, what is given in a quarter.
    const given = evaluated({ 'last/test': [[1, 1, 0], ...says(2, 1, 1)], 'told/test': [[0], [1], [0], [1]] });
    const stage = {
      label: 'seed-0/liar/measure',
      work: { kind: 'measure', tellsClean: true },
      inputs: { model: 'given', clean: 'clean' },
    };
    const written: unknown[] = [];
    const said: string[] = [];
    await measureStage(
      {
        ...({ plan: { experiment: of() }, data, others: new Map() } as never as RunEnvironment),
        store: { expect: async (id: string) => (id === 'given' ? given : model) } as never,
      },
      stage as never as Stage,
      {
        staging: { writeJson: async (_: string, value: unknown) => void written.push(value) } as never,
        warn: (text) => void said.push(text),
      },
    );
    expect(said).toEqual([expect.stringContaining('declare to preserve the label, and to 50 % of the images')]);
    expect(written).toMatchObject([{ metrics: { accuracy: 0.25 } }]);
  });

  test('is measured by a user’s own metrics too; one that fails is named', async () => {
    const own = (compute: Metric['of']): Metric => ({
      name: 'own',
      unit: 'number',
      better: 'neither',
      describe: 'A number.',
      source: import.meta.url,
      of: compute,
    });
    const numbers = (compute: Metric['of']) =>
      measureBy(own(compute), { data, experiment: of() }, model, { victim: model });
    const sums = await numbers(({ logits, labels, victim }) => logits.classes + labels.length + (victim?.classes ?? 0));
    expect(sums).toEqual({ own: 10 });
    await expect(numbers(() => Number.NaN)).rejects.toThrow('the metric own gave NaN');
  });

  test('is measured on the images that the report is about, and no others', async () => {
    const pilot = of({ report: 'validation', validation: 0.1 });
    const held = evaluated({ 'last/validation': says(0, 1, 2) });
    expect((await measure({ data, experiment: pilot }, held)).images).toBe(3);
    await expect(measure({ data, experiment: of() }, held)).rejects.toThrow('no logits on the test images');
  });
});

describe('the accuracy on held-out images', () => {
  const experiment = of({ validation: 0.1 });
  const { validation } = evaluationSets({ data, experiment });
  const labels = Array.from(validation?.indices ?? [], (index) => data.train.labels[index] as number);
  const model = evaluated({ 'last/test': says(0, 0, 0, 0), 'last/validation': says(...labels) });

  test('is beside that on the reported ones', async () => {
    expect(labels).toHaveLength(3);
    expect(await measure({ data, experiment }, model)).toMatchObject({ heldOut: 1, metrics: { accuracy: 0.5 } });
    const other = evaluated({ 'last/test': says(0, 0, 0, 0), 'last/validation': says(0, 0, 0) });
    expect((await measure({ data, experiment }, other)).heldOut).toBeCloseTo(labels.filter((k) => k === 0).length / 3);
  });

  test('is absent where none are held out, where they are what is reported, and of answers that a defence changed', async () => {
    const pilot = of({ validation: 0.1, report: 'validation' });
    for (const numbers of [
      measure({ data, experiment: of({ validation: 0 }) }, model),
      measure({ data, experiment: pilot }, model),
      measure({ data, experiment }, model, { clean: model }),
    ])
      expect(await numbers).not.toHaveProperty('heldOut');
  });
});

describe('how far a retrained teacher is from its adversary', () => {
  const uniform = [[0, 0, 0]];
  const sure = [[Math.log(8), 0, 0]];
  // p = (0.8, 0.1, 0.1) against a third each, both ways.
  const sureToUniform = 0.8 * Math.log(2.4) + 0.2 * Math.log(0.3);
  const uniformToSure = (Math.log(1 / 2.4) + 2 * Math.log(1 / 0.3)) / 3;
  const both = (rows: number[][]) => evaluated({ 'last/validation': rows, 'last/test': [[9, 9, 0]] });

  test('is KL(defended ‖ adversary) on held-out images, never on those of the test', async () => {
    const { kl, normal } = await diverge(of(), both(sure), both(uniform), [both(uniform), both(sure)]);
    expect(kl).toBeCloseTo(sureToUniform, 6);
    expect(normal).toBeCloseTo(uniformToSure, 6);
    expect(await diverge(of(), both(sure), both(sure), undefined)).toEqual({ kl: 0 });
  });

  test('is warned about when two normal nets are as far apart', () => {
    expect(hardlyOther({ kl: 0.1, normal: 0.2 })).toMatch(/^its answers .*\(KL 0\.100\).*\(0\.200\): make it stronger/);
    expect(hardlyOther({ kl: 0.2, normal: 0.2 })).toBeDefined();
    expect(hardlyOther({ kl: 0.3, normal: 0.2 })).toBeUndefined();
    expect(hardlyOther({ kl: 0.01 })).toBeUndefined();
  });
});
