import * as tf from '@tensorflow/tfjs';
import { meanGradient, type Shifted, shifted } from '../defenses/surrogate.js';
import {
  atLeast,
  between,
  choice,
  defineAttack,
  labelled,
  option,
  positive,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import { besideLabels, classifier, detach, dispose, soften } from '../public/train.js';

/** Beyond it a derivative counts as this much. */
const most = 10;

/** How batch norms normalise in the student's first step. */
const byBatch = { mode: 'train' } as const;

/**
 * Distillation in which an answer counts by how much learning it would help on images whose labels the attacker has: w_i ∝ exp(∓β a_i), of a mean of
 * 1 over the batch, with a_i = (NLL_i(θ − ε g) − NLL_i(θ + ε g)) / 2ε, NLL_i = −Σ y′_k log s_k the student's of an answer, θ its first weights, and g the
 * mean gradient of its loss on such images there; a_i is cut at ±10. α τ² mean w_i KL_i + (1−α) CE.
 *
 * ysfalh/distillation-game 671704e (src/clean_sweep/train/distill.py), for language models, where β is 0.5 (1 in two settings) and ε 0.01. There
 * the sign is +, which gives more weight to answers that point against g (`released`); `useful` turns it. Ours: the weights are of the
 * divergence alone, and the labels' part is as it is; and batch norms, which language models lack, go by the statistics of each batch, as in the student's
 * first step: by its running ones, which are of no image yet, all answers would count the same, or one alone. `spread` in the log is the weights'
 * standard deviation.
 */
export const reweightedKd = defineAttack({
  name: 'reweightedKd',
  source: import.meta.url,
  about: 'Distillation in which an answer counts by how much learning it would help on labelled images',
  paper: 'The Distillation Game, 2026 (arXiv 2605.22737), its adaptive student',
  cost: 'an answer to each image in each epoch; two more passes of each through the student as it began',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
    beta: option(atLeast(0), 0.5, 'β, how much the weights differ'),
    sign: option(
      choice('useful', 'released'),
      'useful',
      'More weight to what points along the gradient on labelled images, or as released against it',
    ),
    step: option(positive, 0.01, 'ε, of the difference along the gradient'),
    images: option(
      wholeAtLeast(1),
      1000,
      'Held-out images that the gradient is of; training images where none are held out',
    ),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha, beta, sign, step, images }) => ({
    steal: async (victim, learner, { fit, data, key }) => {
      const { network } = learner;
      const own = { learner, data: data.train, loss: () => ({ loss: tf.scalar(0) }) };
      // The weights with which the student of any other attack begins, too.
      const { variables: start, ...others } = classifier(own).init(key.split('student').split('init'));
      dispose(others);
      const known = data.validation ?? data.train;
      const gradient = meanGradient(network, start, known, key.split('gradient'), images, byBatch.mode);
      const copies = shifted(start, (name) => gradient[name] as tf.Tensor, step);
      dispose(gradient);
      try {
        return await fit(
          'student',
          classifier({
            learner,
            data: data.train,
            validation: data.validation,
            start,
            victim,
            frozen: copies,
            target: ({ victim, pixels, images, frozen }) => {
              const teacher = victim.logProbabilities(pixels);
              const slope = slopesOf(frozen, step, (of) => lossOf(network.apply(of, images, byBatch).logits, teacher));
              return { teacher, weights: weightsOf(sign === 'released' ? slope : tf.neg(slope), beta) };
            },
            loss: ({ logits, target: { teacher, weights }, batch: { labels } }) => {
              const kl = weightedKl({ logits, teacher, weights, temperature });
              const { loss, terms } = besideLabels({ kl, logits, labels, temperature, alpha });
              return { loss, terms: { ...terms, spread: spreadOf(weights) } };
            },
          }),
        );
      } finally {
        dispose([start, copies]);
      }
    },
  }),
});

/** (f(θ − ε g) − f(θ + ε g)) / 2ε of numbers of a net, [batch] each. */
const slopesOf = ({ more, less }: Shifted, step: number, of: (variables: Variables) => tf.Tensor1D): tf.Tensor1D =>
  tf.div<tf.Tensor1D>(tf.sub(of(less), of(more)), 2 * step);

/** −Σ y_k log s_k of each row: logits of s and logarithms of y [batch, classes]; [batch]. */
const lossOf = (logits: tf.Tensor2D, answers: tf.Tensor2D): tf.Tensor1D =>
  tf.neg(tf.sum<tf.Tensor1D>(tf.mul(tf.exp(answers), tf.logSoftmax(logits)), 1));

/** exp(β a) of numbers cut at ±10, divided by the mean of all; [batch]. */
export const weightsOf = (a: tf.Tensor1D, beta: number): tf.Tensor1D => {
  const weights = tf.exp(tf.mul(tf.clipByValue(a, -most, most), beta));
  return tf.div(weights, tf.mean(weights)) as tf.Tensor1D;
};

/** The standard deviation of weights whose mean is 1: near 0 they change nothing. */
const spreadOf = (weights: tf.Tensor1D): tf.Scalar => tf.sqrt(tf.moments(weights).variance) as tf.Scalar;

/** The mean over the batch of w_i KL_i(teacher ‖ student), both softened, in nats; logits and log-probabilities [batch, classes]. */
export const weightedKl = ({
  logits,
  teacher,
  weights,
  temperature,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly weights: tf.Tensor1D;
  readonly temperature: number;
}): tf.Scalar => {
  const [p, q] = [soften(detach(teacher), temperature), soften(logits, temperature)];
  // What is told to be 0 counts nothing: 0 log 0 = 0.
  const each = tf.sum(tf.where(tf.isFinite(p), tf.mul(tf.exp(p), tf.sub(p, q)), 0), 1);
  return tf.mean<tf.Scalar>(tf.mul(each, weights));
};
