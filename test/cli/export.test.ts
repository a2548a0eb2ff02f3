import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256 } from '../../src/core/hash.js';
import { decodeSafetensors, encodeSafetensors, type Safetensors } from '../../src/core/safetensors.js';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny({ seeds: '0, 1' }));
  await at.write('again.ts', pretrainedTiny());
  const { code } = await at.undistill(['run', 'tiny.ts', '--threads', '1', '--out', 'first/tiny', '--seed', '0']);
  expect(code).toBe(0);
});
afterAll(() => at.remove());

/** The same experiment with a teacher out of a file. */
const pretrainedTiny = (recipe = '', defenses = 'none()'): string =>
  tiny({ imports: "import { pretrained } from 'undistill';", defenses }).replace(
    "net('teacher', 4)",
    `pretrained('teacher.safetensors', plainCnn({ width: 4 })${recipe})`,
  );

const decoded = async (path: string): Promise<Safetensors> => {
  const result = decodeSafetensors(await readFile(join(at.folder, path)));
  if (E.isLeft(result)) throw new Error(result.left.what);
  return result.right;
};

const exported = (...args: string[]) => at.undistill(['export', 'first/tiny', ...args]);

describe('undistill export', () => {
  it('writes a stage with PyTorch’s counters, and says what it is', async () => {
    const { code, out, err } = await exported('--stage', 'teacher');
    expect([code, err]).toEqual([0, '']);
    expect(out).toBe('teacher.safetensors: plainCnn of 4 classes, the last checkpoint of seed-0/teacher\n');
    const { tensors, metadata } = await decoded('teacher.safetensors');
    expect(
      Object.keys(tensors)
        .filter((name) => name.startsWith('bn1'))
        .sort(),
    ).toEqual(['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight'].map((name) => `bn1.${name}`));
    expect(tensors['conv2.weight']?.shape).toEqual([8, 4, 3, 3]);
    expect((await readFile(join(at.folder, 'teacher.safetensors'))).toString('latin1')).toMatch(
      /"bn1\.num_batches_tracked":\{"dtype":"I64","shape":\[\]/,
    );
    expect(metadata).toMatchObject({
      format: 'pt',
      experiment: 'tiny',
      stage: 'seed-0/teacher',
      network: 'plainCnn',
      classCount: '4',
      checkpoint: 'last',
    });
    expect(JSON.parse(metadata.params as string)).toMatchObject({ width: 4 });
    expect(JSON.parse(metadata.classes as string)).toHaveLength(4);
    expect(JSON.parse(metadata.normalisation as string)).toEqual({ mean: expect.any(Array), std: expect.any(Array) });
    expect(JSON.parse(metadata.recipe as string)).toMatchObject({ epochs: 3, batch: 16, optimizer: { name: 'adam' } });
  });

  it('takes the label as planned, too, and names the file after what was asked for', async () => {
    for (const stage of ['seed-0/nasty/teacher', 'none/plainCnn/kd']) {
      expect(await exported('--stage', stage)).toMatchObject({ code: 0, err: '' });
    }
    expect((await decoded('seed-0-nasty-teacher.safetensors')).metadata.stage).toBe('seed-0/nasty/teacher');
    expect((await decoded('none-plainCnn-kd.safetensors')).metadata.stage).toBe('seed-0/none/plainCnn/kd');
    expect((await readdir(at.folder)).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  it('writes the checkpoint that the experiment selects', async () => {
    const matrix = JSON.parse(await at.read('first/tiny/matrix.json'));
    await at.write('first/tiny/matrix.json', JSON.stringify({ ...matrix, select: 'best' }));
    const best = await exported('--stage', 'teacher', '--out', 'best.safetensors');
    expect(best.out).toContain('the best checkpoint of seed-0/teacher');
    const { id } = JSON.parse(await at.read('first/tiny/stages/seed-0/teacher/record.json'));
    const [file, kept] = [await decoded('best.safetensors'), await decoded(`first/.store/${id}/best.safetensors`)];
    expect(file.tensors).toMatchObject(kept.tensors);
    expect(file.metadata.checkpoint).toBe('best');
    await at.write('first/tiny/matrix.json', JSON.stringify(matrix));
  });

  it('refuses what it cannot do, and says what there is', async () => {
    const there = await exported('--stage', 'teacher');
    expect(there).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^teacher\.safetensors: the file exists\n.*--out/),
    });
    for (const stage of ['teachr', 'seed-0/teacher/evaluate']) {
      const { code, err } = await exported('--stage', stage);
      expect(code).toBe(2);
      expect(err).toContain(`--stage: no stage of this name has a network: ${stage}\n`);
      expect(err).toMatch(/\n {2}seed-0\/teacher\n/);
      expect(err).toMatch(/\n {2}seed-0\/nasty\/plainCnn\/kd\n/);
      expect(err).not.toMatch(/evaluate\n.*\n.*evaluate/);
    }
    expect(await at.undistill(['export', 'nowhere', '--stage', 'teacher'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('undistill export quickstart'),
    });
  });

  it('lists what can be exported where no stage is named, as it is typed', async () => {
    const { code, err } = await exported();
    expect(code).toBe(2);
    const [what, how, ...names] = err.trimEnd().split('\n');
    expect(what).toBe(`export: ${names.length} networks can be exported`);
    expect(how).toBe('  Choose one with --stage:');
    expect(names).toEqual(expect.arrayContaining(['  teacher', '  nasty/teacher', '  none/plainCnn/kd']));
    expect(err).not.toMatch(/seed-1|evaluate/);
    for (const name of names.slice(0, 2))
      expect(await exported('--stage', name.trim(), '--out', `listed/${names.indexOf(name)}`)).toMatchObject({
        code: 0,
      });
    // There is one network alone.
    await at.undistill([
      'run',
      'tiny.ts',
      '--threads',
      '1',
      '--out',
      'alone/tiny',
      '--seed',
      '0',
      '--only',
      'seed-0/teacher',
    ]);
    expect(await at.undistill(['export', 'alone/tiny', '--out', 'alone/it'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('of seed-0/teacher'),
    });
  });

  it('refuses files of a store that no run left so, by their names', async () => {
    await cp(join(at.folder, 'first'), join(at.folder, 'foreign'), { recursive: true });
    const { id } = JSON.parse(await at.read('first/tiny/stages/seed-0/teacher/record.json'));
    const folder = join(at.folder, 'foreign', '.store', id);
    const { tensors, metadata } = await decoded(join('foreign', '.store', id, 'last.safetensors'));
    const record = JSON.parse(await readFile(join(folder, 'record.json'), 'utf8'));
    const put = async (name: string, content: string | Uint8Array): Promise<void> => {
      await writeFile(join(folder, name), content);
      const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
      const sum = sha256(content);
      const text = JSON.stringify({ ...manifest, files: { ...manifest.files, [name]: sum } });
      await writeFile(join(folder, 'manifest.json'), text);
    };
    const refused = async (says: RegExp): Promise<void> => {
      const { code, err } = await at.undistill(['export', 'foreign/tiny', '--stage', 'seed-0/teacher', '--out', 'x']);
      expect(err).toMatch(says);
      expect(err).not.toContain('mistake in undistill');
      expect(code).toBe(2);
    };
    for (const classes of ['{', '5', '[1]']) {
      await put('last.safetensors', encodeSafetensors(tensors, { ...metadata, classes }));
      await refused(/^foreign\/\.store\/\w+\/last\.safetensors: classes(: 0)? is .*\n {2}.*a list of names/);
    }
    await put('last.safetensors', encodeSafetensors(tensors, metadata));
    const learner = { ...record.parts.learner, network: { ...record.parts.learner.network, params: 5 } };
    for (const [parts, says] of [
      [{ learner }, /record\.json: parts: learner: network: params is 5/],
      [{}, /record\.json: parts: network is missing/],
      [5, /record\.json: parts is 5/],
    ] as const) {
      await put('record.json', JSON.stringify({ ...record, parts }));
      await refused(says);
    }
    const deep = JSON.stringify({ ...record, parts: { learner: 'deep' } });
    await put('record.json', deep.replace('"deep"', `${'['.repeat(50_000)}${']'.repeat(50_000)}`));
    await refused(/record\.json: parts: lists and records lie within each other/);
    await put('record.json', '{');
    await refused(/record\.json: the file is not JSON/);
  });

  it('asks for a seed where there are several, and for a run where it is not finished', async () => {
    await at.undistill(['run', 'tiny.ts', '--threads', '1', '--out', 'second/tiny', '--only', 'seed-?/teacher']);
    const both = await at.undistill(['export', 'second/tiny', '--stage', 'teacher', '--out', 'x']);
    expect(both.err).toMatch(
      /^--stage: several seeds have teacher\n {2}Choose one:\n {2}seed-0\/teacher\n {2}seed-1\/teacher\n$/,
    );
    const open = await at.undistill(['export', 'second/tiny', '--stage', 'seed-0/nasty/teacher', '--out', 'x']);
    expect(open).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^seed-0\/nasty\/teacher: the stage is not finished\n/),
    });
  });
});

describe('a pretrained teacher', () => {
  it('is the teacher that was exported, to the bit, and so are its attackers', async () => {
    const run = await at.undistill(['run', 'again.ts', '--threads', '1', '--out', 'third/tiny']);
    expect(run).toMatchObject({ code: 0, err: '' });
    const [first, third] = [await at.matrix('first/tiny'), await at.matrix('third/tiny')];
    const victim = (matrix: typeof first) =>
      matrix.victims.find(({ defense }) => defense === 'none')?.seeds[0]?.measures;
    // It is one checkpoint, of which none is the best.
    const { best, ...last } = victim(first) as NonNullable<ReturnType<typeof victim>>;
    expect(best).toBeGreaterThan(0.5);
    expect(victim(third)).toEqual(last);
    const plan = JSON.parse(await at.read('third/tiny/plan.json')).stages as {
      label: string;
      kind: string;
      id: string;
    }[];
    expect(plan.filter(({ kind }) => kind === 'teacher' || kind === 'import')).toMatchObject([{ label: 'teacher' }]);
    const before = JSON.parse(await at.read('first/tiny/plan.json')).stages as typeof plan;
    const weights = (stages: typeof plan, run: string, label: string) => {
      const id = stages.find((stage) => stage.label === label)?.id as string;
      return readFile(join(at.folder, run, '.store', id, 'last.safetensors'));
    };
    for (const [label, was] of [
      ['teacher', 'seed-0/teacher'],
      ['seed-0/none/plainCnn/kd', 'seed-0/none/plainCnn/kd'],
    ] as const) {
      expect(await weights(plan, 'third', label)).toEqual(await weights(before, 'first', was));
    }
  });

  it('is exported again as the same numbers', async () => {
    const { code } = await at.undistill([
      'export',
      'third/tiny',
      '--stage',
      'teacher',
      '--out',
      'sub/second.safetensors',
    ]);
    expect(code).toBe(0);
    const [one, two] = [await decoded('teacher.safetensors'), await decoded('sub/second.safetensors')];
    expect(two.tensors).toEqual(one.tensors);
    expect(two.metadata.recipe).toBeUndefined();
    expect(two.metadata).toMatchObject({ network: 'plainCnn', params: one.metadata.params, stage: 'teacher' });
  });

  it('is protected by a recipe, in worker processes too', async () => {
    const recipe = ', { epochs: 1, batch: 16, optimizer: adam(), schedule: constant(0.01) }';
    await at.write('nasty.ts', pretrainedTiny(recipe, 'none(), nasty()'));
    const run = await at.undistill(['run', 'nasty.ts', '--jobs', '2', '--out', 'fourth/tiny']);
    expect(run.code).toBe(0);
    const { victims, learners } = await at.matrix('fourth/tiny');
    expect(victims.map(({ accuracy }) => accuracy?.count)).toEqual([1, 1]);
    // Two files of one net are two teachers.
    expect(learners?.teacher.weights).toBe(sha256(await readFile(join(at.folder, 'teacher.safetensors'))));
    await at.write('bare.ts', pretrainedTiny('', 'none(), nasty()'));
    expect(await at.undistill(['plan', 'bare.ts'])).toMatchObject({
      code: 1,
      err: expect.stringContaining(
        "teacher: nasty is trained by the teacher's recipe, and the pretrained teacher has none\n",
      ),
    });
  });

  it('is known by its content, not its name, and refused at planning where it does not fit', async () => {
    const planned = () => at.undistill(['plan', 'again.ts', '--out', 'third/tiny', '--verbose']);
    const path = join(at.folder, 'teacher.safetensors');
    const bytes = await readFile(path);
    await writeFile(path, bytes);
    expect((await planned()).out).toMatch(/^teacher +import +cached$/m);
    const other = Buffer.from(bytes);
    other.writeFloatLE(0.25, other.length - 4);
    await writeFile(path, other);
    expect((await planned()).out).toMatch(/^teacher +import +stale: the pretrained weights changed$/m);
    await writeFile(path, bytes.subarray(0, 99));
    expect(await planned()).toMatchObject({
      code: 1,
      err: expect.stringContaining(`${path}: the header is said to have`),
    });
    await rm(path);
    expect(await planned()).toMatchObject({ code: 1, err: expect.stringContaining('no such file') });
  });
});
