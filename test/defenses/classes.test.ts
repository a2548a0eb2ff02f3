import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { defenses } from '../../src/cli/catalogue.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { type Defense, partsOf } from '../../src/defenses/defense.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as index from '../../src/index.js';
import { classifier, dense, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { Variables } from '../../src/models/network.js';
import { readShift } from '../../src/train/answer-shift.js';
import { open, publish, retire, sessionOf, tensorsOf, type Wrapper } from '../../src/train/oracle.js';
import { recipe } from '../run/helpers.js';
import { context, imagesOf, succeed } from '../train/bench.js';

const plugin = network({
  name: 'small',
  params: {},
  source: import.meta.url,
  layers: sequential(flatten, dense('fc1', 4), relu, features, classifier('fc2')),
});
const image = { height: 4, width: 4, channels: 1 };
const normalisation = { mean: [0.5], std: [0.5] };
const surrogate = { surrogate: plugin, surrogateEpochs: 1 };

/** Each defence that changes answers, at its strongest where it has a budget. */
const wrappers: readonly Defense[] = [
  index.adaptiveMisinformation({ epochs: 1 }),
  index.antidistillation({ ...surrogate, variant: 'ads', lambda: 1, images: 8 }),
  index.antidistillation({ ...surrogate, variant: 'adsC', lambda: 1, images: 8 }),
  index.antidistillation({ ...surrogate, variant: 'cts', lambda: 1, images: 8 }),
  index.dcp(),
  index.emma({ ...surrogate, epochs: 1 }),
  index.gaussianNoise({ sd: 1 }),
  index.gaussianNoise({ sd: 1, draw: 'sticky' }),
  index.grad2({ ...surrogate, epsilon: 2 }),
  index.highConfidence({ cutoff: 0.9 }),
  index.keepArgmax({ defense: index.mad({ oracle: 'extreme', epsilon: 2 }) }),
  index.mad({ epsilon: 2 }),
  index.mad({ epsilon: 2, objective: 'stretch' }),
  index.mad({ epsilon: 2, oracle: 'extreme' }),
  index.meco(),
  index.meco({ strength: 2, draw: 'sticky' }),
  index.misleader({ passes: 1, epochs: 1, surrogate: plugin }),
  index.modelGuard({ epsilon: 2 }),
  index.modelGuard({ variant: 'S', epsilon: 2, capacity: 4 }),
  index.productOfExperts({ ...surrogate, gamma: 1 }),
  index.productOfExperts({ ...surrogate, gamma: 1, keepLabel: true }),
  index.randomClass({ epsilon: 2 }),
  index.reversedLogits(),
  index.reverseSigmoid({ beta: 5, gamma: 0.01 }),
  index.reverseSigmoid(index.reverseSigmoid.presets.predictionPoisoning),
  index.rounding(0),
  index.stingy({ ratio: 0.01 }),
  index.topK(1),
];

test('every defence that changes answers is among them', () => {
  const names = defenses
    .flatMap(({ samples }) => samples.map(({ plugin }) => plugin))
    .filter(({ name, answers }) => answers !== undefined || name === 'keepArgmax')
    .map(({ name }) => name);
  expect([...new Set(wrappers.map(({ name }) => name))].sort()).toEqual([...new Set(names)].sort());
});

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

/** Weights that are so large that each answer is a single class, with probabilities of exactly 0 and 1; or next to none. */
const scaled = ({ params, stats }: Variables, by: number): Variables => ({
  stats: tree.clone(stats),
  params: tree.map(params, (each) => tf.mul(each, by)),
});

/**
 * What answers before it: nothing, or a defence by which half of the probabilities are exactly 0, and of two classes one is exactly 1; or by
 * which they need not sum to 1.
 */
const befores: readonly (readonly Wrapper[])[] = [
  [],
  ...[index.stingy({ ratio: 0.5 }), index.rounding(1), index.topK(1), index.highConfidence()].map(
    ({ name, answers, preserves }) => (answers === undefined ? [] : [{ name, answers, preserves, prepared: {} }]),
  ),
];

describe.each([2, 200])('of %i classes', (classes) => {
  const net = plugin.build(image, classes);
  const examples = {
    images: Uint8Array.from({ length: 32 * 16 }, (_, i) => (i * 97) % 256),
    labels: Uint8Array.from({ length: 32 }, (_, i) => i % classes),
    count: 32,
  };
  const setOf = imagesOf({ train: examples, image, normalisation });
  const pixels = () =>
    tf.tensor4d(
      Float32Array.from(examples.images, (each) => each / 255),
      [32, 4, 4, 1],
    );

  test.each(
    wrappers.map(
      (defense) => [JSON.stringify([defense.name, defense.params], (_, v) => v?.name ?? v), defense] as const,
    ),
  )('%s answers distributions, also of answers that are 0 and 1, its own or those before it', async (_, defense) => {
    const learner = { network: net, recipe: recipe({ epochs: 1, batch: 8 }) };
    const before = tf.memory().numTensors;
    const base = net.init(key('victim'));
    for (const by of [1, 1e4, 1e-4]) {
      const variables = tf.tidy(() => tree.keep(scaled(base, by)));
      const adversary = { learner, variables };
      const given = { ...context(key('stage')), train: setOf(0, 24), validation: setOf(24, 32), adversary };
      const own: Wrapper[] = [];
      for (const { name, answers, preserves, prepare } of partsOf(defense)) {
        if (answers === undefined) throw new Error(`${name} answers nothing`);
        const made = await (prepare && succeed(prepare({ learner, variables }, given)));
        own.push({ name, answers, preserves, prepared: (made ?? {}) as tree.Tree });
      }
      for (const others of befores) {
        // What asks the net anew comes first.
        if (own.some(({ answers }) => answers.asksAnew) && others.length > 0) continue;
        const victim = publish({
          network: net,
          variables,
          normalisation,
          access: 'probabilities',
          wrappers: [...others, ...own],
        });
        tf.tidy(() => {
          const { oracle, close } = open(victim, {
            tensors: tensorsOf(victim),
            memory: sessionOf(victim).memory,
            seed: tf.tensor1d([1, 2], 'int32'),
          });
          const told = oracle.logProbabilities(pixels()).dataSync();
          expect(told.every((each) => each <= 1e-3)).toBe(true);
          const { shift } = close();
          const { invalid, l1, changed } = readShift((shift as tf.Tensor1D).dataSync());
          expect(invalid).toBe(0);
          // What is rounded or cut may tell several as equal, of which the label is told beside; so are all to the last bits of next to none.
          const isWhole = [...others, ...own].every(({ answers }) => !answers.unnormalised);
          if (defense.preserves === 'label' && isWhole && by >= 1) expect(changed, `${by}`).toBe(0);
          expect(l1 / 32).toBeLessThanOrEqual(2.001);
          const recovered =
            defense
              .recover?.(own[0]?.prepared)(tf.tensor2d(told, [32, classes]))
              .dataSync() ?? told;
          expect(recovered.every((each) => each <= 1e-3)).toBe(true);
        });
        retire(victim);
      }
      tree.dispose([variables, own.map(({ prepared }) => prepared)]);
    }
    tree.dispose(base);
    expect(tf.memory().numTensors).toBe(before);
  });
});
