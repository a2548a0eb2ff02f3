import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import {
  compose,
  type Defense,
  emma,
  experiment,
  gaussianNoise,
  inverseKd,
  inverseKnockoff,
  kd,
  keepArgmax,
  knockoff,
  learner,
  mad,
  none,
  reversedLogits,
  scratch,
  synthetic,
} from '../../src/index.js';
import { data, recipe, tiny } from './fixtures/plugins.js';
import { type Ran, ran, temporaryFolder } from './helpers.js';

const transition = emma({ epochs: 1, surrogateEpochs: 1 });

/** What an attacker has who has none of the victim's. */
const images = synthetic({ train: 60, test: 12, classes: 4, size: 4, noise: 32 });

/** It prepares something, and its recovery is none. */
const boasting: Defense = {
  ...transition,
  name: 'boasting',
  params: {},
  source: import.meta.url,
  recover: () => (answers) => answers.slice([0, 0], [1, 2]),
};

let seen: tf.Tensor2D | undefined;
/** It keeps what the net says on the side, once it is shown a net. */
const peeping: Defense = {
  name: 'peeping',
  params: {},
  source: import.meta.url,
  exposes: 'probabilities',
  answers: {
    kind: 'pure',
    answer: ({ clean, victim }) => {
      if (victim.network !== undefined) seen = clean;
      return { logProbabilities: tf.logSoftmax(tf.neg(clean)) };
    },
  },
  recover: () => (told) => (seen?.isDisposed === false && seen.shape[0] === told.shape[0] ? seen : told),
};

describe('a defence that is undone', () => {
  let { matrix }: Partial<Ran> = {};
  beforeAll(async () => {
    await loadEngine({ execution: 'eager' });
    const of = experiment({
      name: 'inverse',
      data,
      teacher: learner(tiny(), recipe()),
      students: [learner(tiny(2), recipe(2))],
      defenses: [
        none(),
        reversedLogits(),
        mad({ oracle: 'extreme', epsilon: 0.3 }),
        compose(reversedLogits(), mad({ oracle: 'extreme', epsilon: 0.1 })),
        transition,
        compose(transition, reversedLogits()),
        boasting,
        peeping,
        gaussianNoise(),
        keepArgmax({ defense: gaussianNoise() }),
      ],
      attacks: [scratch(), kd(), inverseKd(), knockoff({ images }), inverseKnockoff({ images })],
      seeds: [0],
    });
    matrix = (await ran(of, temporaryFolder())).matrix;
  });

  const cell = (attack: string, defense: string) =>
    matrix?.cells.find((each) => each.attack === attack && each.defense === defense);
  const labelled = (start: string): string =>
    matrix?.cells.find(({ defense }) => defense.startsWith(start))?.defense as string;

  test('gives the student back that the undefended teacher would have made', () => {
    for (const [told, undoing] of [
      ['kd', 'inverseKd'],
      ['knockoff', 'inverseKnockoff'],
    ] as const) {
      const clean = cell(told, 'none');
      expect(clean?.status).toBe('done');
      for (const start of ['reversedLogits', 'mad', 'reversedLogits +', 'emma', 'emma +']) {
        const undone = cell(undoing, labelled(start));
        expect(undone?.status).toBe('done');
        expect(undone?.accuracy?.mean).toBeCloseTo(clean?.accuracy?.mean as number, 2);
      }
    }
  });

  test('by what knows more than its answers makes no student', () => {
    expect(cell('inverseKd', labelled('boasting'))?.seeds[0]).toMatchObject({
      status: 'failed',
      reason: expect.stringMatching(/gives \[1,2\] of \d+ answers/),
    });
  });

  test('by what was kept of the victim’s own net makes no student', () => {
    expect(cell('inverseKd', labelled('peeping'))?.seeds[0]).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('it knows more than the answers'),
    });
  });

  test('is not tried where no inverse is known, and says so', () => {
    for (const defense of [labelled('none'), labelled('gaussianNoise'), labelled('keepArgmax')]) {
      expect(cell('inverseKd', defense)).toMatchObject({ status: 'n/a' });
      expect(cell('inverseKd', defense)?.seeds[0]).toMatchObject({ reason: `no inverse of ${defense} is known` });
    }
  });
});
