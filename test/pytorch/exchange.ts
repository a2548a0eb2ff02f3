import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { orFail, orThrow } from '../../src/core/errors.js';
import type { OptionsOf } from '../../src/core/plugin.js';
import {
  decodeSafetensors,
  encodeSafetensors,
  type Safetensors,
  type StoredTensor,
} from '../../src/core/safetensors.js';
import { version } from '../../src/core/version.js';
import { synthetic } from '../../src/data/synthetic.js';
import { type Project, project } from '../cli/project.js';

/**
 * Exchanges weights with PyTorch, both ways, through nothing but what a user has: `undistill run`, `undistill export` and
 * `pretrained()` here, `load_state_dict` and `safetensors.torch` there, and compares the logits on the same images.
 *
 *     node --import tsx test/pytorch/exchange.ts --torch PYTHON [--only NET …] > results/exchange.md
 */

/** A net here and there. A new one is a line in `nets`, and its definition in ../models/reference.py. */
interface Exchanged {
  /** Its name in `NETWORKS` of reference.py. */
  readonly net: string;
  /** How an experiment file makes it. */
  readonly code: string;
  readonly images: keyof typeof kinds;
}

const kinds = {
  colour: { train: 32, test: 16, classes: 10, size: 32, channels: 3 },
  grey: { train: 32, test: 16, classes: 10, size: 32, channels: 1 },
} as const satisfies Record<string, OptionsOf<typeof synthetic>>;

export const nets: readonly Exchanged[] = [
  { net: 'plainCnn', code: 'plainCnn()', images: 'colour' },
  { net: 'preResNet-20', code: 'preResNet(20)', images: 'colour' },
  { net: 'resNet-18', code: 'resNet(18)', images: 'colour' },
  { net: 'resNet-50', code: 'resNet(50)', images: 'colour' },
  { net: 'resNeXt29', code: 'resNeXt29()', images: 'colour' },
  { net: 'mobileNetV2', code: 'mobileNetV2()', images: 'colour' },
  { net: 'shuffleNetV2', code: 'shuffleNetV2()', images: 'colour' },
  { net: 'leNet5', code: 'leNet5()', images: 'grey' },
];

/** Largest difference of two logits, and the largest logit: of weights that went there, and of weights that came back. */
export interface Row {
  readonly net: string;
  readonly code: string;
  readonly tensors: number;
  readonly numbers: number;
  readonly there: Difference;
  readonly back: Difference;
}
interface Difference {
  readonly largest: number;
  readonly logit: number;
}

interface Versions {
  readonly torch: string;
  readonly safetensors: string;
  readonly python: string;
}

/** An experiment file of several experiments. */
const experiments = (
  all: readonly {
    readonly name: string;
    readonly images: keyof typeof kinds;
    readonly teacher: string;
    readonly students: string;
  }[],
): string => `\
import * as undistill from 'undistill';
import { adam, constant, experiment, learner, none, plainCnn, pretrained, scratch, synthetic } from 'undistill';

const recipe = { epochs: 1, batch: 16, optimizer: adam(), schedule: constant(1e-3) };
const small = learner(plainCnn({ width: 1 }), recipe);
const of = { validation: 0, defenses: [none()], attacks: [scratch()], seeds: [0] };

export default [
${all
  .map(
    ({ name, images, teacher, students }) =>
      `  experiment({ ...of, name: '${name}', data: synthetic(${JSON.stringify(kinds[images])}), teacher: ${teacher}, students: [${students}] }),`,
  )
  .join('\n')}
];
`;

const undistill = async (at: Project, ...args: string[]): Promise<void> => {
  const { code, out, err } = await at.undistill(args);
  if (code !== 0) throw new Error(`undistill ${args.join(' ')}: ${code}\n${out}${err}`);
};

const readTensors = async (path: string): Promise<Safetensors> => orFail(decodeSafetensors(await readFile(path)));

/** The logits of a model of a run on the test images. */
const logitsOf = async (at: Project, run: string, model: string): Promise<StoredTensor> => {
  const { stages } = JSON.parse(await at.read(`runs/${run}/plan.json`)) as { stages: { label: string; id: string }[] };
  const id = stages.find(({ label }) => label === `${model}/evaluate`)?.id as string;
  const { tensors } = await readTensors(join(at.folder, 'runs/.store', id, 'logits.safetensors'));
  return tensors['last/test'] as StoredTensor;
};

const difference = async (ours: StoredTensor, theirs: string): Promise<Difference> => {
  const { logits } = (await readTensors(theirs)).tensors;
  if (logits === undefined || `${logits.shape}` !== `${ours.shape}`) throw new Error(`${theirs}: not ${ours.shape}`);
  const differences = [...logits.data].map((logit, i) => Math.abs(logit - (ours.data[i] as number)));
  return { largest: Math.max(...differences), logit: Math.max(...[...logits.data].map(Math.abs)) };
};

/** The test images of a kind, for Python. */
const writeImages = async (at: Project, kind: keyof typeof kinds): Promise<void> => {
  const { test, image, normalisation } = await orThrow(synthetic(kinds[kind]).load());
  const shape = [test.count, image.height, image.width, image.channels];
  const metadata = { normalisation: JSON.stringify(normalisation) };
  await writeFile(
    join(at.folder, `${kind}.images`),
    encodeSafetensors({ images: { shape, data: test.images.slice(0) } }, metadata),
  );
};

const inPython = (python: string, folder: string, jobs: readonly Exchanged[]): Promise<Versions> =>
  new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL('exchange.py', import.meta.url));
    // Threads of OpenMP spin while they wait for one another, which on a busy machine takes longer than the work.
    const env = { ...process.env, OMP_NUM_THREADS: '1' };
    const child = spawn(python, [script, folder], { stdio: ['pipe', 'pipe', 'inherit'], env });
    let said = '';
    child.stdout.on('data', (data) => {
      said += data;
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(said)) : reject(new Error(`${python}: ${code}`))));
    child.stdin.end(JSON.stringify(jobs.map(({ net, images }) => ({ net, images: `${images}.images` }))));
  });

/** Trains the nets here for an epoch, and leaves each in NET.safetensors. */
const goThere = async (at: Project, chosen: readonly Exchanged[]): Promise<void> => {
  const trained = [...new Set(chosen.map(({ images }) => images))].map((images) => {
    const own = chosen.filter((each) => each.images === images);
    const students = own.map(({ net, code }) => `{ ...learner(undistill.${code}, recipe), label: '${net}' }`);
    return { name: images, images, teacher: 'small', students: students.join(', ') };
  });
  await at.write('there.ts', experiments(trained));
  await undistill(at, 'run', 'there.ts', '--only', 'scratch');
  for (const { net, images } of chosen)
    await undistill(at, 'export', images, '--stage', `${net}/scratch`, '--out', `${net}.safetensors`);
  for (const { images } of trained) await writeImages(at, images);
};

/** Makes a teacher of each NET.torch.safetensors, and asks it. */
const comeBack = async (at: Project, chosen: readonly Exchanged[]): Promise<void> => {
  const taken = chosen.map(({ net, code, images }) => {
    const teacher = `pretrained('${net}.torch.safetensors', undistill.${code})`;
    return { name: net, images, teacher, students: 'small' };
  });
  await at.write('back.ts', experiments(taken));
  await undistill(at, 'run', 'back.ts', '--only', 'teacher');
};

const compare = async (at: Project, { net, code, images }: Exchanged): Promise<Row> => {
  const { tensors } = await readTensors(join(at.folder, `${net}.safetensors`));
  return {
    net,
    code,
    tensors: Object.keys(tensors).length,
    numbers: Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0),
    there: await difference(await logitsOf(at, images, `seed-0/${net}/scratch`), join(at.folder, `${net}.there`)),
    back: await difference(await logitsOf(at, net, 'teacher'), join(at.folder, `${net}.back`)),
  };
};

/** @param python a Python with torch, numpy and safetensors */
export const exchange = async (
  python: string,
  chosen: readonly Exchanged[] = nets,
): Promise<{ readonly rows: readonly Row[]; readonly versions: Versions }> => {
  const at = project();
  try {
    await goThere(at, chosen);
    const versions = await inPython(python, at.folder, chosen);
    await comeBack(at, chosen);
    const rows: Row[] = [];
    for (const each of chosen) rows.push(await compare(at, each));
    return { rows, versions };
  } finally {
    at.remove();
  }
};

const shown = ({ largest, logit }: Difference): string => `${largest.toExponential(1)} (of ${logit.toPrecision(3)})`;

const page = async (rows: readonly Row[], { torch, safetensors, python }: Versions): Promise<string> => `\
# Weights to PyTorch and back

\`node --import tsx test/pytorch/exchange.ts --torch PYTHON\`: undistill ${await version()}, Node ${process.version}; PyTorch ${torch},
safetensors ${safetensors}, Python ${python}. The nets there are those of \`test/models/reference.py\`.

There: trained here for two steps, \`undistill export\`, \`load_state_dict(strict=True)\` in PyTorch. Back: PyTorch's random weights with random
statistics in the batch norms, \`safetensors.torch.save_file\`, \`pretrained()\` here. Each time the largest absolute difference between both sides' logits
on 16 images of 32×32, and in brackets the largest logit.

| net | tensors | numbers | there | back |
|---|--:|--:|--:|--:|
${rows.map(({ code, tensors, numbers, there, back }) => `| \`${code}\` | ${tensors} | ${numbers.toLocaleString('en')} | ${shown(there)} | ${shown(back)} |`).join('\n')}
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { torch = 'python3', only } = parseArgs({
    options: { torch: { type: 'string' }, only: { type: 'string', multiple: true } },
  }).values;
  const { rows, versions } = await exchange(torch, only && nets.filter(({ net }) => only.includes(net)));
  process.stdout.write(await page(rows, versions));
}
