import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { orFail } from '../../src/core/errors.js';
import { encodeSafetensors, type WrittenTensor } from '../../src/core/safetensors.js';
import { compose } from '../../src/defenses/compose.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { checkWeights, differences, readWeights } from '../../src/experiment/pretrained.js';
import { withScale } from '../../src/experiment/scale.js';
import { planFor } from '../../src/harness/session.js';
import { batchNorm, classifier, dense, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import { pretrained } from '../../src/train/pretrained.js';
import { ran, temporaryFolder } from '../end-to-end/helpers.js';
import { failureOf, refusal } from '../failures.js';
import { made, recipe, thirds, tiny } from '../run/helpers.js';

const folder = temporaryFolder();

const floats = (...shape: number[]): WrittenTensor => ({
  shape,
  data: new Float32Array(shape.reduce((product, side) => product * side, 1)).fill(0.5),
});

/** The weights of `tiny()` for `thirds()`: grey images of 4 by 4, three classes. */
const good: Readonly<Record<string, WrittenTensor>> = {
  'fc1.weight': floats(6, 16),
  'fc1.bias': floats(6),
  'fc2.weight': floats(3, 6),
  'fc2.bias': floats(3),
};

let files = 0;
const saved = (tensors: Readonly<Record<string, WrittenTensor>>, metadata?: Readonly<Record<string, string>>): string =>
  written(encodeSafetensors(tensors, metadata));
const written = (bytes: Uint8Array): string => {
  files++;
  const path = join(folder, `${files}.safetensors`);
  writeFileSync(path, bytes);
  return path;
};

const planned = (weights: string, changes: Parameters<typeof made>[0] = {}) =>
  planFor(made({ teacher: pretrained(weights, tiny()), attacks: [kd()], ...changes }), 'tensorflow-cpu', {});

describe('a pretrained teacher in a plan', () => {
  test('is one stage for all seeds, known by the file’s content and not by its name', async () => {
    const [one, two] = [saved(good), saved(good)];
    const stagesOf = async (path: string) => (await planned(path, { seeds: [0, 1] })).plan.stages;
    const stages = await stagesOf(one);
    expect(stages.filter(({ work }) => work.kind === 'import')).toMatchObject([{ label: 'teacher', inputs: {} }]);
    expect(stages.filter(({ work }) => work.kind === 'teacher')).toEqual([]);
    expect((await stagesOf(two)).map(({ id }) => id)).toEqual(stages.map(({ id }) => id));
    const other = await stagesOf(saved({ ...good, 'fc2.bias': { shape: [3], data: Float32Array.of(1, 2, 3) } }));
    expect(other[0]?.id).not.toBe(stages[0]?.id);
  });

  test('has nets trained beside it and in its place by its recipe', async () => {
    const teacher = pretrained(saved(good), tiny(), recipe({ epochs: 5 }));
    const { plan } = await planned(teacher.weights, {
      teacher,
      students: ['self'],
      defenses: [none(), nasty({ adversary: tiny(3) })],
    });
    const kinds = plan.stages.map(({ label, work }) => [
      label,
      work.kind,
      'learner' in work && work.learner.recipe.epochs,
    ]);
    expect(kinds.filter(([, , epochs]) => epochs)).toEqual([
      ['seed-0/tiny (adversary)', 'teacher', 5],
      ['seed-0/nasty/teacher', 'protect', 5],
    ]);
    expect(plan.stages.find(({ work }) => work.kind === 'protect')?.inputs.teacher).toBe(
      plan.stages.find(({ work }) => work.kind === 'import')?.id,
    );
    const scaled = orFail(withScale(plan.experiment, 0.4));
    expect(scaled.teacher).toMatchObject({ weights: teacher.weights, recipe: { epochs: 2 } });
  });

  test.each([
    ['a nasty defence', { defenses: [none(), nasty()] }, 'nasty is trained'],
    ['a composed one', { defenses: [compose(nasty())] }, 'nasty is trained'],
    ['the student self', { students: ['self'] }, 'the student self is trained'],
  ])('is refused without a recipe that is asked for by %s', (_, changes, says) => {
    const found = refusal(() => made({ teacher: pretrained('x', tiny()), attacks: [kd()], ...changes }));
    expect(found).toMatchObject({ kind: 'experiment', where: 'teacher', what: expect.stringContaining(says) });
    expect(found.remedy).toContain('pretrained(file, network, {');
  });

  test('is refused as a student, without a net or a file, and with half a recipe', () => {
    const student = pretrained('x', tiny(), recipe());
    expect(refusal(() => made({ students: [student], attacks: [scratch()] })).what).toBe(
      'only the teacher can be pretrained',
    );
    expect(refusal(() => pretrained('x')).remedy).toContain(
      "A file needs its network: pretrained('teacher.safetensors'",
    );
    const netless = pretrained('x', null as never);
    expect(refusal(() => made({ teacher: netless, attacks: [scratch()] })).what).toBe('this is no network');
    for (const weights of ['', 7, new URL('https://example.org/teacher.safetensors')])
      expect(refusal(() => pretrained(weights as string, tiny())).what).toBe('the weights are no file');
    const half = pretrained('x', tiny(), { epochs: 0 } as never);
    expect(refusal(() => made({ teacher: half, attacks: [scratch()] })).what).toBe('epochs is 0');
  });

  test('is found from the working folder, or by a URL', () => {
    const path = join(folder, 'a b.safetensors');
    expect(pretrained(relative('', path), tiny()).weights).toBe(path);
    expect(pretrained(pathToFileURL(path), tiny()).weights).toBe(path);
  });
});

describe('a pretrained teacher in a run', () => {
  const run = (path: string, tell?: () => void) =>
    ran(
      made({ teacher: pretrained(path, tiny()), attacks: [scratch(), kd()], seeds: [0, 1] }),
      join(folder, `store ${files}`),
      tell === undefined ? {} : { tell },
    );

  test('is evaluated once and stolen from with each seed; a difference of the data is a warning', async () => {
    const path = saved(good, {
      undistill: '1',
      classes: '["a"]',
      normalisation: JSON.stringify(thirds().normalisation),
    });
    const { matrix, by } = await run(path);
    expect(matrix.teacher).toBe('pretrained tiny(hidden 6)');
    // Of a number that is one and the same nothing is known of how it varies.
    expect(matrix.victims.map(({ accuracy }) => accuracy)).toEqual([{ mean: 1 / 3, count: 1 }]);
    expect(matrix.cells.map(({ attack, accuracy }) => [attack, accuracy?.count])).toEqual([
      ['scratch', 2],
      ['kd', 2],
    ]);
    expect(by.teacher).toMatchObject({
      status: 'done',
      record: {
        kind: 'import',
        warnings: ['the teacher was trained with classes ["a"]; here it is ["top","middle","bottom"]'],
      },
    });
  });

  test('is refused when its file is altered after planning', async () => {
    const path = saved(good);
    const { by } = await run(path, () =>
      writeFileSync(path, encodeSafetensors({ ...good, 'fc2.bias': floats(3) }, { a: '' })),
    );
    expect(by.teacher).toMatchObject({ status: 'failed', failure: { kind: 'data', where: path } });
  });
});

describe('weights that do not fit are refused at planning', () => {
  const without = (name: string) => Object.fromEntries(Object.entries(good).filter(([each]) => each !== name));

  test.each<readonly [string, Readonly<Record<string, WrittenTensor>>, string, RegExp]>([
    ['a missing tensor', without('fc1.bias'), 'fc1.bias', /lack/],
    ['one too many', { ...good, 'fc3.bias': floats(3) }, 'fc3.bias', /tiny has no such variable/],
    ['DataParallel’s names', { 'module.fc1.bias': floats(6) }, 'module.fc1.bias', /begin with module\./],
    ['torch.compile’s names', { '_orig_mod.fc1.bias': floats(6) }, '_orig_mod.fc1.bias', /begin with _orig_mod\./],
    ['another shape', { ...good, 'fc1.weight': floats(5, 16) }, 'fc1.weight', /\[5, 16\], the network has \[6, 16\]/],
    [
      'other classes',
      { ...good, 'fc2.weight': floats(10, 6), 'fc2.bias': floats(10) },
      'fc2.weight',
      /of 10 classes, and the data set has 3 \(\[10, 6\], not \[3, 6\]\)/,
    ],
    ['whole numbers', { ...good, 'fc2.bias': { shape: [3], data: new Int32Array(3) } }, 'fc2.bias', /floating point/],
    ['NaN', { ...good, 'fc2.bias': { shape: [3], data: Float32Array.of(0, Number.NaN, 0) } }, 'fc2.bias', /finite/],
    ['∞', { ...good, 'fc1.bias': { shape: [6], data: new Float32Array(6).fill(1 / 0) } }, 'fc1.bias', /finite/],
  ])('%s', async (_, tensors, name, says) => {
    const path = saved(tensors);
    const found = await failureOf(planned(path));
    expect(found).toMatchObject({ kind: 'data', where: `${path}: ${name}`, what: expect.stringMatching(says) });
    expect(found.remedy).toBeDefined();
  });

  test('a negative variance', async () => {
    const normed = network({
      name: 'normed',
      source: import.meta.url,
      layers: sequential(batchNorm('bn'), flatten, dense('fc1', 6), relu, features, classifier('fc2')),
    });
    const norm = (variance: number) => ({
      ...good,
      'bn.weight': floats(1),
      'bn.bias': floats(1),
      'bn.running_mean': floats(1),
      'bn.running_var': { shape: [1], data: Float32Array.of(variance) },
    });
    const plan = (path: string) => planned(path, { teacher: pretrained(path, normed) });
    expect((await plan(saved(norm(0)))).plan.stages).not.toEqual([]);
    const path = saved(norm(-0.25));
    expect(await failureOf(plan(path))).toMatchObject({
      kind: 'data',
      what: 'a variance is negative',
      where: `${path}: bn.running_var`,
    });
  });

  test('no file, a folder, no safetensors', async () => {
    const missing = join(folder, 'missing.safetensors');
    const directory = join(folder, 'folder.safetensors');
    mkdirSync(directory);
    // What torch.save writes begins like a zip.
    const pickle = written(Buffer.from('PK\u0003\u0004 and so on'));
    for (const path of [missing, directory, pickle]) {
      const found = await failureOf(planned(path));
      expect(found).toMatchObject({ kind: 'data', where: path });
      expect(found.remedy).toContain('safetensors.torch.save_file');
    }
  });
});

describe('what a file of undistill export says of its data', () => {
  const data = thirds();
  const said = {
    undistill: '1',
    classes: JSON.stringify(data.classes),
    normalisation: JSON.stringify(data.normalisation),
  };
  const differing = async (metadata: Readonly<Record<string, string>>) =>
    differences(await readWeights({ weights: saved(good, metadata) }), data);

  test('is compared with the data set; of other files nothing is known', async () => {
    expect(await differing(said)).toEqual([]);
    expect(await differing({ ...said, normalisation: '{"mean":[0.5],"std":[0.5]}' })).toEqual([
      'the teacher was trained with normalisation {"mean":[0.5],"std":[0.5]}; here it is {"mean":[0.4],"std":[0.3]}',
    ]);
    expect(await differing({ classes: '["a"]' })).toEqual([]);
  });
});

test('a convolution that classifies is of other classes, too', () => {
  const network = mobileNetV2().build({ height: 32, width: 32, channels: 3 }, 10);
  const weights = (shape: number[]) => ({
    path: 'mine.safetensors',
    tensors: { 'conv2.weight': { shape, data: new Float32Array(shape.reduce((product, side) => product * side, 1)) } },
    metadata: {},
    sha256: '',
  });
  expect(refusal(() => checkWeights(weights([100, 1280, 1, 1]), network))).toMatchObject({
    where: 'mine.safetensors: conv2.weight',
    what: 'the weights are of 100 classes, and the data set has 10 ([100, 1280, 1, 1], not [10, 1280, 1, 1])',
  });
  expect(refusal(() => checkWeights(weights([10, 1280, 1, 1]), network)).what).not.toContain('classes');
});
