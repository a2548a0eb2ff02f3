import { appendFile, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { orFail, orThrow } from '../src/core/errors.js';
import { isFile } from '../src/core/files.js';
import { key } from '../src/core/random.js';
import { decodeSafetensors, encodeSafetensors } from '../src/core/safetensors.js';
import { dispose } from '../src/core/tree.js';
import { batchesPerEpoch } from '../src/data/batches.js';
import { type Dataset, noAugmentation } from '../src/data/dataset.js';
import { loadEngine } from '../src/engine/engine.js';
import { allImages } from '../src/experiment/data-access.js';
import { airbench, cifar10, type Learner, learner, preResNet, recipes, resNet } from '../src/index.js';
import { spread } from '../src/results/spread.js';
import { accuracy } from '../src/train/accuracy.js';
import { classifier } from '../src/train/classifier.js';
import { logitsOn } from '../src/train/evaluate.js';
import { type Checkpoint, fit } from '../src/train/fit.js';
import type { ImageSet } from '../src/train/images.js';
import { crossEntropy } from '../src/train/losses.js';
import { asInARun, describe, openPython, within } from './common.js';

const usage = `npm run bench:accuracy -- [NET …] [--torch PYTHON] [--data PATH] [--seeds 0,1,2] [--epochs N] [--precision bfloat16]
                              [--threads N] [--out FILE]

Whole trainings on all of CIFAR-10 by a short recipe: accuracy on the test images, as they are and over several views, and seconds of
the steps, ours with what writing their graphs takes. With --torch, PyTorch's by the same recipe, compiled before, in turn with ours. Nets:

  airbench     the ten-epoch net
  preResNet20  in 20 epochs
  resNet18     in 20 epochs; with --precision bfloat16 as in experiments/cifar10-table.ts

--epochs trains shorter, by the same shape of schedule. --precision is of convolutions, on both sides. --out keeps what each training
came to, in CSV; what is there is not trained again, and what was broken off is taken up after its last whole epoch.`;

const nets: Readonly<Record<string, Learner>> = {
  airbench: learner(airbench(), recipes.cifar10Fast),
  preResNet20: learner(preResNet(20), { ...recipes.cifar10FastPreResNet, epochs: 20 }),
  resNet18: learner(resNet(18), { ...recipes.cifar10FastResNet, epochs: 20 }),
};

/** What a training came to; accuracies in 0 … 1. */
interface Outcome {
  readonly accuracy: number;
  readonly views: number;
  readonly seconds: number;
}

/** Which training it is. */
interface Training {
  readonly net: string;
  readonly by: 'undistill' | 'PyTorch';
  readonly precision: string;
  readonly epochs: number;
  readonly seed: number;
}

const columns = 'net,by,precision,epochs,seed,accuracy,views,seconds';

/** Where a training keeps what it has come to, and by which name; nowhere without a path. */
interface Kept {
  readonly path: string | undefined;
  readonly training: string;
}

/** What trainings came to, kept in a file if there is one: what is there is not made again, nor what another file beside it has of one broken off. */
const ledger = async (path: string | undefined) => {
  const text = path === undefined ? '' : await readFile(path, 'utf8').catch(() => '');
  const [head, ...lines] = text.split('\n').filter(Boolean);
  if (head !== undefined && head !== columns)
    throw new Error(`${path} is no file of this: its first line is not ${columns}`);
  const known = new Map(
    lines.map((line) => {
      const fields = line.split(',');
      const [accuracy, views, seconds] = fields.slice(-3).map(Number) as [number, number, number];
      return [fields.slice(0, -3).join(','), { accuracy, views, seconds }] as const;
    }),
  );
  if (path !== undefined && head === undefined) await writeFile(path, `${columns}\n`);
  return async (
    { net, by, precision, epochs, seed }: Training,
    train: (kept: Kept) => Promise<Outcome>,
  ): Promise<Outcome> => {
    const training = [net, by, precision, epochs, seed].join(',');
    const before = known.get(training);
    if (before !== undefined) return before;
    const partial = path === undefined ? undefined : `${path}.${by}.partial`;
    const { accuracy, views, seconds } = await train({ path: partial, training });
    if (path !== undefined) await appendFile(path, `${training},${accuracy},${views},${seconds.toFixed(1)}\n`);
    if (partial !== undefined) await rm(partial, { force: true });
    return { accuracy, views, seconds };
  };
};

/** A training that was broken off, if this is it. */
const takenUp = async ({ path, training }: Kept): Promise<Checkpoint | undefined> => {
  if (path === undefined || !(await isFile(path))) return undefined;
  const { tensors, metadata } = orFail(decodeSafetensors(await readFile(path)));
  return metadata.training === training ? { tensors, meta: JSON.parse(metadata.meta ?? '') } : undefined;
};

const keep = async ({ path, training }: Kept, { tensors, meta }: Checkpoint): Promise<void> => {
  if (path === undefined) return;
  await writeFile(`${path}.new`, encodeSafetensors(tensors, { training, meta: JSON.stringify(meta) }));
  await rename(`${path}.new`, path);
};

interface Images {
  readonly train: ImageSet;
  readonly test: ImageSet;
}

const imagesOf = (data: Dataset): Images => {
  const { train } = allImages({ data, experiment: { fraction: 1, validation: 0, report: 'test' } });
  const { test: examples } = data;
  const indices = Int32Array.from({ length: examples.count }, (_, i) => i);
  return { train, test: { ...train, examples, indices, augmentation: noAugmentation } };
};

const ours = async (
  { network, recipe }: Learner,
  { train, test }: Images,
  seed: number,
  kept: Kept,
): Promise<Outcome> => {
  const net = network.build(train.shape, 10);
  const { augmentation = train.augmentation, smoothing = 0 } = recipe;
  const spec = classifier({
    learner: { network: net, recipe },
    data: { ...train, augmentation },
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels, { smoothing }) }),
  });
  const { last, seconds } = await fit(spec, {
    key: key(`seed ${seed}`),
    checkpointEvery: batchesPerEpoch(train.indices.length, recipe.batch),
    load: () => takenUp(kept),
    save: (checkpoint) => keep(kept, checkpoint),
    epoch: async (history) => console.error(`${network.name}, seed ${seed}: epoch ${history.length}`),
    progress: () => undefined,
    warn: console.error,
  });
  const of = (views: boolean) =>
    accuracy({ values: logitsOn(net, last, test, { views }), classes: 10 }, test.examples.labels);
  const outcome = { accuracy: of(false), views: of(true), seconds };
  dispose(last);
  return outcome;
};

/** What PyTorch's side is asked. */
const request = (
  name: string,
  { recipe }: Learner,
  { train, test }: Images,
  file: string,
  seed: number,
  { path, training }: Kept,
) => {
  const { epochs, batch, schedule, optimizer, augmentation = train.augmentation, lookahead, smoothing = 0 } = recipe;
  const stepsPerEpoch = batchesPerEpoch(train.indices.length, batch);
  const rates = Array.from({ length: epochs * stepsPerEpoch }, (_, step) =>
    schedule.at({ epoch: Math.floor(step / stepsPerEpoch), step, stepsPerEpoch, epochs }),
  );
  return {
    ...{ net: name, seed, data: file, images: train.examples.count, tests: test.examples.count },
    ...{ partial: path ?? null, training },
    precision: recipe.precision ?? 'float32',
    ...{ side: train.shape.height, channels: train.shape.channels, ...train.normalisation },
    recipe: {
      ...{ batch, rates, augmentation, lookahead, smoothing },
      optimizer: { name: optimizer.name, ...optimizer.params },
    },
  };
};

/** Everything as bytes, as `accuracy.py` reads it. */
const written = async (folder: string, { train, test }: Images): Promise<string> => {
  const file = join(folder, 'images');
  const all = [train, test].map(({ examples }) => examples);
  await writeFile(
    file,
    Buffer.concat([...all.map(({ images }) => images.slice()), ...all.map(({ labels }) => Uint8Array.from(labels))]),
  );
  return file;
};

/** In percent or minutes, with its 95 % interval where there are several. */
const inWords = (values: readonly number[], digits: number): string => {
  const { mean, interval } = spread(values) ?? { mean: Number.NaN };
  return `${mean.toFixed(digits)}${interval === undefined ? '' : ` (${interval.map((each) => each.toFixed(digits)).join(' to ')})`}`;
};

const row = (name: string, by: string, outcomes: readonly Outcome[]): string =>
  `| ${[
    name,
    by,
    inWords(
      outcomes.map((each) => 100 * each.accuracy),
      2,
    ),
    inWords(
      outcomes.map(({ views }) => 100 * views),
      2,
    ),
    inWords(
      outcomes.map(({ seconds }) => seconds / 60),
      1,
    ),
    outcomes.map((each) => (100 * each.accuracy).toFixed(2)).join(', '),
  ].join(' | ')} |`;

const main = async (): Promise<void> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      torch: { type: 'string' },
      data: { type: 'string' },
      seeds: { type: 'string', default: '0,1,2' },
      epochs: { type: 'string' },
      precision: { type: 'string', default: 'float32' },
      out: { type: 'string' },
      threads: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const wanted = positionals.length === 0 ? Object.keys(nets) : positionals;
  const strange = wanted.find((name) => !(name in nets));
  if (strange !== undefined) throw new Error(`${strange} is none of ${Object.keys(nets).join(', ')}`);
  const { precision } = values;
  if (precision !== 'float32' && precision !== 'bfloat16') throw new Error(`${precision} is none of float32, bfloat16`);
  const outcome = await ledger(values.out);
  const engine = await loadEngine(values.threads === undefined ? {} : { threads: Number(values.threads) });
  const images = imagesOf(await orThrow(cifar10(values.data === undefined ? {} : { path: values.data }).load()));
  await within(async (folder) => {
    const torch =
      values.torch === undefined
        ? undefined
        : await openPython<{ version: string; device: string }>(values.torch, 'accuracy.py', engine.threads);
    try {
      const file = torch === undefined ? '' : await written(folder, images);
      console.log(`npm run bench:accuracy -- ${process.argv.slice(2).join(' ')}\n\n${describe(engine)}`);
      if (torch !== undefined) console.log(`PyTorch ${torch.version}, torch.compile, ${torch.device}`);
      console.log('\n| net | by | accuracy, % | over views, % | minutes | accuracies by seed |');
      console.log('| --- | --- | ---: | ---: | ---: | --- |');
      for (const name of wanted) {
        const chosen = nets[name] as Learner;
        const epochs = values.epochs === undefined ? chosen.recipe.epochs : Number(values.epochs);
        const of: Learner = {
          ...chosen,
          recipe: { ...chosen.recipe, epochs, ...(precision === 'float32' ? {} : { precision }) },
        };
        const own: Outcome[] = [];
        const theirs: Outcome[] = [];
        for (const seed of values.seeds.split(',').map(Number)) {
          const training = { net: name, precision, epochs, seed };
          const train = (kept: Kept) => ours(of, images, seed, kept);
          own.push(await outcome({ ...training, by: 'undistill' }, train));
          if (torch === undefined) continue;
          const ask = (kept: Kept) => torch.ask<Outcome>(request(name, of, images, file, seed, kept));
          theirs.push(await outcome({ ...training, by: 'PyTorch' }, ask));
        }
        console.log(row(name, 'undistill', own));
        if (theirs.length > 0) console.log(row(name, 'PyTorch', theirs));
      }
    } finally {
      torch?.close();
    }
  });
};

await asInARun(main);
