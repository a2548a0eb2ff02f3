import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { deepHead, mildlyNasty } from '../../src/defenses/mildly-nasty.js';
import { loadEngine } from '../../src/engine/engine.js';
import { batchNorm, classifier, conv, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { Variables } from '../../src/models/network.js';
import { refusal } from '../failures.js';
import { recipe, thirds } from '../run/helpers.js';
import { context, type Fitting, imagesOf, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const data = thirds({ train: 32, test: 8, size: 8 });
const net = network({
  name: 'small',
  params: {},
  source: import.meta.url,
  layers: sequential(conv('conv1', 4, { kernel: 3 }), batchNorm('bn1'), relu, flatten, features, classifier('fc')),
}).build(data.image, 3);

const set = imagesOf(data);

const trained = async (
  options: Parameters<typeof mildlyNasty>[0],
  { validation = false, changes = {}, fitting }: { validation?: boolean; changes?: object; fitting?: Fitting } = {},
) => {
  const learner = { network: net, recipe: recipe({ epochs: 2, batch: 8, ...changes }) };
  const variables = net.init(key('teacher'));
  const given = {
    ...context(key('stage'), { normalisation: data.normalisation, ...(fitting && { fitting }) }),
    ...{ train: set(0, 24), validation: validation ? set(24, 32) : undefined, adversary: { learner, variables } },
  };
  const { protect } = mildlyNasty(options);
  if (protect === undefined) throw new Error('it trains nothing');
  return { variables, ...(await succeed(protect({ learner, variables }, given))) };
};

/** Rows of a matrix, each by its first number. */
const byFirst = (matrix: tf.Tensor): number[] => {
  const [rows, columns] = matrix.shape as [number, number];
  const all = values(matrix);
  return Array.from({ length: rows * columns }, (_, i) => {
    const row = Math.floor(i / columns) * columns;
    return (all[i] as number) / (all[row] as number);
  });
};

test('two layers in place of the last answer as their product does, and so do their gradients', () => {
  tf.tidy(() => {
    const { network: deep, begin, joined } = deepHead(net, 2);
    const start = begin(net.init(key('teacher')), key('head'));
    const images = tf.mul(
      tf.ones([2, 8, 8, data.image.channels]),
      tf.tensor4d([0.3, -0.8], [2, 1, 1, 1]),
    ) as tf.Tensor4D;
    const logits = (of: typeof net, variables: Variables) => of.apply(variables, images, { mode: 'eval' }).logits;
    expectClose(values(logits(deep, start)), values(logits(net, joined(start))), 1e-6);
    expect(Object.keys(joined(start).params).sort()).toEqual(Object.keys(net.init(key('other')).params).sort());
    const { features: seen } = net.apply(joined(start), images, { mode: 'eval' });
    const [a, b, second, c] = ['first.weight', 'first.bias', 'second.weight', 'second.bias'].map(
      (name) => start.params[`fc.${name}`] as tf.Tensor,
    ) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const inTurn = tf.add(tf.matMul(tf.add(tf.matMul(seen, a as tf.Tensor2D), b), second as tf.Tensor2D), c);
    expectClose(values(logits(deep, start)), values(inTurn), 1e-5);
  });
});

test('of one number between them the last layer is of rank one; nothing but it moves, and statistics drift', async () => {
  const before = tf.memory().numTensors;
  for (const part of ['light', 'deep'] as const) {
    const { variables, last, best } = await trained({ part, width: 1, omega: 0.01 }, { validation: true });
    expect(Object.keys(last.params).sort()).toEqual(Object.keys(variables.params).sort());
    for (const [name, each] of Object.entries(last.params)) {
      const was = values(variables.params[name] as tf.Tensor);
      if (name.startsWith('fc.')) expect(values(each), name).not.toEqual(was);
      else expect(values(each), name).toEqual(was);
    }
    expect(values(last.stats['bn1.running_mean'] as tf.Tensor)).not.toEqual(
      values(variables.stats['bn1.running_mean'] as tf.Tensor),
    );
    const ratios = byFirst(last.params['fc.weight'] as tf.Tensor);
    const apart = ratios.map((each, i) => Math.abs(each - (ratios[i % 3] as number)));
    if (part === 'deep') expect(Math.max(...apart)).toBeLessThan(1e-3);
    else expect(Math.max(...apart)).toBeGreaterThan(0.1);
    expect(best?.kept.params).toHaveProperty(['fc.weight']);
    tree.dispose([variables, last, ...(best === undefined ? [] : [best.kept])]);
  }
  expect(tf.memory().numTensors).toBe(before);
});

/** Variables after one step of all images, and the fits that came before it. */
const afterOneStep = async (options: Parameters<typeof mildlyNasty>[0]) => {
  const fits: { readonly name: string; readonly frozen: unknown; readonly last: unknown }[] = [];
  const fitting: Fitting = async (name, spec, run) => {
    const fitted = await run();
    fits.push({ name, frozen: spec.frozen, last: fitted.last });
    return fitted;
  };
  const made = await trained(options, { changes: { epochs: 1, batch: 24 }, fitting });
  const params = Object.fromEntries(Object.entries(made.last.params).map(([name, each]) => [name, values(each)]));
  tree.dispose([made.last, made.variables]);
  return { params, fits };
};

test('in `half` the divergence moves the last layer alone, and labels the whole net', async () => {
  const [plain, nasty] = [
    await afterOneStep({ part: 'half', omega: 0 }),
    await afterOneStep({ part: 'half', omega: 0.5 }),
  ];
  for (const [name, each] of Object.entries(nasty.params)) {
    if (name.startsWith('fc.')) expect(each, name).not.toEqual(plain.params[name]);
    else expect(each, name).toEqual(plain.params[name]);
  }
});

test('as DOGe has it, the head moves away from a surrogate that was distilled before, and not from the teacher', async () => {
  const doge = { ...mildlyNasty.presets.doge, correctOnly: false, surrogateEpochs: 1 };
  const { fits, params } = await afterOneStep({ ...doge, omega: 0.5 });
  expect(fits.map(({ name }) => name)).toEqual(['surrogate', 'teacher']);
  // What the head moves away from is what the first fit ended with.
  expect(fits[1]?.frozen).toBe(fits[0]?.last);
  const plain = await afterOneStep({ ...doge, omega: 0 });
  expect(params['fc.weight']).not.toEqual(plain.params['fc.weight']);
});

test('a net without such a layer is refused by its name', () => {
  const bare = network({
    name: 'bare',
    params: {},
    source: import.meta.url,
    layers: sequential(flatten, features, classifier('fc', { bias: false })),
  }).build(data.image, 3);
  expect(refusal(() => deepHead(bare, 2))).toMatchObject({ what: 'bare does not end in a dense layer with a bias' });
});
