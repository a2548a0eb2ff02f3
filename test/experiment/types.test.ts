import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { type Attack, labelled, type unlabelled } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { labelOnly, rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { experiment, pair } from '../../src/experiment/experiment.js';
import { sweep } from '../../src/experiment/sweep.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { resNeXt29 } from '../../src/models/resnext.js';
import { classifier } from '../../src/train/classifier.js';
import type { ImageSet, UnlabelledBatch } from '../../src/train/images.js';
import { crossEntropy, distillationKl } from '../../src/train/losses.js';
import type { Oracle, Victim } from '../../src/train/oracle.js';
import type { NoTensors } from '../../src/train/source.js';
import { dataOf, learnerOf, thirds } from '../run/helpers.js';

// Nothing here runs: `tsc --noEmit` is the test, and a line that is expected not to compile and does is its failure.

const rest = { name: 'types', data: dataOf(thirds()), teacher: learnerOf(), seeds: [0] } as const;
const needsWeights: Attack<'weights', typeof unlabelled> = {
  ...hardLabel(),
  needs: 'weights',
  steal: () => Promise.reject(new Error('it is only planned')),
};

const compiled = [
  () => experiment({ ...rest, students: ['self'], defenses: [none(), labelOnly()], attacks: [scratch(), kd()] }),
  () => experiment({ ...rest, students: ['self'], defenses: [labelOnly()], attacks: [scratch(), hardLabel()] }),
  () => experiment({ ...rest, students: ['self'], defenses: [compose(nasty(), rounding(2))], attacks: [kd()] }),
  () => pair(hardLabel(), labelOnly()),
  () =>
    experiment({
      ...rest,
      students: ['self'],
      defenses: [none(), ...sweep(nasty, { omega: [0, 0.001, 0.01, 0.1] })],
      attacks: [scratch(), ...sweep(kd, { temperature: [1, 4, 20], alpha: [0.1, 0.9] })],
    }),
  () =>
    experiment({
      ...rest,
      students: ['self'],
      defenses: sweep(nasty, { adversary: [plainCnn(), resNeXt29()] }, { omega: 0.1 }),
      attacks: sweep(partialKd, { fraction: [0.1, 0.3, 0.5] }),
    }),
  // What the plugin insists on is an axis or fixed.
  () => sweep(partialKd, { temperature: [1, 4] }, { fraction: 0.1 }),
  () => sweep(({ digits }: { readonly digits: number }) => rounding(digits), { digits: [1, 2] }),
  () => pair(kd(), none()),
  // A theft is an async function or a task.
  (): Attack<'label', typeof unlabelled> => ({
    ...hardLabel(),
    steal: async (victim, student, context) => {
      const answers = await context.ask('answers', victim, context.data.train);
      const set: ImageSet<UnlabelledBatch> = { ...context.data.train, answers };
      return context.fit(
        'student',
        classifier({ learner: student, data: set, loss: ({ logits }) => ({ loss: logits.mean() }) }),
      );
    },
  }),
  // An oracle that answers more fits where less is asked for.
  (oracle: Oracle<'weights'>): Oracle<'label'> => oracle,
  // The victim of an attack answers what it needs, and what is less.
  (): Attack<'probabilities', typeof labelled> => ({
    ...kd(),
    data: labelled,
    steal: (victim, student, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner: student,
          data: data.train,
          validation: data.validation,
          victim,
          target: ({ victim, pixels }) => [victim.labels(pixels), victim.logProbabilities(pixels)],
          loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels) }),
        }),
      ),
  }),
];

const refused = [
  // @ts-expect-error: kd needs probabilities, and no column exposes them
  () => experiment({ ...rest, students: ['self'], defenses: [labelOnly()], attacks: [scratch(), kd()] }),
  () =>
    experiment({
      ...rest,
      students: ['self'],
      defenses: [compose(nasty(), rounding(2)), labelOnly()],
      // @ts-expect-error: wrappers never expose weights
      attacks: [needsWeights],
    }),
  // @ts-expect-error: a plugin without its brackets
  () => experiment({ ...rest, students: ['self'], defenses: [none()], attacks: [kd] }),
  // @ts-expect-error: not a plugin
  () => experiment({ ...rest, students: ['self'], defenses: [none()], attacks: ['kd'] }),
  // @ts-expect-error: a misspelt word
  () => experiment({ ...rest, students: ['selfie'], defenses: [none()], attacks: [kd()] }),
  // @ts-expect-error: a misfitting pair
  () => pair(kd(), labelOnly()),
  // @ts-expect-error: a misfitting pair, composed
  () => pair(needsWeights, compose(nasty(), rounding(2))),
  // @ts-expect-error: a misspelt option
  () => kd({ temprature: 20 }),
  // @ts-expect-error: a misspelt option of a defence
  () => nasty({ omgea: 0.04 }),
  // @ts-expect-error: a misspelt axis
  () => sweep(nasty, { omgea: [0.04] }),
  // @ts-expect-error: a misspelt axis beside a right one
  () => sweep(kd, { alpha: [0.1], temprature: [20] }),
  // @ts-expect-error: text instead of a number
  () => sweep(kd, { alpha: ['0.1'] }),
  // @ts-expect-error: a name instead of a network
  () => sweep(nasty, { adversary: ['plainCnn'] }),
  // @ts-expect-error: one value, and not a list
  () => sweep(kd, { alpha: 0.1 }),
  // @ts-expect-error: a misspelt fixed option
  () => sweep(kd, { alpha: [0.1] }, { temprature: 20 }),
  // @ts-expect-error: an axis that is fixed as well
  () => sweep(kd, { alpha: [0.1] }, { alpha: 0.9 }),
  // @ts-expect-error: an option that the plugin insists on is missing
  () => sweep(partialKd, { temperature: [1, 4] }),
  // @ts-expect-error: one label for all
  () => sweep(kd, { alpha: [0.1, 0.9] }, { label: 'kd' }),
  // @ts-expect-error: a plugin without options
  () => sweep(none, { omega: [0.04] }),
  // @ts-expect-error: a plugin with its brackets
  () => sweep(kd(), { alpha: [0.1, 0.9] }),
  () =>
    experiment({
      ...rest,
      students: ['self'],
      defenses: [labelOnly()],
      // @ts-expect-error: swept or not, kd needs probabilities, and no column exposes them
      attacks: [scratch(), ...sweep(kd, { alpha: [0.1] })],
    }),

  (): Attack<'label', typeof unlabelled> => ({
    ...hardLabel(),
    steal: (victim, student, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner: student,
          data: data.train,
          // @ts-expect-error: without labels nothing is held out
          validation: data.validation,
          victim,
          // @ts-expect-error: it said that it owns no labels
          loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels) }),
        }),
      ),
  }),
  (): Attack<'label', typeof unlabelled> => ({
    ...hardLabel(),
    // @ts-expect-error: nor are they with the images
    steal: (_, _student, { data, value }) => value('labels', async () => data.train.examples.labels),
  }),
  (): Attack<'none', { readonly kind: 'none' }> => ({
    ...scratch(),
    data: { kind: 'none' },
    // @ts-expect-error: it said that it owns nothing
    steal: (_, _student, { data, value }) => value('images', async () => data.train),
  }),

  // @ts-expect-error: only labels were asked for
  (victim: Oracle<'label'>) => victim.logits,
  // @ts-expect-error: only labels were asked for
  (victim: Oracle<'label'>) => victim.logProbabilities,
  // @ts-expect-error: probabilities are not logits
  (victim: Oracle<'probabilities'>) => victim.logits,
  // @ts-expect-error: logits are not weights
  (victim: Oracle<'logits'>) => victim.variables,
  // @ts-expect-error: nothing was asked for
  (victim: Oracle<'none'>) => victim.labels,
  // @ts-expect-error: a victim is asked in a step of a fit, and nowhere else
  (victim: Victim<'label'>) => victim.labels,
  // @ts-expect-error: what a black box is made of is its own
  (victim: Victim<'logits'>) => victim.network,
  // @ts-expect-error: not even who holds the weights has them outside of a step
  (victim: Victim<'weights'>) => victim.variables,
  // @ts-expect-error: a victim is what an attack was handed, and nothing like it
  (): Victim<'label'> => ({ input: { height: 1, width: 1, channels: 1 }, classes: 3 }),
  // @ts-expect-error: less was asked for than it takes
  (victim: Victim<'label'>): Victim<'probabilities'> => victim,
  (): Attack<'label', typeof unlabelled> => ({
    ...hardLabel(),
    steal: (victim, student, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner: student,
          data: data.train,
          victim,
          // @ts-expect-error: it said that it needs labels alone
          target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
          loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature: 1 }),
        }),
      ),
  }),
  (): Defense<'probabilities', NoTensors, { readonly seen: tf.Scalar }> => ({
    ...rounding(2),
    answers: {
      kind: 'stateful',
      // @ts-expect-error: its state has another form
      init: () => ({ heard: tf.scalar(0) }),
      answer: ({ logProbabilities, state }) => ({ logProbabilities, state }),
    },
  }),
];

test('what must compile does, and what must not does not', () => {
  expect(compiled.length).toBe(12);
  expect(refused.length).toBe(36);
});
