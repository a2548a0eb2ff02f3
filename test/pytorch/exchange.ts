import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { orFail, orThrow } from '../../src/core/errors.js';
import { decodeSafetensors, encodeSafetensors, type Safetensors } from '../../src/core/safetensors.js';
import { version } from '../../src/core/version.js';
import { type SyntheticOptions, synthetic } from '../../src/data/synthetic.js';
import { type Project, project } from '../cli/project.js';

/**
 * Exchanges weights with PyTorch, both ways, through nothing but what a user has: `undistill run`, `undistill export` and
 * `pretrained()` here, `load_state_dict` and `safetensors.torch` there, and compares the logits on the same images.
 *
 *     node --import tsx test/pytorch/exchange.ts --torch PYTHON > results/exchange.md
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
} as const satisfies Record<string, SyntheticOptions>;

export const nets: readonly Exchanged[] = [
  { net: 'plainCnn', code: 'plainCnn()', images: 'colour' },
  { net: 'preResNet-20', code: 'preResNet(20)', images: 'colour' },
  { net: 'resNet-18', code: 'resNet(18)', images: 'colour' },
  { net: 'resNet-50', code: 'resNet(50)', images: 'colour' },
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

const experimentFile = (name: string, images: keyof typeof kinds, teacher: string, students: string): string => `\
import * as undistill from 'undistill';
import { adam, constant, experiment, learner, none, plainCnn, pretrained, scratch, synthetic } from 'undistill';

const recipe = { epochs: 1, batch: 16, optimizer: adam(), schedule: constant(1e-3) };

export default experiment({
  name: '${name}',
  data: synthetic(${JSON.stringify(kinds[images])}),
  validation: 0,
  teacher: ${teacher},
  students: [${students}],
  defenses: [none()],
  attacks: [scratch()],
  seeds: [0],
});
`;

const small = 'learner(plainCnn({ width: 1 }), recipe)';

const undistill = async (at: Project, ...args: string[]): Promise<void> => {
  const { code, out, err } = await at.undistill(args);
  if (code !== 0) throw new Error(`undistill ${args.join(' ')}: ${code}\n${out}${err}`);
};

const readTensors = async (path: string): Promise<Safetensors> => orFail(decodeSafetensors(await readFile(path)));

/** The logits of a model of a run on the test images. */
const logitsOf = async (at: Project, run: string, model: string): Promise<Safetensors['tensors'][string]> => {
  const { stages } = JSON.parse(await at.read(`runs/${run}/plan.json`)) as { stages: { label: string; id: string }[] };
  const id = stages.find(({ label }) => label === `${model}/evaluate`)?.id as string;
  const { tensors } = await readTensors(join(at.folder, 'runs/.store', id, 'logits.safetensors'));
  return tensors['last/test'] as Safetensors['tensors'][string];
};

const difference = async (ours: Safetensors['tensors'][string], theirs: string): Promise<Difference> => {
  const { logits } = (await readTensors(theirs)).tensors;
  if (logits === undefined || `${logits.shape}` !== `${ours.shape}`) throw new Error(`${theirs}: not ${ours.shape}`);
  const magnitudes = [...logits.data].map(Math.abs);
  return {
    largest: Math.max(...magnitudes.map((_, i) => Math.abs((logits.data[i] as number) - (ours.data[i] as number)))),
    logit: Math.max(...magnitudes),
  };
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
    const child = spawn(python, [script, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (data) => {
      said += data;
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(said)) : reject(new Error(`${python}: ${code}`))));
    child.stdin.end(JSON.stringify(jobs.map(({ net, images }) => ({ net, images: `${images}.images` }))));
  });

/** @param python a Python with torch, numpy and safetensors */
export const exchange = async (
  python: string,
  chosen: readonly Exchanged[] = nets,
): Promise<{ readonly rows: readonly Row[]; readonly versions: Versions }> => {
  const at = project();
  try {
    for (const kind of new Set(chosen.map(({ images }) => images))) {
      await writeImages(at, kind);
      const own = chosen.filter(({ images }) => images === kind);
      const students = own.map(({ net, code }) => `{ ...learner(undistill.${code}, recipe), label: '${net}' }`);
      await at.write(`${kind}.ts`, experimentFile(kind, kind, small, students.join(', ')));
      await undistill(at, 'run', `${kind}.ts`, '--only', 'scratch');
      for (const { net } of own)
        await undistill(at, 'export', kind, '--stage', `${net}/scratch`, '--out', `${net}.safetensors`);
    }
    const versions = await inPython(python, at.folder, chosen);
    const rows: Row[] = [];
    for (const { net, code, images } of chosen) {
      const teacher = `pretrained('${net}.torch.safetensors', undistill.${code})`;
      await at.write(`${net}.ts`, experimentFile(net, images, teacher, small));
      await undistill(at, 'run', `${net}.ts`, '--only', 'teacher');
      const { tensors } = await readTensors(join(at.folder, `${net}.safetensors`));
      rows.push({
        net,
        code,
        tensors: Object.keys(tensors).length,
        numbers: Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0),
        there: await difference(await logitsOf(at, images, `seed-0/${net}/scratch`), join(at.folder, `${net}.there`)),
        back: await difference(await logitsOf(at, net, 'teacher'), join(at.folder, `${net}.back`)),
      });
    }
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
  const { torch = 'python3' } = parseArgs({ options: { torch: { type: 'string' } } }).values;
  const { rows, versions } = await exchange(torch);
  process.stdout.write(await page(rows, versions));
}
