import * as tf from '@tensorflow/tfjs';
import {
  type Attack,
  type AttackContext,
  anyDataset,
  choice,
  defineAttack,
  type Ownership,
  option,
  optional,
  permutation,
  required,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  anyOptimizer,
  anySchedule,
  type BuiltLearner,
  classifier,
  cosine,
  countOf,
  crossEntropy,
  dispose,
  distillationKl,
  type ImageSet,
  type Loss,
  logitsOn,
  multiStep,
  type Optimizer,
  type Schedule,
  type StoredAnswers,
  scaledSchedule,
  sgd,
  type UnlabelledBatch,
  withAnswers,
  withRecipe,
} from '../public/train.js';
import { type Bandit, drawn, indifferent, noYardstick, rewarded, softmax, worth, type Yardstick } from './bandit.js';

/** What is learnt of a black box. */
export const answers = option(
  choice('probabilities', 'label'),
  'probabilities',
  'What the student learns of the victim: its probabilities, or its class',
);

const options = {
  images: required(anyDataset, 'The images that the attacker has'),
  queries: optional(wholeAtLeast(2), 'Images that are asked about; default: the budget, or all without one'),
  answers,
  optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
  schedule: optional(anySchedule, "The student's; default: its own recipe's"),
};

const { answers: _, ...asking } = options;

/** How many answers are asked for, and how the student learns them. */
interface Learning {
  readonly queries?: number | undefined;
  readonly optimizer?: Optimizer | undefined;
  readonly schedule?: Schedule | undefined;
}

type Other = Extract<Ownership, { readonly kind: 'other' }>;

/** The same for a student that learns for a fraction of its epochs. */
const scaledRate = ({ schedule }: { readonly schedule?: Schedule | undefined }, factor: number) => ({
  schedule: schedule && scaledSchedule(schedule, factor),
});

/** Of so many images as many as are to be asked about, and no more than a budget pays for. */
const affordable = (count: number, queries: number | undefined, budget: number | undefined): number =>
  Math.min(count, queries ?? Number.POSITIVE_INFINITY, budget ?? Number.POSITIVE_INFINITY);

/** Cross-entropy with the answers, [batch, classes] log-probabilities or [batch, 1] classes: of the former, KL(victim ‖ student). */
const learnt = (logits: tf.Tensor2D, answers: tf.Tensor2D): Loss =>
  answers.shape[1] === 1
    ? { loss: crossEntropy(logits, tf.cast(tf.squeeze<tf.Tensor1D>(answers, [1]), 'int32')) }
    : distillationKl({ logits, teacher: answers, temperature: 1 });

/** The student's training on images that were answered, in batches of all of them where they are few. */
export const trainedOn = (
  { network, recipe }: BuiltLearner,
  data: ImageSet<UnlabelledBatch>,
  more: { readonly start?: Variables } = {},
) =>
  classifier({
    learner: { network, recipe: { ...recipe, batch: Math.min(recipe.batch, countOf(data)) } },
    data,
    ...more,
    loss: ({ logits, batch }) => learnt(logits, batch.answers as tf.Tensor2D),
  });

/** Some of the images of a set, by their places in it. */
const chosen = (
  { examples: { images, count }, indices, ...set }: ImageSet | ImageSet<UnlabelledBatch>,
  places: Int32Array,
): ImageSet<UnlabelledBatch> => ({
  ...set,
  examples: { images, count },
  indices: places.map((place) => indices[place] as number),
  labelled: false,
});

/**
 * Knockoff nets, random (Orekondy et al., CVPR 2019): out-of-distribution images are asked about once, as they are and in
 * random order without repetition, and the student learns the answers, −Σ p ln s at temperature 1, by its own recipe. Its
 * images are augmented after they were answered, which blurs the answers, as in the released code.
 *
 * tribhuvanesh/knockoffnets b830985, whose student learns for 100 epochs in batches of 64 (`released`); there a pool that is exhausted
 * is asked about again, here it ends. `maze` is what MAZE's authors compare with (sanjaykariyappa/MAZE d202ace, knockoff.py): all
 * 50,000 images of CIFAR-100, and 10 epochs.
 */
export const knockoff = defineAttack({
  name: 'knockoff',
  source: import.meta.url,
  about: 'Out-of-distribution images, each asked about once: the student learns the answers',
  paper: 'Orekondy et al., Knockoff nets: Stealing functionality of black-box models, CVPR 2019 (random)',
  cost: 'an answer to each image, once',
  options,
  presets: {
    released: {
      optimizer: sgd({ momentum: 0.5 }),
      schedule: multiStep({ rate: 0.01, milestones: [60], gamma: 0.1 }),
    },
    maze: { optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: cosine(0.1) },
  },
  scaled: scaledRate,
  needs: ({ answers }) => answers,
  data: ({ images }) => ({ kind: 'other', images }),
  make: (learning) => ({ ...askingOnce(learning.queries), steal: learningFrom(learning) }),
});

/**
 * Random knockoff nets by an attacker who knows the defence and its parameters: what it did to the answers is undone before the student learns
 * them. A defence with a known inverse has it (`recover`); others are not attacked so.
 */
export const inverseKnockoff = defineAttack({
  name: 'inverseKnockoff',
  source: import.meta.url,
  about: 'Out-of-distribution images, each asked about once: the student learns answers of which the defence is undone',
  paper: 'Ours, on Orekondy et al., Knockoff nets: Stealing functionality of black-box models, CVPR 2019 (random)',
  cost: 'an answer to each image, once',
  options: asking,
  scaled: scaledRate,
  needs: 'probabilities',
  data: ({ images }) => ({ kind: 'other', images }),
  make: (learning) => ({ knows: 'inverse', ...askingOnce(learning.queries), steal: learningFrom(learning) }),
});

/** Asks once about images in random order, undoes what the attacker knows how to undo, and learns that. */
const learningFrom =
  ({ queries, optimizer, schedule }: Learning): Attack<'label', Other>['steal'] =>
  async (victim, learner, context) => {
    const { train } = context.data;
    const count = affordable(train.indices.length, queries, victim.budget);
    warnOfPool(context, count, victim.budget);
    const places = permutation(context.key.split('transfer set'), train.indices.length).slice(0, count);
    const asked = chosen(train, places);
    const answers = recovered(await context.ask('transfer-set', victim, asked), context);
    return context.fit('student', trainedOn(withRecipe(learner, { optimizer, schedule }), withAnswers(asked, answers)));
  };

/** So many answers are undone at once: an inverse may take a hundred kilobytes an answer. */
const undoneAtOnce = 256;

/** Stored log-probabilities with what the attacker knows how to undo undone. */
const recovered = (answers: StoredAnswers, { recover }: Pick<AttackContext, 'recover'>): StoredAnswers => {
  if (recover === undefined) return answers;
  const { values, size } = answers;
  const clean = new Float32Array(values.length);
  for (let from = 0; from < values.length; from += undoneAtOnce * size) {
    const some = values.slice(from, from + undoneAtOnce * size);
    tf.tidy(() => clean.set(recover(tf.tensor2d(some, [some.length / size, size])).dataSync(), from));
  }
  return { values: clean, size };
};

/** What is said beforehand of so many images that are asked about, or of a budget's: there are fewer, and a student learns from two at least. */
const askingOnce = (queries: number | undefined): Pick<Attack, 'refuses' | 'warns'> => ({
  refuses: (_, __, { images }) =>
    images !== undefined && images.count < (queries ?? 2)
      ? {
          reason: `it is to ask about ${queries ?? 2} images, and has ${images.count}`,
          remedy: 'Give more images, or fewer queries.',
        }
      : undefined,
  warns: (_, __, { images, budget }) => images && unspent(affordable(images.count, queries, budget), budget),
});

const unspent = (count: number, budget: number | undefined): string | undefined =>
  budget !== undefined && count < budget ? `it asks about ${count} images, and its budget is of ${budget}` : undefined;

/** The same for the record of what was stolen. */
const warnOfPool = ({ warn }: Pick<AttackContext, 'warn'>, count: number, budget: number | undefined): void => {
  const warning = unspent(count, budget);
  if (warning !== undefined) warn(warning);
};

/** What goes from lot to lot: what was asked about and answered, the student so far, and the bandit, as its numbers. */
type Lots = {
  readonly places: tf.Tensor1D;
  readonly answers: tf.Tensor2D;
  readonly student: Variables;
  readonly preferences: tf.Tensor1D;
  readonly taken: tf.Tensor1D;
  /** The mean reward, the answers counted, means and variances of the three rewards, and the mean answer. */
  readonly numbers: tf.Tensor1D;
};

/**
 * Knockoff nets, adaptive (Orekondy et al., CVPR 2019): a gradient bandit chooses of which class of the other images the next one
 * is asked about, by what the answers before were worth: how certain they were, how far from the mean answer, how much the
 * student had to learn of them, or all three.
 *
 * The authors released no code of it. Bandit and rewards are those of the adversarial-robustness-toolbox 23539e2c0
 * (knockoff_nets.py), without the paper's hierarchy of classes; a user found them worse than random choice. There the student is trained
 * on each image alone; here the queries come in `rounds` lots, drawn by the preferences before each, after which the
 * student goes on for an epoch on all that was answered. Images are drawn with replacement. In the end a fresh student learns all answers.
 */
export const adaptiveKnockoff = defineAttack({
  name: 'adaptiveKnockoff',
  source: import.meta.url,
  about: 'Out-of-distribution images, whose classes a bandit chooses by what the answers before were worth',
  paper: 'Orekondy et al., Knockoff nets: Stealing functionality of black-box models, CVPR 2019 (adaptive)',
  cost: 'as many answers as there are images; a student of an epoch on all answers in each of the `rounds`, and one in the end',
  options: {
    ...options,
    rounds: option(wholeAtLeast(1), 20, 'Lots in which the queries are made'),
    reward: option(choice('certainty', 'diversity', 'loss', 'all'), 'all', 'What an answer is worth'),
  },
  scaled: scaledRate,
  needs: ({ answers }) => answers,
  data: ({ images }) => ({ kind: 'other', images, labelled: true }),
  make: ({ answers: kind, queries, rounds, reward, optimizer, schedule }) => ({
    ...askingOnce(queries),
    steal: async (victim, by, context) => {
      const learner = withRecipe(by, { optimizer, schedule });
      const { train } = context.data;
      const { classes } = victim;
      const total = affordable(train.indices.length, queries, victim.budget);
      // A lot of one image has no batch statistics.
      const lots = Math.max(1, Math.min(rounds, total >> 1));
      warnOfPool(context, total, victim.budget);
      const actions = placesByClass(train);
      const size = kind === 'label' ? 1 : classes;
      const oneEpoch = { ...learner, recipe: { ...learner.recipe, epochs: 1 } };
      const { places, answers, ...others } = await context.loop<Lots>('lots', {
        count: lots,
        init: (key) => ({
          places: tf.tensor1d([], 'int32'),
          answers: tf.tensor2d([], [0, size]),
          student: learner.network.init(key.split('student')),
          ...asTensors(indifferent(actions.length), noYardstick(classes)),
        }),
        body: async (before, round, inner) => {
          let [bandit, yardstick] = told(before);
          const next = inner.key.split('images').uniform();
          const count = Math.floor(((round + 1) * total) / lots) - Math.floor((round * total) / lots);
          const chosenActions = Array.from({ length: count }, () => drawn(bandit, next()));
          const fresh = Int32Array.from(chosenActions, (action) => {
            const of = actions[action] as Int32Array;
            return of[Math.floor(next() * of.length)] as number;
          });
          const asked = chosen(train, fresh);
          const found = await inner.ask('answers', victim, asked);
          const all = Int32Array.from([...before.places.dataSync(), ...fresh]);
          const earlier = before.answers.dataSync() as Float32Array;
          const values = new Float32Array(earlier.length + found.values.length);
          values.set(earlier);
          values.set(found.values, earlier.length);
          const data = withAnswers(chosen(train, all), { values, size });
          const { last } = await inner.fit('student', trainedOn(oneEpoch, data, { start: before.student }));
          const logits = logitsOn(learner.network, last, asked);
          chosenActions.slice(0, found.values.length / size).forEach((action, i) => {
            const row = (of: Float32Array, width: number) => Array.from(of.subarray(i * width, (i + 1) * width));
            const measured = worth(
              yardstick,
              probabilitiesOf(row(found.values, size), classes),
              softmax(row(logits, classes)),
              reward,
            );
            yardstick = measured.after;
            bandit = rewarded(bandit, action, measured.worth);
          });
          return {
            places: tf.tensor1d(all, 'int32'),
            answers: tf.tensor2d(values, [values.length / size, size]),
            student: last,
            ...asTensors(bandit, yardstick),
          };
        },
      });
      const data = withAnswers(chosen(train, places.dataSync() as Int32Array), {
        values: answers.dataSync() as Float32Array,
        size,
      });
      dispose([places, answers, others]);
      return context.fit('student', trainedOn(learner, data));
    },
  }),
});

/** The places of the images of each class, of those classes that have some. */
const placesByClass = ({ examples, indices }: ImageSet): readonly Int32Array[] => {
  const byClass = new Map<number, number[]>();
  for (const [place, index] of indices.entries()) {
    const label = examples.labels[index] as number;
    const places = byClass.get(label) ?? [];
    places.push(place);
    byClass.set(label, places);
  }
  return [...byClass].sort(([a], [b]) => a - b).map(([, places]) => Int32Array.from(places));
};

/** A stored answer as probabilities: its logarithms, or a class. */
const probabilitiesOf = (answer: readonly number[], classes: number): readonly number[] =>
  answer.length === 1
    ? Array.from({ length: classes }, (_, k) => (k === answer[0] ? 1 : 0))
    : answer.map((each) => Math.exp(each));

const told = ({ preferences, taken, numbers }: Lots): [Bandit, Yardstick] => {
  const [mean = 0, count = 0, ...others] = numbers.dataSync();
  return [
    { preferences: Array.from(preferences.dataSync()), taken: Array.from(taken.dataSync()), mean },
    { count, means: others.slice(0, 3), variances: others.slice(3, 6), answer: others.slice(6) },
  ];
};

const asTensors = ({ preferences, taken, mean }: Bandit, { count, means, variances, answer }: Yardstick) => ({
  preferences: tf.tensor1d([...preferences]),
  taken: tf.tensor1d([...taken]),
  numbers: tf.tensor1d([mean, count, ...means, ...variances, ...answer]),
});
