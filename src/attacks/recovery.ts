import * as tf from '@tensorflow/tfjs';
import { type Known, meanOfNearest, rows } from '../public/ops.js';
import {
  type Attack,
  type AttackContext,
  between,
  defineAttack,
  type Imitation,
  type Key,
  type Labelled,
  labelled,
  layers,
  option,
  permutation,
  positive,
  type Variables,
  type Victim,
  wholeAtLeast,
} from '../public/plugin.js';
import { absolute } from '../public/synthesis.js';
import {
  type BuiltLearner,
  byPixels,
  type ClassifierState,
  classifier,
  dispose,
  distillation,
  type FitSpec,
  initialState,
  multiStep,
  normalisePixels,
  sgd,
  stepped,
  valueAndGradient,
} from '../public/train.js';

/** Clean answers as an attacker imagines them, and what the defence makes of them: [rows, classes] probabilities each. */
type Table = { readonly clean: tf.Tensor2D; readonly given: tf.Tensor2D };

const options = {
  temperature: option(positive, 4, 'τ, at which both are softened'),
  alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
  rows: option(wholeAtLeast(2), 20_000, 'Answers that are imagined, where the attacker has images for so many'),
  perImage: option(wholeAtLeast(1), 20, 'How many around each answer of the first student'),
  sharpness: option(positive, 8, 'κ: they are drawn from a Dirichlet distribution of parameters κ K times that answer'),
};

type Options = Readonly<Record<keyof typeof options, number>>;

type Given = AttackContext<Labelled>;

/**
 * A student that learnt the answers as they are told, and a table of what clean answers like its own would be told as: drawn around
 * what it says of the attacker's images, and passed through the attacker's own copy of the defence.
 */
const imagined = async (
  { temperature, alpha, rows: wanted, perImage, sharpness }: Options,
  victim: Victim<'probabilities'>,
  learner: BuiltLearner,
  context: Given,
): Promise<Table> => {
  const { data, fit, key, imitate } = context;
  const { last } = await fit(
    'first-student',
    classifier({
      learner,
      data: data.train,
      victim,
      target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
      loss: ({ logits, target: { teacher }, batch: { labels } }) =>
        distillation({ logits, teacher, labels, temperature, alpha }),
    }),
  );
  const { network } = learner;
  const next = key.split('dirichlet').uniform();
  const batch = Math.max(1, Math.floor(imagesAtOnce / perImage));
  const of = { batch, images: Math.ceil(wanted / perImage), key: key.split('images') };
  let copy: Imitation | undefined;
  try {
    copy = await imitate?.({ teacher: { learner, variables: last }, ...data });
    const tables = await byPixels(data.train, of, (pixels): Table => {
      const seen = normalisePixels(pixels, data.train.normalisation);
      const said = tf.softmax(network.apply(last, seen, { mode: 'eval' }).logits).arraySync() as number[][];
      const parameters = said.map((answer) => answer.map((each) => sharpness * network.classes * each));
      const each = parameters.flatMap((of, image) => Array.from({ length: perImage }, () => ({ of, image })));
      const clean = tf.tensor2d(each.map(({ of }) => [...dirichlet(of, next)]));
      if (copy === undefined) return { clean, given: clean.clone() };
      const about = rows(
        pixels,
        tf.tensor1d(
          each.map(({ image }) => image),
          'int32',
        ),
      );
      return { clean, given: tf.exp(copy.tell(tf.log(clean), about)) };
    });
    const whole = (part: keyof Table) => tf.concat(tables.map((table) => table[part]));
    const table = { clean: whole('clean'), given: whole('given') };
    dispose(tables);
    return table;
  } finally {
    copy?.release();
    dispose(last);
  }
};

/** Imagined answers that the copy of the defence is asked about at once, or all of an image. */
const imagesAtOnce = 500;

/** That a budget ends before the second student learns, whom the first one's answers are for. */
const leavesNothing: NonNullable<Attack['warns']> = (_, __, { recipe, owned, budget }) => {
  const first = recipe.epochs * (owned ?? 0);
  return budget !== undefined && budget <= first
    ? `its first student asks for ${first} answers, and its budget of ${budget} leaves none for the second`
    : undefined;
};

/** A draw from the Dirichlet distribution of these parameters: gamma numbers made to sum to 1. */
export const dirichlet = (parameters: readonly number[], next: () => number): readonly number[] => {
  const drawn = parameters.map((each) => gamma(each, next));
  const sum = drawn.reduce((all, each) => all + each, 0);
  // Parameters of almost nothing may all give nothing.
  const most = parameters.indexOf(Math.max(...parameters));
  return sum > 0 ? drawn.map((each) => each / sum) : drawn.map((_, k) => (k === most ? 1 : 0));
};

/** A gamma number of scale 1 (Marsaglia and Tsang, 2000); below a shape of 1 by one of a shape larger by 1. */
const gamma = (shape: number, next: () => number): number => {
  if (shape <= 0) return 0;
  if (shape < 1) return gamma(shape + 1, next) * (1 - next()) ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    const root = 1 + normal / Math.sqrt(9 * d);
    if (root <= 0) continue;
    const cube = root ** 3;
    if (Math.log(1 - next()) < normal ** 2 / 2 + d - d * cube + d * Math.log(cube)) return d * cube;
  }
};

/** The least L1 distance within which an imagined answer counts as the one that was told. */
const near = 0.01;

/** Clean answers, known by what they would be told as and by its most likely class. The caller owns them. */
export const knownBy = ({ clean, given }: Table): Known =>
  tf.tidy(() => {
    const likeliest = tf.argMax(given, 1).dataSync();
    const order = Int32Array.from(likeliest.keys()).sort((a, b) => (likeliest[a] as number) - (likeliest[b] as number));
    const places = tf.tensor1d(order, 'int32');
    return {
      keys: tf.transpose(rows(given, places)),
      groups: tf.tensor1d(Float32Array.from(order, (place) => likeliest[place] as number)),
      values: rows(clean, places),
    };
  });

/**
 * The clean answers to those that were told: the mean of the imagined ones that the defence tells as within an L1 distance of 0.01, or of
 * the smallest distance there is; of those with the same most likely class, where there are such.
 *
 * @param told probabilities [batch, classes]
 * @returns probabilities [batch, classes]
 */
export const meanOfLikely = (told: tf.Tensor2D, known: Known): tf.Tensor2D =>
  meanOfNearest(told, tf.cast(tf.argMax(told, 1), 'float32') as tf.Tensor1D, known, near);

/**
 * Bayesian recovery (Tang et al., ModelGuard, USENIX Security 2024, "partial Bayes"), by an attacker who knows the defence: each answer is
 * replaced by the mean of the clean ones that it could have been made of, and the student learns that, α τ² KL + (1−α) CE.
 *
 * Yoruko-Tang/ModelGuard 0eb60fc (wb_recover.py), where the clean answers are drawn around the victim's own, which no attacker has. Here
 * they are drawn around what a first student says, who learnt the answers as they are told, and are fewer: a practical attack. The most likely class counts
 * always, there where the defence keeps it. Where a defence looks at more than the answer, that student stands in for the victim, on the image that
 * each answer is imagined of; which image an answer was told of is not used. Not tried on a defence that asks the victim's net anew, as `meco` does.
 */
export const bayesKd = defineAttack({
  name: 'bayesKd',
  source: import.meta.url,
  about: 'Distillation from the mean of the clean answers that a told one could have been made of',
  paper: 'Tang et al., ModelGuard, USENIX Security 2024 (its adaptive attack, partial Bayes)',
  cost: 'an answer to each image in each epoch of two students, one after the other; each answer is compared with `rows` imagined ones; what the defence prepares is prepared once more',
  options,
  presets: { released: { rows: 1_000_000 } },
  needs: 'probabilities',
  data: labelled,
  make: (chosen) => ({
    knows: 'answers',
    warns: leavesNothing,
    steal: async (victim, learner, context) => {
      const table = await imagined(chosen, victim, learner, context);
      const known = knownBy(table);
      dispose(table);
      try {
        return await recovering(chosen, victim, learner, context, known, meanOfLikely);
      } finally {
        dispose(known);
      }
    },
  }),
});

/** A student that learns what answers are recovered to, by tensors that were made beforehand. */
const recovering = <Frozen extends Known | Variables>(
  { temperature, alpha }: Options,
  victim: Victim<'probabilities'>,
  learner: BuiltLearner,
  { fit, data }: Given,
  frozen: Frozen,
  recover: (told: tf.Tensor2D, frozen: Frozen) => tf.Tensor2D,
) =>
  fit(
    'student',
    classifier({
      learner,
      data: data.train,
      validation: data.validation,
      victim,
      frozen,
      target: ({ victim, pixels, frozen }) => ({
        teacher: tf.log(recover(tf.exp(victim.logProbabilities(pixels)), frozen)) as tf.Tensor2D,
      }),
      loss: ({ logits, target: { teacher }, batch: { labels } }) =>
        distillation({ logits, teacher, labels, temperature, alpha }),
    }),
  );

/** Numbers in the hidden layers, by the number of classes. */
const hiddenOf = (classes: number): readonly [number, number] => {
  if (classes <= 10) return [128, 64];
  if (classes <= 43) return [512, 256];
  return classes <= 100 ? [1024, 512] : [2048, 1024];
};

/** The net that makes clean answers of told ones; each layer with batch norm and leaky ReLU, the last one too, and then softmax. */
export const recoverer = (classes: number) => {
  const { dense, batchNorm, leakyRelu, sequential, fitLayers } = layers;
  const layer = (index: number, out: number) => [dense(`fc${index}`, out), batchNorm(`bn${index}`), leakyRelu(0.2)];
  const [first, second] = hiddenOf(classes);
  return fitLayers(sequential(...layer(1, first), ...layer(2, second), ...layer(3, classes)), {
    where: 'recoverer',
    input: { kind: 'vector', size: classes },
  });
};

/** The L1 distance of what is recovered and what was clean, [batch, classes] each: a sum over classes, and the mean over the batch. */
export const recoveryError = (recovered: tf.Tensor2D, clean: tf.Tensor2D): tf.Scalar =>
  tf.mean<tf.Scalar>(tf.sum(absolute(tf.sub(recovered, clean)), 1));

/**
 * D-DAE (Chen et al., IEEE S&P 2023), in the form in which ModelGuard has it: a small net learns to make clean answers of what the attacker's
 * own copy of the defence makes of them, by the L1 distance, and the student learns what it recovers, α τ² KL + (1−α) CE.
 *
 * Yoruko-Tang/ModelGuard 0eb60fc (wb_recover.py), with SGD at 0.01, halved in the middle. There clean answers come from shadow models, or are
 * drawn around the victim's own; here around what a first student says, as in `bayesKd`, and the net recovers in evaluation mode.
 */
export const ddaeKd = defineAttack({
  name: 'ddaeKd',
  source: import.meta.url,
  about: 'Distillation from answers that a small net makes clean, which learnt it on imagined ones',
  paper: 'Chen et al., D-DAE: Defense-penetrating model extraction attacks, IEEE S&P 2023; as in ModelGuard, 2024',
  cost: 'an answer to each image in each epoch of two students, one after the other; a small net learns `rows` imagined ones; what the defence prepares is prepared once more',
  options: {
    ...options,
    epochs: option(wholeAtLeast(1), 200, 'Epochs of the small net over the imagined answers'),
    batch: option(wholeAtLeast(2), 1024, 'Imagined answers a step'),
  },
  presets: { released: { rows: 1_000_000 }, mnistSmall: { rows: 10_000, epochs: 20, batch: 256 } },
  scaled: ({ epochs }, factor) => ({ epochs: Math.max(1, Math.round(factor * epochs)) }),
  needs: 'probabilities',
  data: labelled,
  make: ({ epochs, batch, ...chosen }) => ({
    knows: 'answers',
    warns: leavesNothing,
    steal: async (victim, learner, context) => {
      const table = await imagined(chosen, victim, learner, context);
      const net = recoverer(learner.network.classes);
      const optimizer = sgd({ momentum: 0.9, weightDecay: 1e-4 });
      const count = table.clean.shape[0];
      const size = Math.min(batch, count);
      const stepsPerEpoch = Math.max(1, Math.floor(count / size));
      let drawn: { readonly path: string; readonly order: Int32Array } | undefined;
      /** The order of an epoch, drawn once for it. */
      const orderOf = (from: Key, epoch: number): Int32Array => {
        const own = from.split(epoch);
        if (drawn?.path !== own.path) drawn = { path: own.path, order: permutation(own, count) };
        return drawn.order;
      };
      const spec: FitSpec<Table, ClassifierState, { readonly places: tf.Tensor1D }, Variables> = {
        frozen: table,
        step: ({ frozen }, before, { places }, { learningRate }) => {
          const { variables } = before;
          const [told, clean] = [rows(frozen.given, places), rows(frozen.clean, places)];
          const { loss, gradients, aux } = valueAndGradient((params) => {
            const { y, stats } = net.run({ params, stats: variables.stats }, told, { mode: 'train' });
            const error = recoveryError(tf.softmax(y as tf.Tensor2D), clean);
            return { loss: error, aux: { stats } };
          }, variables.params);
          const { stats } = aux;
          return { state: stepped(optimizer, before, { gradients, stats }, learningRate), metrics: { loss } };
        },
        init: (key) => initialState({ optimizer }, net.init(key)),
        source: (key) => ({
          data: {},
          steps: stepsPerEpoch,
          at: (step) => {
            const from = (step % stepsPerEpoch) * size;
            const places = orderOf(key, Math.floor(step / stepsPerEpoch)).slice(from, from + size);
            return { batch: { places: tf.tensor1d(places, 'int32') }, images: size };
          },
        }),
        epochs,
        schedule: multiStep({ rate: 0.01, milestones: [{ fraction: 0.5 }], gamma: 0.5 }),
        keep: ({ variables }) => variables,
      };
      try {
        const { last } = await context.fit('recoverer', spec);
        try {
          return await recovering(chosen, victim, learner, context, last, (told, variables) =>
            tf.softmax(net.run(variables, told, { mode: 'eval' }).y as tf.Tensor2D),
          );
        } finally {
          dispose(last);
        }
      } finally {
        dispose(table);
      }
    },
  }),
});
