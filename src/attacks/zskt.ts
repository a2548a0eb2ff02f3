import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, type Network, option, optional, positive } from '../public/plugin.js';
import {
  type Generating,
  generatorPresets,
  type StudentLoss,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { adam, cosine, klDivergence, soften, withRecipe } from '../public/train.js';
import { anyPairs, attentionBetween, namesOf, type Pair, pairsOf, whyNoPairs } from './activation-pairs.js';
import { jointOptions, scaledJoint, sidesOf4 } from './joint.js';

/** Gradients of both are clipped to this norm. */
const clip = 5;

/**
 * Zero-shot knowledge transfer (Micaelli and Storkey, NeurIPS 2019) with the victim's weights at hand: a generator maximises
 * KL(t ‖ s), and the student takes ten steps on the images that it makes of the same numbers after its step, of
 * KL(t ‖ s) + λ Σ over pairs of activations of mean (Q_s − Q_t)², Q as in `attentionMap`; all at temperature 1.
 *
 * Defaults are CIFAR-10's as released (polo5/ZeroShotKnowledgeTransfer e24915d, solver.py), but for the student, who is
 * trained by its own recipe unless the preset is given. There the divergence is divided by the number of classes as well: `klWeight`
 * does that. Its 80,000 iterations are 800 epochs of 100. In the generator's
 * steps the student's batch norms normalise by the batch, as there; their running statistics do not move then, as they do there.
 */
export const zskt = defineAttack({
  name: 'zskt',
  source: import.meta.url,
  about: "Without data: a generator looks for disagreement, and the student's attention follows the victim's",
  paper: 'Micaelli and Storkey, Zero-shot knowledge transfer via adversarial belief matching, NeurIPS 2019',
  cost: '2 · batch passes through the victim an iteration, and batch back: 20,480,000 at the defaults',
  options: {
    ...jointOptions({
      ...{ batch: 128, epochs: 800, stepsPerEpoch: 100, studentSteps: 10 },
      ...{ latent: 100, generatorRate: 1e-3 },
    }),
    klWeight: optional(
      positive,
      'Weight of KL(victim ‖ student), for the generator and the student; default: 1 / classes',
    ),
    attention: option(atLeast(0), 250, 'λ, the weight of the attention maps'),
    pairs: optional(anyPairs, "Activations that are compared; default: for each size of the student's, the nearest"),
  },
  presets: {
    cifar10: { optimizer: adam({ clip }), schedule: cosine(2e-3) },
    mnistSmall: { epochs: 10, stepsPerEpoch: 20, width: 32, optimizer: adam({ clip }), schedule: cosine(2e-3) },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledJoint,
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ optimizer, schedule, klWeight, attention, pairs, batch, latent, width, generatorRate, ...joint }) => {
    const compared = (victim: Network, student: Network): readonly Pair[] =>
      attention === 0 ? [] : (pairs ?? pairsOf(victim, student));
    return {
      synthesises: true,
      refuses: (victim, student) =>
        sidesOf4(victim) ?? (attention === 0 ? undefined : whyNoPairs(victim, student, compared(victim, student))),
      steal: (victim, learner, context) => {
        const weight = klWeight ?? 1 / learner.network.classes;
        const both = compared(victim.network, learner.network);
        return trainJointly(
          believing({ batch, latent, width, generatorRate, klWeight: weight }),
          {
            ...joint,
            studentImages: 'same',
            loss: matching(both, { klWeight: weight, attention }),
            ...(both.length === 0
              ? {}
              : { activations: { victim: namesOf(both, 'victim'), student: namesOf(both, 'student') } }),
          },
          victim,
          withRecipe(learner, { optimizer, schedule }),
          context,
        );
      },
    };
  },
});

/** What ZSKT's student minimises. */
export const matching =
  (
    pairs: readonly Pair[],
    { klWeight, attention }: { readonly klWeight: number; readonly attention: number },
  ): StudentLoss =>
  ({ logits, output, teacher, seen }) => {
    const kl = klDivergence(soften(teacher, 1), soften(logits, 1));
    if (pairs.length === 0) return { loss: tf.mul<tf.Scalar>(kl, klWeight), terms: { kl } };
    const apart = attentionBetween(pairs, output.activations ?? {}, seen ?? {});
    return {
      loss: tf.add<tf.Scalar>(tf.mul(kl, klWeight), tf.mul(apart, attention)),
      terms: { kl, attention: apart },
    };
  };

/** What the generator minimises: −w KL(t ‖ s) of victim's and student's logits, a mean over the batch. */
export const disbelief = (victim: tf.Tensor2D, student: tf.Tensor2D, klWeight: number) => {
  const kl = klDivergence(soften(victim, 1), soften(student, 1));
  return { loss: tf.mul<tf.Scalar>(kl, -klWeight), metrics: { disagreement: kl } };
};

/** ZSKT's synthesiser: a generator that maximises KL(t ‖ s). */
export const believing = ({
  batch,
  latent,
  width,
  generatorRate,
  klWeight,
}: Readonly<Record<'batch' | 'latent' | 'width' | 'generatorRate' | 'klWeight', number>>): Synthesiser<
  Generating,
  'weights'
> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.zskt, latent, width },
    optimizer: adam({ clip }),
    schedule: cosine(generatorRate),
    loss: ({ student: net }, { victim, students: [student], images }) => {
      const known = net.apply(student, images, { mode: 'train' }).logits;
      return disbelief(victim.apply(images).logits, known, klWeight);
    },
  });
