import * as tf from '@tensorflow/tfjs';
import {
  between,
  defineAttack,
  type Key,
  labelled,
  type Named,
  option,
  positive,
  type Variables,
  wholeAtLeast,
  yesOrNo,
} from '../public/plugin.js';
import {
  adam,
  besideLabels,
  type ClassifierSpec,
  type ClassifierState,
  classifier,
  detach,
  type FitSpec,
  klDivergence,
  type LabelledBatch,
  type NoTensors,
  type OptimizerState,
  type RawBatch,
  type Resident,
  soften,
  valueAndGradient,
} from '../public/train.js';

/** The maps by their factors, U and V [classes · classes, rank] each. */
export type Factors = { readonly u: tf.Tensor2D; readonly v: tf.Tensor2D };

/** The student, and what is learnt beside it. */
type Learning = ClassifierState & { readonly maps: { readonly factors: Factors; readonly slots: OptimizerState } };

type LearningSpec = FitSpec<NoTensors, Learning, RawBatch, Variables, Resident, 'probabilities'>;

/**
 * Distillation through a map of answers for each class, learnt beside the student: q′ = σ_τ(y′) C_c with c the label, C_c = softmax(I + U_c V_cᵀ),
 * U and V of 3 columns; α τ² KL(q′ ‖ student) + (1−α) CE for the student, α τ² KL for the maps, with Adam and the student held fixed. What a
 * defence did to the answers of a class alike, a map may undo.
 *
 * Linfeng-Ye/CMIM 2c34234 (stingy/train_MKD_stingy.py). There columns of C sum to 1 in place of rows, so that q′ is no distribution, and q′ is
 * put through a softmax at τ once more, which makes it nearly uniform: `asReleased`. Factors begin as there, uniform within ±√(6/3), so that maps
 * lead astray at first. Their rate is a hundredth of the student's there; here it is one of its own, a hundredth of the 0.1 that is usual with SGD: at a
 * hundredth of what is usual with Adam they would stay as they began, and the student would learn what they say.
 */
export const transitionKd = defineAttack({
  name: 'transitionKd',
  source: import.meta.url,
  about: 'Distillation through a map of answers for each class, which is learnt beside the student',
  paper: 'As in the code of CMIM, 2025 (arXiv 2507.00012), its MKD',
  cost: 'an answer to each image in each epoch; a second pass of each through the student',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
    rank: option(wholeAtLeast(1), 3, 'Columns of U and V'),
    rate: option(positive, 1e-3, "Adam's learning rate of the maps"),
    asReleased: option(
      yesOrNo,
      false,
      'Columns of a map sum to 1 in place of rows, and what it gives is softened again',
    ),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha, rank, rate, asReleased }) => ({
    steal: (victim, learner, { fit, data }) => {
      const { network } = learner;
      const optimizer = adam();
      const settings = { temperature, alpha, asReleased };
      const heard = (target?: ClassifierSpec<NoTensors, LabelledBatch, Told, 'probabilities'>['target']) =>
        classifier<NoTensors, LabelledBatch, Told, 'probabilities'>({
          learner,
          data: data.train,
          validation: data.validation,
          victim,
          ...(target === undefined ? {} : { target }),
          loss: ({ logits, target: { teacher }, batch: { labels } }) => {
            const kl = klDivergence(teacher, soften(logits, temperature));
            return besideLabels({ kl, logits, labels, temperature, alpha });
          },
        });
      const { init, ...spec } = heard();
      const learning: LearningSpec = {
        ...spec,
        // It looks at the student, and passes its state on as it is.
        validate: spec.validate as unknown as LearningSpec['validate'],
        init: (key: Key): Learning => {
          const factors = begun(key.split('maps'), network.classes, rank);
          return { ...init(key), maps: { factors, slots: optimizer.init(factors) } };
        },
        step: (given, before, raw, inputs) => {
          const { variables, maps } = before;
          const { factors, slots } = maps;
          const told: { answers: tf.Tensor2D; labels: tf.Tensor1D; images: tf.Tensor4D }[] = [];
          const { step } = heard(({ victim, pixels, images, batch: { labels } }) => {
            const answers = victim.logProbabilities(pixels);
            told.push({ answers, labels, images });
            return { teacher: mapped(answers, labels, factors, settings) };
          });
          const { state, metrics } = step(given, before, raw, inputs);
          const [{ answers, labels, images }] = told as [(typeof told)[0]];
          // The student as it was before its step.
          const student = soften(network.apply(variables, images, { mode: 'train' }).logits, temperature);
          const { gradients } = valueAndGradient(
            (of) => ({
              loss: tf.mul<tf.Scalar>(
                klDivergence(mapped(answers, labels, of as Factors, settings), student),
                alpha * temperature ** 2,
              ),
              aux: {},
            }),
            factors as Named,
          );
          const next = optimizer.update(gradients, slots, factors as Named, tf.scalar(rate));
          const after = { factors: next.params as Factors, slots: next.state };
          return { state: { ...state, maps: after }, metrics };
        },
      };
      return fit('student', learning);
    },
  }),
});

/** Log-probabilities that the student learns. */
type Told = { readonly teacher: tf.Tensor2D };

/** Factors as Kaiming's uniform numbers of 3 inputs. The caller owns them. */
const begun = (key: Key, classes: number, rank: number): Factors => {
  const limit = Math.sqrt(6 / rank);
  const drawn = (name: string) => {
    const next = key.split(name).uniform();
    const values = Float32Array.from({ length: classes * classes * rank }, () => limit * (2 * next() - 1));
    return tf.tensor2d(values, [classes * classes, rank]);
  };
  return { u: drawn('u'), v: drawn('v') };
};

/** Below every probability that matters: of a class that a map gives nothing. */
const tiny = 1e-30;

/**
 * ln q′ of answers: σ_τ(y′) times the map of each one's label; gradients flow to the factors alone.
 *
 * @param answers log-probabilities [batch, classes]
 * @param labels int32 [batch]
 */
export const mapped = (
  answers: tf.Tensor2D,
  labels: tf.Tensor1D,
  { u, v }: Factors,
  { temperature, asReleased }: { readonly temperature: number; readonly asReleased: boolean },
): tf.Tensor2D => {
  const [batch, classes] = answers.shape;
  const q = detach(tf.exp(soften(answers, temperature)));
  const [left, right] = [u, v].map((each) => tf.reshape(each, [classes, classes, -1]));
  const scores = tf.add(tf.matMul(left as tf.Tensor3D, right as tf.Tensor3D, false, true), tf.eye(classes));
  // TensorFlow's softmax is over the last axis.
  const maps = asReleased ? tf.transpose(tf.softmax(tf.transpose(scores, [0, 2, 1])), [0, 2, 1]) : tf.softmax(scores);
  const ofLabel = tf.matMul(tf.oneHot(labels, classes, 1, 0, 'float32'), tf.reshape(maps, [classes, -1]));
  const given = tf.reshape(
    tf.matMul(tf.reshape(q, [batch, 1, classes]), tf.reshape(ofLabel, [batch, classes, classes])),
    [batch, classes],
  ) as tf.Tensor2D;
  return asReleased ? soften(given, temperature) : (tf.log(tf.maximum(given, tiny)) as tf.Tensor2D);
};
