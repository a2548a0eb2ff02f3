/** A new plugin's files, by the name of its value (`myAttack`) and the base of its files. */
export interface Naming {
  readonly value: string;
  readonly file: string;
}

const attack = ({ value }: Naming): string => `\
import type * as tf from '@tensorflow/tfjs';
import { between, defineAttack, labelled, option, positive } from 'undistill/plugin';
import { classifier, distillation } from 'undistill/train';

/** Say here what the attacker does, and where it comes from: a paper and its equation. */
export const ${value} = defineAttack({
  name: '${value}',
  // A result is known by the code of this file: change it, and what it made is made anew.
  source: import.meta.url,
  about: 'Distillation: α τ² KL(victim ‖ student) + (1−α) CE',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.5, "α, the weight of the victim's answers against the labels"),
  },
  // The least access it works with: 'label', 'probabilities', 'logits' or 'weights'.
  needs: 'probabilities',
  // What the attacker owns: labelled, unlabelled, or { kind: 'none' }.
  data: labelled,
  make: (options) => ({
    // What \`fit\` makes is kept under its name, checkpointed and resumed.
    steal: (victim, learner, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          validation: data.validation,
          victim,
          // Asked about each augmented batch; every image is a query, which is counted.
          target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
          loss: ({ logits, target: { teacher }, batch: { labels } }) =>
            ${value}Loss({ logits, teacher, labels }, options),
        }),
      ),
  }),
});

/** The loss by itself, to be tested on numbers worked out by hand: a batch mean. */
export const ${value}Loss = (
  given: { readonly logits: tf.Tensor2D; readonly teacher: tf.Tensor2D; readonly labels: tf.Tensor1D },
  options: { readonly temperature: number; readonly alpha: number },
) => distillation({ ...given, ...options });
`;

const dataFree = ({ value }: Naming): string => `\
import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, normals, option, wholeAtLeast } from 'undistill/plugin';
import { batchNormDistance, distilPool, makePool, type Synthesiser } from 'undistill/synthesis';
import { adam, constant, crossEntropy, type OptimizerState, valueAndGradient } from 'undistill/train';

/** What is improved. */
type Dream = { readonly images: tf.Tensor4D; readonly slots: OptimizerState };

const optimizer = adam();

/** What an image is to be: of the class asked for, and like those that the victim was trained on. Batch means. */
export const ${value}Terms = (
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  [found, running]: Parameters<typeof batchNormDistance>,
) => ({ crossEntropy: crossEntropy(logits, labels), batchNorms: batchNormDistance(found, running) });

/** Where a batch of images begins, and one step that improves it. */
const synthesiser = (batch: number, iterations: number, weight: number): Synthesiser<Dream, 'weights'> => ({
  batch,
  phases: [{ iterations, schedule: constant(0.05) }],
  init: (key, { input: { height, width, channels } }) => {
    const noise = normals(key, batch * height * width * channels);
    const images = tf.tensor4d(noise, [batch, height, width, channels]);
    return { images, slots: optimizer.init({ images }) };
  },
  // A pure function of tensors: it is compiled, and its JavaScript then runs once.
  step: (_, __, { victim, state: { images, slots }, labels, learningRate }) => {
    const { loss, gradients, aux } = valueAndGradient(
      ({ images }) => {
        const { logits, batchStats = {} } = victim.apply(images as tf.Tensor4D, { batchStats: true });
        const terms = ${value}Terms(logits, labels, [batchStats, victim.variables.stats]);
        return { loss: tf.add<tf.Scalar>(terms.crossEntropy, tf.mul(terms.batchNorms, weight)), aux: terms };
      },
      { images },
    );
    const { params, state } = optimizer.update(gradients, slots, { images }, learningRate);
    return { state: { images: params.images as tf.Tensor4D, slots: state }, metrics: { loss, ...aux } };
  },
  images: (_, { images }) => images,
});

/** Say here what the attacker does, and where it comes from: a paper and its equation. */
export const ${value} = defineAttack({
  name: '${value}',
  // A result is known by the code of this file: change it, and what it made is made anew.
  source: import.meta.url,
  about: 'Without data: noise is changed until the victim is confident of a class; the student is distilled on it',
  options: {
    batches: option(wholeAtLeast(1), 10, 'Batches of images'),
    batch: option(wholeAtLeast(2), 100, 'Images of a batch'),
    iterations: option(wholeAtLeast(1), 200, 'Steps that a batch takes'),
    weight: option(atLeast(0), 1, 'Weight of the distance between what batch norms see and what they saw in training'),
  },
  // What \`--scale 0.1\` shortens, beside the epochs of recipes.
  scaled: ({ iterations }, factor) => ({ iterations: Math.max(1, Math.round(factor * iterations)) }),
  // The step calls \`victim.apply\`. A black box has \`victim.logProbabilities(pixels)\`, without a gradient.
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ batches, batch, iterations, weight }) => ({
    // Said before anything is trained.
    refuses: ({ variables }) =>
      variables.some(({ kind }) => kind === 'stat') ? undefined : "the victim's net has no batch norms",
    // Made once for all students, and kept as PNG; \`params\` are the options that the images depend on.
    pool: {
      params: { batches, batch, iterations, weight },
      make: (victim, context) => makePool(synthesiser(batch, iterations, weight), { batches }, victim, context),
    },
    steal: (victim, learner, context) => distilPool({ temperature: 3 }, victim, learner, context),
  }),
});
`;

const defense = ({ value }: Naming): string => `\
import type * as tf from '@tensorflow/tfjs';
import { defineDefense, option, positive } from 'undistill/plugin';
import { soften } from 'undistill/train';

/** Say here what the owner does, and where it comes from: a paper and its equation. */
export const ${value} = defineDefense({
  name: '${value}',
  // A result is known by the code of this file: change it, and what it made is made anew.
  source: import.meta.url,
  about: 'Probabilities are softened: p^(1/τ), rescaled to sum to 1',
  options: {
    temperature: option(positive, 2, 'τ: above 1 flattens the answers, below sharpens them'),
  },
  // The most that can be asked of the victim: 'label' or 'probabilities' where answers are changed.
  exposes: 'probabilities',
  make: ({ temperature }) => ({
    // The most likely class stays as it is, so that an attack on labels steals the same as without this defence.
    preserves: 'label',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: ${value}Answers(logProbabilities, temperature) }),
    },
  }),
});

/** The answers by themselves, to be tested on numbers worked out by hand: log-probabilities to the same. */
export const ${value}Answers = (logProbabilities: tf.Tensor2D, temperature: number): tf.Tensor2D =>
  soften(logProbabilities, temperature);
`;

const trainedDefense = ({ value }: Naming): string => `\
import type * as tf from '@tensorflow/tfjs';
import { defineDefense, option, positive } from 'undistill/plugin';
import { classifier, nastyLoss } from 'undistill/train';

/** Say here what the owner does, and where it comes from: a paper and its equation. */
export const ${value} = defineDefense({
  name: '${value}',
  // A result is known by the code of this file: change it, and what it made is made anew.
  source: import.meta.url,
  about: 'A teacher far from a normal one in all but its labels: CE − ω τ² KL(teacher ‖ normal teacher)',
  options: {
    omega: option(positive, 0.04, 'ω, the weight of the divergence'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
  },
  // The most that can be asked of the victim: all, for its weights are what the defence makes.
  exposes: 'weights',
  make: (options) => ({
    // Trains another teacher. \`adversary\` is a net trained normally: the undefended teacher, if none is named.
    protect: ({ learner }, { fit, train, validation, adversary: { learner: normal, variables } }) =>
      fit(
        'teacher',
        classifier({
          learner,
          data: train,
          validation,
          // Ends a training that only guesses.
          guardChance: true,
          // What the step needs and does not change.
          frozen: variables,
          target: ({ frozen, images }) => ({ adversary: normal.network.apply(frozen, images, { mode: 'eval' }).logits }),
          loss: ({ logits, target: { adversary }, batch: { labels } }) =>
            ${value}Loss({ logits, adversary, labels }, options),
        }),
      ),
  }),
});

/** The loss by itself, to be tested on numbers worked out by hand: a batch mean. */
export const ${value}Loss = (
  given: { readonly logits: tf.Tensor2D; readonly adversary: tf.Tensor2D; readonly labels: tf.Tensor1D },
  options: { readonly omega: number; readonly temperature: number },
) => nastyLoss({ ...given, adversaryLogits: given.adversary, ...options });
`;

const network = ({ value }: Naming): string => `\
import { defineNetwork, layers, option, wholeAtLeast } from 'undistill/plugin';

const { batchNorm, classifier, conv, features, globalMean, marked, relu, sequential } = layers;

/** Say here where the architecture comes from, how many parameters it has, and which activations it names. */
export const ${value} = defineNetwork({
  name: '${value}',
  // A result is known by the code of this file: change it, and what it made is made anew.
  source: import.meta.url,
  about: 'Two convolutions, the mean over the image and a dense layer',
  options: { width: option(wholeAtLeast(1), 16, 'Channels of the first convolution; the second has twice as many') },
  make: ({ width }) => ({
    // Names are PyTorch's, so that weights can be exchanged.
    layers: sequential(
      conv('conv1', width, { kernel: 3, padding: 1 }),
      batchNorm('bn1'),
      relu,
      // An activation that attacks may ask for.
      marked('block1'),
      conv('conv2', 2 * width, { kernel: 3, stride: 2, padding: 1 }),
      batchNorm('bn2'),
      relu,
      marked('block2'),
      globalMean,
      features,
      classifier('fc'),
    ),
  }),
});
`;

const metric = ({ value }: Naming): string => `\
import { logProbabilities, type Metric, meanOverRows } from 'undistill';

/** Say here what it measures, and where it comes from: a paper and its equation. */
export const ${value}: Metric = {
  name: '${value}',
  unit: 'number',
  better: 'lower',
  describe: 'Mean squared distance of the probabilities from the one-hot label (Brier score), 0 to 2.',
  // A number is known by the code of this file: change it, and it is computed anew, of stored answers.
  source: import.meta.url,
  of: ({ logits, labels }) =>
    meanOverRows(logits, (row) =>
      logProbabilities(logits, row).reduce((sum, log, k) => sum + (Math.exp(log) - Number(k === labels[row])) ** 2, 0),
    ),
};
`;

const dataset = ({ value, file }: Naming): string => `\
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { datasetOf, defineDataset, FailureError, failure, option, text } from 'undistill/plugin';

/** Pixels of an image; three channels are red, green and blue. */
const image = { height: 8, width: 8, channels: 1 };

/** In the order of their labels: 0 is the first. */
const classes = ['lying', 'standing'];

/** Say here what the images show, who collected them and where they can be had. (Pictures in folders are \`imageFolder({ path })\`.) */
export const ${value} = defineDataset({
  name: '${value}',
  // A result is known by the code of this file and by the images: change one, and what was made is made anew.
  source: import.meta.url,
  about: 'Images as numbers: train.csv and test.csv with a line for each, its label and its pixels row by row',
  options: {
    // The set is the same wherever it lies: another place is \`--data PATH\`.
    path: option(text, 'data/${file}', 'The folder of the two files; a relative path starts at the working folder'),
  },
  make: ({ path }) => ({
    // Checks that shapes, labels and classes fit each other, and measures the normalisation.
    load: () =>
      datasetOf('${value}', async () => {
        const part = async (name: string) => ${value}Images(await readFile(join(path, name), 'utf8'), join(path, name));
        return { image, classes, train: await part('train.csv'), test: await part('test.csv') };
      }),
  }),
});

/** Images and labels of a text, to be tested on a few lines: bytes 0 (black) to 255, [count, height, width, channels] flat. */
export const ${value}Images = (csv: string, where: string) => {
  const lines = csv.trim().split('\\n');
  const size = image.height * image.width * image.channels;
  const images = new Uint8Array(lines.length * size);
  const labels = new Uint8Array(lines.length);
  for (const [i, line] of lines.entries()) {
    const [label = '', ...pixels] = line.split(',').map((number) => number.trim());
    const isByte = (number: string) => /^\\d+$/.test(number) && Number(number) <= 255;
    if (pixels.length !== size || ![label, ...pixels].every(isByte)) {
      const remedy = \`A line is a label and \${size} pixels, whole numbers from 0 to 255 with commas between.\`;
      throw new FailureError(failure('data', \`line \${i + 1} is no image with its label\`, { where, remedy }));
    }
    labels[i] = Number(label);
    images.set(pixels.map(Number), i * size);
  }
  return { images, labels, count: lines.length };
};
`;

/** What a test imports that runs an experiment. */
const imports = (names: string): string => `\
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as tf from '@tensorflow/tfjs';
import { ${names} } from 'undistill';`;

/** Where it runs, and what it trains. */
const setting = (file: string): string => `\
const inFolder = async (use: (folder: string) => Promise<void>) => {
  const folder = await mkdtemp(join(tmpdir(), '${file}-'));
  await use(folder).finally(() => rm(folder, { recursive: true }));
};

const epochs = 4;
const small = learner(plainCnn({ width: 4 }), { epochs, batch: 16, optimizer: adam(), schedule: constant(0.01) });`;

const attackTest = ({ value, file }: Naming): string => `\
${imports('adam, constant, experiment, learner, none, plainCnn, runExperiment, synthetic')}
import { ${value}, ${value}Loss } from './${file}.js';

${setting(file)}

test('${value} steals a small network, and asks about every image once an epoch', () =>
  inFolder(async (folder) => {
    const { matrix, records } = await runExperiment(
      experiment({
        name: 'test',
        data: synthetic({ train: 200 }),
        validation: 0.2,
        teacher: small,
        students: ['self'],
        defenses: [none()],
        attacks: [${value}()],
        seeds: [0],
      }),
      { folder },
    );
    const [cell] = matrix.cells;
    assert.equal(cell?.status, 'done', cell?.reason);
    // Four classes: guessing gives a quarter.
    assert.ok(Number(cell?.accuracy?.mean) > 0.5, \`accuracy \${cell?.accuracy?.mean}\`);
    const training = records.find(({ kind }) => kind === 'steal')?.training;
    // 200 images, of which a fifth is held out.
    assert.equal(training?.queries, epochs * 160);
    assert.equal(training?.backward, 0);
  }));

test('the loss of ${value} is what the paper says', () => {
  const loss = ${value}Loss(
    {
      logits: tf.tensor2d([1, 0.5, -0.5, 0, 1, 0.2], [2, 3]),
      teacher: tf.tensor2d([2, 0, -1, 1, 2, -0.5], [2, 3]),
      labels: tf.tensor1d([0, 1], 'int32'),
    },
    { temperature: 4, alpha: 0.5 },
  );
  const found = loss.loss.dataSync()[0] as number;
  // Worked out by hand: KL 0.017310 at τ = 4, 16 times that is 0.276963; CE 0.600716.
  assert.ok(Math.abs(found - (0.5 * 0.276963 + 0.5 * 0.600716)) < 1e-5, \`\${found}\`);
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ temperature: 0 }), /temperature is 0/);
});
`;

const dataFreeTest = ({ value, file }: Naming): string => `\
${imports('adam, constant, experiment, learner, none, plainCnn, runExperiment, synthetic')}
import { ${value}, ${value}Terms } from './${file}.js';

${setting(file)}

test('${value} steals a small network by images of its own, and asks nothing', () =>
  inFolder(async (folder) => {
    const { matrix, records } = await runExperiment(
      experiment({
        name: 'test',
        data: synthetic({ train: 200 }),
        teacher: small,
        students: ['self'],
        defenses: [none()],
        attacks: [${value}({ batches: 2, batch: 16, iterations: 40 })],
        seeds: [0],
      }),
      { folder },
    );
    const [cell] = matrix.cells;
    assert.equal(cell?.status, 'done', cell?.reason);
    // Four classes: guessing gives a quarter.
    assert.ok(Number(cell?.accuracy?.mean) > 0.4, \`accuracy \${cell?.accuracy?.mean}\`);
    const made = records.find(({ kind }) => kind === 'synthesise')?.training;
    assert.equal(made?.queries, 0);
    // Each of 2 · 40 steps takes 16 images forward and back through the victim's weights.
    assert.equal(made?.backward, 2 * 40 * 16);
  }));

test('the terms of ${value} are what the paper says', () => {
  const { crossEntropy, batchNorms } = ${value}Terms(
    tf.tensor2d([1, 0.5, -0.5, 0, 1, 0.2], [2, 3]),
    tf.tensor1d([0, 1], 'int32'),
    [
      { bn1: { mean: tf.tensor1d([1, 2]), variance: tf.tensor1d([1, 1]) } },
      { 'bn1.running_mean': tf.tensor1d([1, 0]), 'bn1.running_var': tf.tensor1d([1, 4]) },
    ],
  );
  // Worked out by hand: the mean of two cross-entropies; |(0, 2)| + |(0, 3)|.
  assert.ok(Math.abs(Number(crossEntropy.dataSync()[0]) - 0.600716) < 1e-5, \`\${crossEntropy}\`);
  assert.ok(Math.abs(Number(batchNorms.dataSync()[0]) - 5) < 1e-5, \`\${batchNorms}\`);
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ batches: 0 }), /batches is 0/);
});
`;

/** A run of a defence beside an undefended teacher, of which all cells are there. */
const besideNone = (value: string): string => `\
    const { matrix, records } = await runExperiment(
      experiment({
        name: 'test',
        data: synthetic(),
        teacher: small,
        students: ['self'],
        defenses: [none(), ${value}()],
        attacks: [kd()],
        seeds: [0],
      }),
      { folder },
    );
    for (const { defense, status, reason } of matrix.cells) assert.equal(status, 'done', \`\${defense}: \${reason}\`);
`;

const defenseTest = ({ value, file }: Naming): string => `\
${imports('adam, constant, experiment, kd, learner, none, plainCnn, runExperiment, synthetic')}
import { ${value}, ${value}Answers } from './${file}.js';

${setting(file)}

test('${value} stands beside an undefended teacher, and its answers are measured', () =>
  inFolder(async (folder) => {
${besideNone(value)}    // Answers that keep the label keep the teacher's accuracy.
    const [undefended, defended] = matrix.victims;
    assert.equal(defended?.accuracy?.mean, undefended?.accuracy?.mean);
    // What it changed in the answers that the attack was given: means over queries.
    const given = records.find(({ kind, label }) => kind === 'steal' && label.includes('${value}'))?.training?.answers;
    assert.ok(Number(given?.l1) > 0);
    assert.equal(given?.changed, 0);
  }));

test('the answers of ${value} are what the paper says', () => {
  const given = ${value}Answers(tf.log(tf.tensor2d([[0.7, 0.2, 0.1]])), 2);
  const found = Array.from(tf.exp(given).dataSync());
  // √0.7 : √0.2 : √0.1, worked out by hand.
  [0.522879, 0.279491, 0.19763].forEach((expected, k) => {
    assert.ok(Math.abs(Number(found[k]) - expected) < 1e-5, \`\${found}\`);
  });
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ temperature: 0 }), /temperature is 0/);
});
`;

const trainedDefenseTest = ({ value, file }: Naming): string => `\
${imports('adam, constant, experiment, kd, learner, none, plainCnn, runExperiment, synthetic')}
import { ${value}, ${value}Loss } from './${file}.js';

${setting(file)}

test('the teacher of ${value} is trained, stays accurate and is far from the undefended one', () =>
  inFolder(async (folder) => {
${besideNone(value)}    assert.equal(records.find(({ kind }) => kind === 'protect')?.training?.history.length, epochs);
    const defended = matrix.victims[1];
    assert.ok(Number(defended?.accuracy?.mean) > 0.5);
    assert.ok(Number(defended?.seeds[0]?.divergence?.kl) > 0);
  }));

test('the loss of ${value} is what the paper says', () => {
  const logits = tf.tensor2d([[2, 0, 0]]);
  const options = { omega: 0.5, temperature: 1 };
  // Sure of the right class: CE = ln(1 + 2 e⁻²).
  const { loss, terms } = ${value}Loss({ logits, adversary: logits, labels: tf.tensor1d([0], 'int32') }, options);
  assert.ok(Math.abs(Number(terms.crossEntropy?.dataSync()[0]) - 0.239545) < 1e-5);
  // From itself a net does not diverge.
  assert.ok(Math.abs(Number(loss.dataSync()[0]) - 0.239545) < 1e-5);
  // (0.786986, 0.106507, 0.106507) from uniform: Σ p ln(3p) = 0.433040, of which half is taken.
  const apart = ${value}Loss({ logits, adversary: tf.zeros([1, 3]), labels: tf.tensor1d([0], 'int32') }, options);
  assert.ok(Math.abs(Number(apart.loss.dataSync()[0]) - (0.239545 - 0.5 * 0.433040)) < 1e-5);
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ omega: 0 }), /omega is 0/);
});
`;

const networkTest = ({ value, file }: Naming): string => `\
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as tf from '@tensorflow/tfjs';
import { key } from 'undistill/plugin';
import { ${value} } from './${file}.js';

const net = ${value}({ width: 16 }).build({ height: 8, width: 8, channels: 3 }, 10);

test('${value} has as many parameters as the paper says', () => {
  const params = net.variables.filter(({ kind }) => kind === 'param');
  const found = params.reduce((sum, { shape }) => sum + tf.util.sizeFromShape([...shape]), 0);
  // Convolutions without biases, two numbers a channel for each batch norm, a dense layer with biases.
  assert.equal(found, 9 * 3 * 16 + 2 * 16 + (9 * 16 * 32 + 2 * 32) + (32 * 10 + 10));
});

test('${value} gives one number a class, and its activations when asked for', () => {
  const { logits, activations } = net.apply(net.init(key('test')), tf.ones([2, 8, 8, 3]), {
    mode: 'eval',
    activations: ['block2'],
  });
  assert.deepEqual(logits.shape, [2, 10]);
  assert.deepEqual(activations?.block2?.shape, [2, 4, 4, 32]);
  assert.ok(logits.dataSync().every(Number.isFinite));
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ width: 0 }), /width is 0/);
});
`;

const metricTest = ({ value, file }: Naming): string => `\
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ${value} } from './${file}.js';

const logits = (...rows: readonly (readonly number[])[]) => ({
  values: Float32Array.from(rows.flat().map(Math.log)),
  classes: rows[0]?.length ?? 0,
});

test('${value} is what the paper says', () => {
  // (1 − 0.7)² + 0.2² + 0.1² = 0.14 and 0.1² + (1 − 0.8)² + 0.1² = 0.06, worked out by hand.
  const found = ${value}.of({ logits: logits([0.7, 0.2, 0.1], [0.1, 0.8, 0.1]), labels: [0, 1] });
  assert.ok(Math.abs(Number(found) - 0.1) < 1e-6, \`\${found}\`);
});
`;

const datasetTest = ({ value, file }: Naming): string => `\
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { adam, constant, experiment, learner, none, plainCnn, runExperiment, scratch } from 'undistill';
import { ${value}, ${value}Images } from './${file}.js';

${setting(file)}

/** A line of the file: stripes that lie (0) or stand (1), no two images of the same brightness. */
const line = (i: number): string => {
  const pixel = (_: unknown, at: number) => ((i % 2 === 0 ? Math.floor(at / 8) : at) % 2) * 150 + ((i * 7) % 100);
  return [i % 2, ...Array.from({ length: 64 }, pixel)].join(',');
};

const write = async (folder: string): Promise<void> => {
  const lines = Array.from({ length: 160 }, (_, i) => line(i));
  await writeFile(join(folder, 'train.csv'), lines.slice(0, 128).join('\\n'));
  await writeFile(join(folder, 'test.csv'), lines.slice(128).join('\\n'));
};

test('${value} is read as it is written', () =>
  inFolder(async (folder) => {
    await write(folder);
    const read = await ${value}({ path: folder }).load()();
    assert.ok(read._tag === 'Right', JSON.stringify(read));
    const { image, classes, train, test } = read.right;
    assert.deepEqual([train.count, test.count], [128, 32]);
    assert.deepEqual([...train.labels.slice(0, 4)], [0, 1, 0, 1]);
    assert.equal(train.images.length, 128 * image.height * image.width * image.channels);
    // The second image stands: its first row is dark and bright by turns, 7 brighter than black.
    assert.deepEqual([...train.images.slice(64, 68)], [7, 157, 7, 157]);
    assert.equal(classes.length, 2);
  }));

test('a small network learns ${value}', () =>
  inFolder(async (folder) => {
    await write(folder);
    const { matrix } = await runExperiment(
      experiment({
        name: 'test',
        data: ${value}({ path: folder }),
        teacher: small,
        students: ['self'],
        defenses: [none()],
        attacks: [scratch()],
        seeds: [0],
      }),
      { folder: join(folder, 'run') },
    );
    const [cell] = matrix.cells;
    assert.equal(cell?.status, 'done', cell?.reason);
    // Two classes: guessing gives a half.
    assert.ok(Number(cell?.accuracy?.mean) > 0.75, \`accuracy \${cell?.accuracy?.mean}\`);
  }));

test('${value} refuses a damaged file, and says which line it is', () => {
  const pixels = line(0).split(',').slice(1);
  for (const damaged of ['0,1', ['0', '-1', ...pixels.slice(1)].join(','), ['0', '', ...pixels.slice(1)].join(',')]) {
    assert.throws(() => ${value}Images([line(0), damaged].join('\\n'), 'train.csv'), /line 2 is no image/);
  }
});
`;

/** The files of each kind of plugin: where they go, in which list of an experiment they are put, and how. */
export const templates = {
  attack: { folder: 'attacks', plugin: attack, test: attackTest, use: (value: string) => `attacks: [${value}()],` },
  'data-free': {
    folder: 'attacks',
    plugin: dataFree,
    test: dataFreeTest,
    use: (value: string) => `attacks: [${value}()],`,
  },
  defense: {
    folder: 'defenses',
    plugin: defense,
    test: defenseTest,
    use: (value: string) => `defenses: [${value}()],`,
  },
  'trained-defense': {
    folder: 'defenses',
    plugin: trainedDefense,
    test: trainedDefenseTest,
    use: (value: string) => `defenses: [${value}()],`,
  },
  network: {
    folder: 'networks',
    plugin: network,
    test: networkTest,
    use: (value: string) => `students: [learner(${value}(), { … })],`,
  },
  dataset: { folder: 'data', plugin: dataset, test: datasetTest, use: (value: string) => `data: ${value}(),` },
  metric: { folder: 'metrics', plugin: metric, test: metricTest, use: (value: string) => `metrics: [${value}],` },
} as const;
