import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { checkWeights, readWeights } from '../../src/experiment/pretrained.js';
import { pretrained } from '../../src/train/pretrained.js';
import { zoo } from '../../src/train/zoo.js';

const folder = mkdtempSync(join(tmpdir(), 'undistill-zoo-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(Object.keys(zoo))('%s', (name) => {
  const card = zoo[name] as (typeof zoo)[string];
  const teacher = pretrained(name);

  test('is found by name, is the file that was published, and holds its net', async () => {
    expect(teacher).toMatchObject({ network: card.network, recipe: card.recipe });
    const weights = await readWeights(teacher);
    const { metadata } = weights;
    const image = JSON.parse(metadata.image as string);
    checkWeights(weights, teacher.network.build(image, Number(metadata.classCount)));
    expect(metadata).toMatchObject({
      network: card.network.name,
      params: JSON.stringify(card.network.params),
      stage: expect.stringContaining(`seed-${card.seed}/`),
      checkpoint: 'last',
    });
    expect(card.experiment).toContain(metadata.experiment);
  });

  test('is below 10 MB', () => {
    expect(statSync(teacher.weights).size).toBeLessThan(10e6);
  });
});

test('another file in its place is refused', async () => {
  const teacher = pretrained('cifar10/airbench');
  const bytes = readFileSync(teacher.weights);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  const altered = join(folder, 'altered.safetensors');
  writeFileSync(altered, bytes);
  await expect(readWeights({ ...teacher, weights: altered })).rejects.toThrow(/not as it was published/);
});

test.each(['cifar10/nothing', 'toString', '../package'])('no net is called %s', (name) => {
  expect(() => pretrained(name)).toThrow(/comes with no net of this name/);
});
