import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { key } from '../core/random.js';
import { dispose } from '../core/tree.js';
import { imagesAt } from '../data/pixels.js';
import { sample } from '../data/subset.js';
import { allImages } from '../experiment/data-access.js';
import type { Stage, Work } from '../experiment/stage.js';
import { type Bytes, type Diagnostic, diagnosticsOf, type Synthesis } from '../metrics/synthesis.js';
import { networkOf } from '../models/checked.js';
import type { ImageShape, Network, NetworkPlugin, Variables } from '../models/network.js';
import { logitsOn } from '../train/evaluate.js';
import { bytesOf, type ImageSet, normalise, unpacked } from '../train/images.js';
import { type Logits, logProbabilities } from '../train/logits.js';
import { batchNormDistances as distancesOf } from '../train/synthesis-losses.js';
import { files, input } from './outputs.js';
import { readPool } from './pool.js';
import { readModel } from './train-stage.js';
import type { RunEnvironment, StageRun } from './types.js';

/** What was seen in synthesised images. */
export interface Inspection {
  readonly shape: ImageShape;
  /** Images in the pool. */
  readonly count: number;
  /** The first images of the pool: at most 500 of them. */
  readonly images: readonly {
    /** What it was made for, or taken for. */
    readonly label: number;
    /** Probabilities by class: the victim's, and those of a net that was trained honestly. */
    readonly teacher: readonly number[];
    readonly verifier: readonly number[];
  }[];
  readonly diagnostics: readonly Diagnostic[];
}

const inspected = 500;
/** Images whose batch-norm statistics are compared: those of one batch. */
const imagesAtOnce = 256;

/** Looks at the images that a stage synthesised, with its victim and with a net that saw real images. */
export const inspectStage = async (
  { plan: { experiment }, data, store }: RunEnvironment,
  stage: Stage,
  work: Extract<Work, { readonly kind: 'inspect' }>,
  { staging, warn }: StageRun,
): Promise<undefined> => {
  const pool = await readPool(await input(store, stage, 'images'), inspected);
  if (pool === undefined) {
    throw new FailureError(
      failure('plugin', 'the attack kept no images', {
        where: stage.label,
        remedy: 'Keep them with context.images, or leave `synthesises` (or `pool`) out.',
      }),
    );
  }
  const { shape } = pool;
  const size = shape.height * shape.width * shape.channels;
  const count = Math.min(inspected, pool.labels.length);
  const labels = pool.labels.slice(0, count);
  const made: Bytes = { images: pool.images.subarray(0, count * size), size };
  const { train } = allImages({ data, experiment });
  const set: ImageSet = {
    ...train,
    examples: { images: made.images, labels: Uint16Array.from(labels), count },
    indices: Int32Array.from({ length: count }, (_, i) => i),
  };
  const real = some(train, count);

  const answers = async <Seen>(role: string, network: Network, use: (variables: Variables) => Seen) => {
    const variables = await readModel(await input(store, stage, role), network, experiment.select);
    try {
      const logits: Logits = { values: logitsOn(network, variables, set), classes: network.classes };
      return { logits, seen: use(variables) };
    } finally {
      dispose(variables);
    }
  };
  const net = (network: NetworkPlugin): Network => networkOf(network, data.image, data.classes.length);
  const network = net(work.teacher);
  const victim = await answers('victim', network, (variables): Pick<Synthesis, 'distances'> => {
    if (!network.variables.some(({ over }) => over === 'images')) return {};
    const of = (bytes: Bytes) => statistics(network, variables, set, bytes);
    return { distances: { made: of(made), real: of(real) } };
  });
  const verifier = await answers('verifier', net(work.verifier), () => undefined);
  const diagnostics = diagnosticsOf({
    victim: victim.logits,
    verifier: verifier.logits,
    labels,
    classes: data.classes,
    made,
    real,
    train: some(train, 5000),
    shape,
    clipped: pool.clipped,
    ...victim.seen,
  });
  for (const { warning, sentence } of diagnostics) if (warning) warn(`images: ${sentence}`);
  const result: Inspection = {
    shape,
    count: pool.count,
    images: labels.map((label, i) => ({
      label,
      teacher: probabilities(victim.logits, i),
      verifier: probabilities(verifier.logits, i),
    })),
    diagnostics,
  };
  await staging.writeJson(files.result, result);
};

/** Images of a set, the same ones each time. */
const some = ({ examples, indices, shape }: ImageSet, count: number): Bytes => {
  const size = shape.height * shape.width * shape.channels;
  return { images: imagesAt(examples.images, size, sample(indices, count, key('inspect'))), size };
};

/** How far each batch norm's input statistics on some images are from the running ones, by name. */
const statistics = (
  network: Network,
  variables: Variables,
  { shape, normalisation }: ImageSet,
  { images, size }: Bytes,
): Readonly<Record<string, number>> => {
  const found: Record<string, number> = {};
  tf.tidy(() => {
    const bytes = bytesOf(images.slice(0, imagesAtOnce * size), shape);
    const seen = normalise(unpacked({}, { bytes }).images, normalisation);
    const { batchStats = {} } = network.apply(variables, seen, { mode: 'eval', batchStats: true });
    for (const [name, value] of Object.entries(distancesOf(batchStats, variables.stats)))
      found[name] = value.dataSync()[0] as number;
  });
  return found;
};

/** To four decimal places. */
const probabilities = (logits: Logits, row: number): readonly number[] =>
  Array.from(logProbabilities(logits, row), (log) => Math.round(1e4 * Math.exp(log)) / 1e4);
