import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { compose } from '../../src/defenses/compose.js';
import { type Defense, type Recovery, unfairRecovery } from '../../src/defenses/defense.js';
import { mad } from '../../src/defenses/mad.js';
import { dcp, reverseSigmoid } from '../../src/defenses/reverse-sigmoid.js';
import { reversedLogits, stingy } from '../../src/defenses/stingy.js';
import { inverseKd, scratch } from '../../src/index.js';
import { refusal } from '../failures.js';
import { made } from '../run/helpers.js';
import { planned } from './planned.js';

const image = { height: 4, width: 4, channels: 1 };

/** A recovery, or what its author took for one. */
type Undoing = ((told: tf.Tensor2D) => tf.Tensor | undefined) | string;

const cheat = (recover: (kept: () => tf.Tensor2D | undefined) => Undoing, looks = false): Defense => {
  let kept: tf.Tensor2D | undefined;
  return {
    name: 'cheat',
    params: {},
    source: import.meta.url,
    exposes: 'probabilities',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities, images }) => {
        kept = logProbabilities;
        const moved = looks ? tf.add<tf.Tensor2D>(logProbabilities, tf.mean(images)) : logProbabilities;
        return { logProbabilities: tf.logSoftmax(tf.neg(moved)) };
      },
    },
    recover: () => recover(() => kept) as Recovery,
  };
};

describe('what a defence says that its answers can be undone by', () => {
  const fair = [reversedLogits(), reverseSigmoid(), dcp(), mad({ oracle: 'extreme' }), stingy()];
  const tried = fair.flatMap((defense) => [2, 3, 200].map((classes) => ({ name: defense.name, defense, classes })));
  test.each(tried)(
    'is fair where $name computes with the answers alone, of $classes classes',
    ({ defense, classes }) => {
      expect(unfairRecovery(defense, { image, classes })).toBeUndefined();
    },
  );

  test('leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    unfairRecovery(reverseSigmoid(), { image, classes: 3 });
    unfairRecovery(
      cheat(() => () => tf.zeros([4, 3])),
      { image, classes: 3 },
    );
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each([
    ['the clean answer, kept on the side', cheat((kept) => (told) => kept() ?? told), /knows more than the answers/],
    ['the same of a defence that looks at images', cheat((kept) => (told) => kept() ?? told, true), /knows more/],
    [
      'the same where many answers are told at once',
      cheat((kept) => (told) => (told.shape[0] > 8 && kept()?.shape[0] === told.shape[0] ? kept() : told)),
      /knows more/,
    ],
    [
      'the same where a single one is told',
      cheat((kept) => (told) => (told.shape[0] === 1 && kept()?.shape[0] === 1 ? kept() : told)),
      /knows more/,
    ],
    ['nothing before a question was asked', cheat((kept) => () => kept() as tf.Tensor2D), /gives undefined/],
    ['one row whatever it is told', cheat(() => () => tf.zeros([1, 3])), /gives \[1,3\] of 4 answers, not \[4,3\]/],
    ['no distribution', cheat(() => (told) => tf.add(told, 1)), /no distribution/],
    ['NaN', cheat(() => (told) => tf.mul(told, Number.NaN)), /no distribution/],
    ['no function', cheat(() => 'told'), /gives no function of answers/],
    [
      'an error',
      cheat(() => () => {
        throw new Error('mine alone');
      }),
      /throws of answers alone: mine alone/,
    ],
  ])('is refused where it gives %s', (_, defense, why) => {
    expect(unfairRecovery(defense, { image, classes: 3 })).toMatch(why);
  });

  test('is looked at in the batches in which it is used', () => {
    const many = cheat((kept) => (told) => (told.shape[0] > 20 && kept()?.shape[0] === told.shape[0] ? kept() : told));
    expect(unfairRecovery(many, { image, classes: 3 })).toBeUndefined();
    expect(unfairRecovery(many, { image, classes: 3 }, {}, [1, 32])).toMatch(/knows more/);
  });

  test('is looked at when an experiment is planned, also within several', async () => {
    const unfair = cheat((kept) => (told) => kept() ?? told);
    const of = made({ defenses: [compose(reversedLogits(), unfair)], attacks: [scratch(), inverseKd()] });
    const found = await planned(of).catch((error) =>
      refusal(() => {
        throw error;
      }),
    );
    expect(found).toMatchObject({
      kind: 'experiment',
      where: 'defenses: reversedLogits + cheat',
      remedy: 'Let what recover gives compute with the answers alone, or take it out.',
    });
  });
});
