import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import { entries, leaves } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { airbench } from '../../src/models/airbench.js';
import {
  avgPool,
  batchNorm,
  classifier,
  concatenated,
  conv,
  dense,
  features,
  fitLayers,
  flatten,
  interleaved,
  type Layer,
  marked,
  maxPool,
  module,
  network,
  relu,
  residual,
  scaled,
  sequential,
  tanh,
} from '../../src/models/layers.js';
import { leNet5, leNet5Half } from '../../src/models/lenet.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type {
  BatchStats,
  ImageShape,
  ImageStats,
  NetworkPlugin,
  Shape,
  VariableSpec,
} from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { resNeXt29 } from '../../src/models/resnext.js';
import { shuffleNetV2 } from '../../src/models/shufflenet-v2.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const colour: ImageShape = { height: 32, width: 32, channels: 3 };
const grey: ImageShape = { height: 32, width: 32, channels: 1 };

/** Published parameter counts at 10 classes, and the number of features. */
const published: readonly (readonly [string, NetworkPlugin, ImageShape, number, number])[] = [
  ['plain CNN', plainCnn(), colour, 357_514, 2048],
  ['PreResNet-20', preResNet(20), colour, 272_282, 64],
  ['PreResNet-32', preResNet(32), colour, 466_714, 64],
  ['PreResNet-44', preResNet(44), colour, 683_162, 256],
  ['PreResNet-56', preResNet(56), colour, 868_634, 256],
  ['PreResNet-110', preResNet(110), colour, 1_703_258, 256],
  ['ResNet-18', resNet(18), colour, 11_173_962, 512],
  ['ResNet-34', resNet(34), colour, 21_282_122, 512],
  ['ResNet-50', resNet(50), colour, 23_520_842, 2048],
  ['ResNeXt-29', resNeXt29(), colour, 34_426_698, 1024],
  // From the published counts at 100 classes: 90 · 1281 and 90 · 1025 fewer.
  ['MobileNetV2', mobileNetV2(), colour, 2_254_090, 1280],
  ['ShuffleNetV2', shuffleNetV2(), colour, 1_268_646, 1024],
  ['LeNet-5', leNet5(), grey, 61_706, 120],
  ['LeNet-5-half', leNet5Half(), grey, 15_738, 60],
  // Of 1,971,640 the whitening kernels, 288, are fixed.
  ['airbench', airbench(), colour, 1_971_640 - 288, 256],
];

describe('parameter counts', () => {
  it.each(published)('%s', (_, plugin, input, count) => {
    const { variables } = plugin.build(input, 10);
    const sizes = variables.filter(({ kind }) => kind === 'param').map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(count);
  });

  it.each([
    ['plain CNN', plainCnn(), 32, 100, 369_124],
    ['ResNet-18', resNet(18), 32, 100, 11_220_132],
    ['ResNet-18', resNet(18), 64, 200, 11_271_432],
    ['ResNet-50', resNet(50), 32, 100, 23_705_252],
    ['ResNeXt-29', resNeXt29(), 32, 100, 34_518_948],
    ['MobileNetV2', mobileNetV2(), 32, 100, 2_369_380],
    ['ShuffleNetV2', shuffleNetV2(), 32, 100, 1_360_896],
  ] as const)('%s on sides of %i pixels with %i classes', (_, plugin, side, classes, count) => {
    const { variables } = plugin.build({ height: side, width: side, channels: 3 }, classes);
    const sizes = variables.filter(({ kind }) => kind === 'param').map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(count);
  });
});

const small = published.filter(([name]) => /plain|20|44|LeNet|MobileNet|ShuffleNet/.test(name));

describe.each(small)('%s', (_, plugin, input, __, features) => {
  const network = plugin.build(input, 10);

  it('gives the same bits for the same key, and others for another', () => {
    const bits = (name: string) => {
      const variables = network.init(key(name));
      const all = entries(variables).map(([path, tensor]) => [path, [...tensor.dataSync().slice(0, 50)]]);
      tf.dispose(variables);
      return all;
    };
    expect(bits('a')).toEqual(bits('a'));
    expect(bits('a')).not.toEqual(bits('b'));
  });

  it('computes in both modes, with all that can be asked for, and leaves nothing behind', () => {
    const variables = network.init(key('init'));
    const images: tf.Tensor4D = tf.randomNormal([4, input.height, input.width, input.channels], 0, 1, 'float32', 1);
    const before = tf.memory().numTensors;
    for (const mode of ['train', 'eval'] as const) {
      const asked = { batchStats: 'all', imageStats: true, activations: Object.keys(network.activations) } as const;
      const output = network.apply(variables, images, { mode, ...asked });
      expect(output.logits.shape).toEqual([4, 10]);
      expect(output.features.shape).toEqual([4, features]);
      expect(Object.keys(output.stats).sort()).toEqual(Object.keys(variables.stats).sort());
      expect(Object.keys(output.batchStats ?? {})).toHaveLength(Object.keys(variables.stats).length / 2);
      const batchNorms = (over: VariableSpec['over']) =>
        network.variables.filter((spec) => spec.over === over).length / 2;
      expect(Object.keys(output.imageStats ?? {})).toHaveLength(batchNorms('images'));
      const { logits, features: found, batchStats, imageStats, activations } = output;
      const shapes = Object.entries(activations ?? {}).map(([name, { shape }]) => [name, shape.slice(1)]);
      expect(shapes).toEqual(Object.entries(network.activations).map(([name, shape]) => [name, sides(shape)]));
      tf.dispose([logits, found, batchStats, imageStats, activations] as never);
      if (mode === 'train') tf.dispose(output.stats);
    }
    expect(tf.memory().numTensors).toBe(before);
    const loss = (list: tf.Tensor[]) => {
      const params = Object.fromEntries(Object.keys(variables.params).map((name, i) => [name, list[i] as tf.Tensor]));
      const { logits } = network.apply({ ...variables, params }, images, { mode: 'train' });
      return tf.sum(tf.square(logits)) as tf.Scalar;
    };
    const { value, grads } = tf.tidy(() => tf.valueAndGrads((...list) => loss(list))(Object.values(variables.params)));
    expect(grads).toHaveLength(Object.keys(variables.params).length);
    tf.dispose([value, grads as never]);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([variables as never, images]);
  });
});

const sides = (shape: Shape) => (shape.kind === 'image' ? [shape.height, shape.width, shape.channels] : [shape.size]);

describe('activations', () => {
  const of = (name: string, ...expected: readonly (readonly [string, number, number])[]) => [name, expected] as const;
  // What modules of these names give in PyTorch, on 32×32 images.
  const known = [
    of('plain CNN', ['block1', 16, 32], ['block2', 8, 64], ['block3', 4, 128]),
    of('PreResNet-20', ['layer1', 32, 16], ['layer2', 16, 32], ['layer3', 8, 64]),
    of('PreResNet-110', ['layer1', 32, 64], ['layer2', 16, 128], ['layer3', 8, 256]),
    of('ResNet-18', ['layer1', 32, 64], ['layer2', 16, 128], ['layer3', 8, 256], ['layer4', 4, 512]),
    of('ResNet-50', ['layer1', 32, 256], ['layer2', 16, 512], ['layer3', 8, 1024], ['layer4', 4, 2048]),
    of('ResNeXt-29', ['stage_1', 32, 256], ['stage_2', 16, 512], ['stage_3', 8, 1024]),
    // The skeptical student's branches are on stage2, of 24 channels and 17², and on stage4 and stage6, of 5² (its code's mobilenetv2_self.py).
    of(
      'MobileNetV2',
      ['pre', 34, 32],
      ['stage1', 34, 16],
      ['stage2', 17, 24],
      ['stage3', 9, 32],
      ['stage4', 5, 64],
      ['stage5', 5, 96],
      ['stage6', 5, 160],
      ['stage7', 5, 320],
      ['conv1', 5, 1280],
    ),
    of(
      'ShuffleNetV2',
      ['pre', 32, 24],
      ['stage2', 16, 116],
      ['stage3', 8, 232],
      ['stage4', 4, 464],
      ['conv5', 4, 1024],
    ),
    of('LeNet-5', ['block1', 14, 6], ['block2', 5, 16], ['block3', 1, 120]),
    of('LeNet-5-half', ['block1', 14, 3], ['block2', 5, 8], ['block3', 1, 60]),
  ];

  it.each(known)('of %s', (name, expected) => {
    const [, plugin, input] = published.find(([each]) => each === name) as (typeof published)[number];
    const { activations } = plugin.build(input, 10);
    expect(Object.entries(activations).map(([each, shape]) => [each, sides(shape)])).toEqual(
      expected.map(([each, side, channels]) => [each, [side, side, channels]]),
    );
  });

  const deep = published.filter(([name]) => /plain|PreResNet-20|ResNet-18|ResNeXt|Mobile|Shuffle|LeNet-5$/.test(name));
  it.each(deep)('of %s leave the logits their bits, one by one and together', (_, plugin, input) => {
    const side = input.channels === 1 ? 32 : 8;
    const network = plugin.build({ ...input, height: side, width: side }, 10);
    const names = Object.keys(network.activations);
    tf.tidy(() => {
      const variables = network.init(key('init'));
      const images: tf.Tensor4D = tf.randomNormal([3, side, side, input.channels], 0, 1, 'float32', 1);
      for (const mode of ['train', 'eval'] as const) {
        const bare = network.apply(variables, images, { mode });
        expect(Object.keys(bare).sort()).toEqual(['features', 'logits', 'stats']);
        for (const activations of [names, ...names.map((name) => [name])]) {
          const output = network.apply(variables, images, { mode, activations });
          expect(Object.keys(output.activations ?? {}).sort()).toEqual([...activations].sort());
          for (const part of ['logits', 'features', 'stats'] as const)
            expect(bitsOf(output[part])).toEqual(bitsOf(bare[part]));
        }
      }
    });
  });

  it('are the numbers that the next module takes in', () => {
    const network = plainCnn({ width: 4 }).build({ height: 8, width: 8, channels: 3 }, 10);
    tf.tidy(() => {
      const variables = network.init(key('init'));
      const images: tf.Tensor4D = tf.randomNormal([3, 8, 8, 3], 0, 1, 'float32', 1);
      const { activations, features } = network.apply(variables, images, {
        mode: 'eval',
        activations: ['block2', 'block3'],
      });
      const { block2, block3 } = activations as Record<string, tf.Tensor4D>;
      expect(values(tf.reshape(block3 as tf.Tensor4D, features.shape))).toEqual(values(features));
      // The third block by hand: fresh batch norms divide by √(1 + ε) alone.
      const { 'conv3.weight': weight, 'conv3.bias': bias } = variables.params as Record<string, tf.Tensor4D>;
      const convolved = tf.add(tf.conv2d(block2 as tf.Tensor4D, weight as tf.Tensor4D, 1, 'same'), bias as tf.Tensor);
      const pooled = tf.maxPool(tf.div<tf.Tensor4D>(convolved, Math.sqrt(1 + 1e-5)), 2, 2, 'valid');
      expectClose(values(tf.relu(pooled)), values(block3 as tf.Tensor4D));
    });
  });

  it.each(['train', 'eval'] as const)('have gradients, in mode %s', (mode) => {
    const network = preResNet(20).build({ height: 8, width: 8, channels: 3 }, 10);
    const variables = network.init(key('init'));
    tf.tidy(() => {
      const images: tf.Tensor4D = tf.randomNormal([3, 8, 8, 3], 0, 1, 'float32', 1);
      const { gradients } = valueAndGradient((params) => {
        const { activations } = network.apply({ ...variables, params }, images, { mode, activations: ['layer2'] });
        return { loss: tf.sum<tf.Scalar>(tf.square(activations?.layer2 as tf.Tensor)), aux: {} };
      }, variables.params);
      const moved = Object.keys(gradients).filter((name) =>
        values(gradients[name] as tf.Tensor).some((slope) => slope !== 0),
      );
      const before = Object.keys(variables.params).filter((name) => /^(conv1|layer1|layer2)\./.test(name));
      expect(moved).toEqual(before);
    });
    tf.dispose(variables as never);
  });

  it.each(['train', 'eval'] as const)('have the gradient of finite differences, in mode %s', (mode) => {
    const input = { kind: 'image', height: 6, width: 6, channels: 2 } as const;
    const block = (index: number) =>
      module(`layer${index}`, sequential(conv('conv', 3, { kernel: 3, bias: true }), batchNorm('bn'), tanh));
    const { init, run } = fitLayers(sequential(block(1), block(2)), { where: 'here', input });
    tf.tidy(() => {
      const variables = init(key('init'));
      const random = (seed: number) => tf.randomNormal([3, 6, 6, 2], 0, 1, 'float32', seed);
      const [x, along] = [random(1), random(2)];
      const asked = { mode, activations: ['layer1', 'layer2'], imageStats: true, batchStats: true } as const;
      const loss = (at: tf.Tensor) => {
        const { activations = {}, imageStats = {}, batchStats = {} } = run(variables, at, asked);
        const found = [...Object.values(activations), ...[imageStats, batchStats].flatMap((each) => leaves(each))];
        return found
          .map((each, i) => tf.mul(tf.mean(tf.pow(each, 2)), i + 1))
          .reduce((a, b) => tf.add(a, b)) as tf.Scalar;
      };
      const at = (step: number) => values(loss(tf.add(x, tf.mul(along, step))))[0] as number;
      const slope = values(tf.sum(tf.mul(tf.grad(loss)(x), along)))[0] as number;
      expect(Math.abs(slope - (at(1e-2) - at(-1e-2)) / 2e-2)).toBeLessThan(2e-3 * Math.abs(slope));
    });
  });

  it('that are not there are refused, with those there are', () => {
    const network = preResNet(20).build(colour, 10);
    const variables = network.init(key('init'));
    const images: tf.Tensor4D = tf.zeros([1, 32, 32, 3]);
    const before = tf.memory().numTensors;
    const ask = (activations: readonly string[]) => () =>
      network.apply(variables, images, { mode: 'eval', activations });
    expect(refusal(ask(['layer1', 'layer4']))).toEqual({
      _tag: 'Failure',
      kind: 'plugin',
      what: 'there is no activation “layer4”',
      where: 'preResNet on 32×32×3 images',
      remedy: 'There are layer1, layer2, layer3.',
    });
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([variables as never, images]);
  });

  it('nothing is fused across one that is asked for, and all is where it is not', () => {
    const layers = (...between: Layer[]) =>
      sequential(conv('conv', 3, { kernel: 3, bias: true }), ...between, relu, maxPool(2));
    const input = { kind: 'image', height: 8, width: 8, channels: 2 } as const;
    const asking = fitLayers(layers(marked('conv')), { where: 'here', input });
    const bare = fitLayers(layers(), { where: 'here', input });
    tf.tidy(() => {
      const variables = asking.init(key('init'));
      const x = tf.randomNormal([2, 8, 8, 2], 0, 1, 'float32', 1);
      const { y, activations } = asking.run(variables, x, { mode: 'train', activations: ['conv'] });
      expect(bitsOf(y)).toEqual(bitsOf(bare.run(variables, x, { mode: 'train' }).y));
      const unasked = asking.run(variables, x, { mode: 'train' });
      expect(Object.keys(unasked)).toEqual(['y', 'stats']);
      expect(bitsOf(unasked.y)).toEqual(bitsOf(y));
      const { 'conv.weight': weight, 'conv.bias': bias } = variables.params as Record<string, tf.Tensor4D>;
      const convolved = tf.add(tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, 1, 'valid'), bias as tf.Tensor);
      expectClose(values(activations?.conv as tf.Tensor), values(convolved));
    });
  });
});

describe('statistics of batch norms', () => {
  it.each(['train', 'eval'] as const)(
    'of each image and of the batch are those of what they take in, in mode %s',
    (mode) => {
      const bn = (name: string) => sequential(marked(`to ${name}`), batchNorm(name));
      const layers = sequential(
        conv('conv1', 3, { kernel: 3, bias: true }),
        bn('bn1'),
        relu,
        conv('conv2', 4, { kernel: 3, stride: 2, bias: true }),
        bn('bn2'),
        flatten,
        bn('bn3'),
      );
      const input = { kind: 'image', height: 8, width: 7, channels: 2 } as const;
      const { init, run } = fitLayers(layers, { where: 'here', input });
      tf.tidy(() => {
        const variables = init(key('init'));
        const x = tf.randomNormal([5, 8, 7, 2], 1, 2, 'float32', 1);
        const asked = { mode, activations: ['to bn1', 'to bn2', 'to bn3'] } as const;
        const {
          activations = {},
          batchStats = {},
          imageStats = {},
        } = run(variables, x, { ...asked, batchStats: 'all', imageStats: true });
        expect(Object.keys(batchStats)).toEqual(['bn1', 'bn2', 'bn3']);
        expect(Object.keys(imageStats)).toEqual(['bn1', 'bn2']);
        const over = run(variables, x, { mode, batchStats: true });
        expect(Object.keys(over)).toEqual(['y', 'stats', 'batchStats']);
        expect(bitsOf(over.batchStats ?? {})).toEqual(bitsOf({ bn1: batchStats.bn1, bn2: batchStats.bn2 } as never));
        const expectMoments = (found: BatchStats | ImageStats, of: tf.Tensor, axes: number[]) => {
          const { mean, variance } = tf.moments(of, axes);
          expect([found.mean.shape, found.variance.shape]).toEqual([mean.shape, variance.shape]);
          expectClose(values(found.mean), values(mean), 1e-5);
          expectClose(values(found.variance), values(variance), 1e-5);
        };
        for (const name of ['bn1', 'bn2']) {
          expectMoments(batchStats[name] as BatchStats, activations[`to ${name}`] as tf.Tensor, [0, 1, 2]);
          expectMoments(imageStats[name] as ImageStats, activations[`to ${name}`] as tf.Tensor, [1, 2]);
        }
        expectMoments(batchStats.bn3 as BatchStats, activations['to bn3'] as tf.Tensor, [0]);
      });
    },
  );

  it('variables say what a batch norm is over', () => {
    const { variables } = plainCnn().build(colour, 10);
    const over = variables.flatMap(({ name, over }) => (over === undefined ? [] : [[name, over]]));
    const both = (name: string, of: string) => [
      [`${name}.running_mean`, of],
      [`${name}.running_var`, of],
    ];
    expect(over).toEqual([
      ...['bn1', 'bn2', 'bn3'].flatMap((name) => both(name, 'images')),
      ...both('fcbn1', 'vectors'),
    ]);
  });
});

it('a dense layer starts from He’s normal numbers where that is asked for', () => {
  const layer = dense('fc', 400, { initial: 'kaiming-normal' });
  const { params } = fitLayers(layer, { where: 'here', input: { kind: 'vector', size: 50 } }).init(key('init'));
  const [weight, bias] = ['weight', 'bias'].map((part) => params[`fc.${part}`] as tf.Tensor) as [tf.Tensor, tf.Tensor];
  const mean = (tensor: tf.Tensor) => tensor.mean().dataSync()[0] as number;
  tf.tidy(() => {
    expect(mean(weight)).toBeCloseTo(0, 2);
    expect(mean(tf.square(weight))).toBeCloseTo(2 / 50, 2);
    expect(mean(tf.abs(bias))).toBe(0);
  });
  tf.dispose(params);
});

describe('layers side by side', () => {
  const given = { where: 'here', input: { kind: 'image', height: 4, width: 4, channels: 1 } } as const;
  const none = { params: {}, stats: {} };

  it('means and maxima of windows, in the channels of one image', () => {
    const { run, output } = fitLayers(concatenated(avgPool(2), maxPool(2)), given);
    expect(output).toEqual({ kind: 'image', height: 2, width: 2, channels: 2 });
    const x = tf.reshape(tf.range(0, 16), [1, 4, 4, 1]);
    expect(values(run(none, x, { mode: 'train' }).y)).toEqual([2.5, 5, 4.5, 7, 10.5, 13, 12.5, 15]);
  });

  it('the input itself among them, through which a gradient flows too', () => {
    const { run } = fitLayers(concatenated(sequential(), scaled(3)), given);
    const x = tf.reshape(tf.range(0, 16), [1, 4, 4, 1]);
    const weights = tf.tile(tf.tensor1d([10, 1]), [16]);
    const before = tf.memory().numTensors;
    const [y, slope] = tf.tidy(() => {
      const gives = (of: tf.Tensor) => run(none, of, { mode: 'train' }).y;
      const weighed = (of: tf.Tensor) => tf.sum(tf.mul(tf.reshape(gives(of), [32]), weights)) as tf.Scalar;
      return [gives(x), tf.grad(weighed)(x)] as const;
    });
    expect(values(y).slice(0, 6)).toEqual([0, 0, 1, 3, 2, 6]);
    expect(values(slope)).toEqual(Array(16).fill(13));
    tf.dispose([y, slope]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('shapes that do not fit', () => {
  it('LeNet wants 32×32', () => {
    const failure = refusal(() => leNet5().build({ height: 28, width: 28, channels: 1 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment', where: 'leNet5 on 28×28×1 images' });
    expect(failure?.what).toContain('32×32');
    expect(failure?.remedy).toBeDefined();
  });

  it('the plain CNN cannot pool 7×7 three times', () => {
    const failure = refusal(() => plainCnn().build({ height: 7, width: 7, channels: 1 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment' });
    expect(failure?.where).toContain('plainCnn');
  });

  it.each([
    [mobileNetV2(), 'mobileNetV2', 8],
    [shuffleNetV2(), 'shuffleNetV2', 8],
    [resNeXt29(), 'resNeXt29', 4],
  ])('the sides of images are not smaller than what it halves them by: %#', (plugin, name, side) => {
    const failure = refusal(() => plugin.build({ height: side, width: side - 1, channels: 3 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment', where: `${name} on ${side}×${side - 1}×3 images` });
    expect(failure?.what).toBe(`it takes images of at least ${side}×${side}`);
    expect(plugin.build({ height: side, width: side, channels: 1 }, 10).classes).toBe(10);
  });

  it('what is interleaved has halves, and is of one shape', () => {
    const fit = (layer: Layer, channels: number) => () =>
      fitLayers(layer, { where: 'here', input: { kind: 'image', height: 8, width: 8, channels } });
    const nothing = sequential();
    expect(refusal(fit(interleaved(nothing, nothing, 'halves'), 3))).toMatchObject({
      what: '3 channels have no halves',
      where: 'here, interleaved',
    });
    expect(refusal(fit(interleaved(nothing, maxPool(2)), 3)).what).toContain('8×8×3 and 4×4×3');
    expect(fit(interleaved(nothing, nothing), 3)().output).toMatchObject({ channels: 6 });
  });

  it('what is added is of one shape', () => {
    const fit = (layer: Layer) => () =>
      fitLayers(layer, { where: 'here', input: { kind: 'image', height: 8, width: 8, channels: 3 } });
    const body = conv('conv', 4, { kernel: 3, stride: 2, padding: 1 });
    expect(refusal(fit(residual(body)))).toMatchObject({
      what: '8×8×3 cannot be added to 4×4×4',
      where: 'here, residual',
      remedy: expect.stringContaining('Give it a shortcut'),
    });
    expect(refusal(fit(residual(body, conv('short', 4, { kernel: 1 }))))).toMatchObject({
      what: '8×8×4 cannot be added to 4×4×4',
      remedy: expect.stringContaining('the same strides and channels'),
    });
    expect(fit(residual(body, conv('short', 4, { kernel: 1, stride: 2 })))().output).toMatchObject({ channels: 4 });
  });

  it('what is concatenated is of one height and width', () => {
    const fit = (layer: Layer) => () =>
      fitLayers(layer, { where: 'here', input: { kind: 'image', height: 8, width: 8, channels: 3 } });
    expect(refusal(fit(concatenated(sequential(), avgPool(2))))).toMatchObject({
      what: 'images of 8×8×3 and 4×4×3 do not lie side by side',
      where: 'here, concatenated',
    });
    expect(fit(concatenated(avgPool(3), maxPool(3)))().output).toEqual({
      ...{ kind: 'image', height: 2, width: 2, channels: 6 },
    });
  });

  it('a network ends in one number a class, and its features are a vector', () => {
    const build =
      (...own: readonly Layer[]) =>
      () =>
        network({ name: 'own', source: 'own.ts', layers: sequential(...own) }).build(grey, 10);
    expect(refusal(build(conv('conv', 3, { kernel: 1 })))).toMatchObject({
      what: 'it ends in an image of 32×32×3, where there are 10 classes',
      where: 'own on 32×32×1 images',
    });
    expect(refusal(build(flatten, dense('fc', 9)))).toMatchObject({
      what: 'it ends in 9 numbers, where there are 10 classes',
      remedy: expect.stringContaining("classifier('fc')"),
    });
    expect(refusal(build(features, flatten, classifier('fc')))).toMatchObject({
      what: 'features are a vector, not an image of 32×32×1',
      remedy: 'Put globalMean or flatten before it.',
    });
    expect(build(flatten, features, classifier('fc'))).not.toThrow();
  });

  it('any size and number of classes where it fits', () => {
    expect(plainCnn().build({ height: 28, width: 28, channels: 1 }, 7).classes).toBe(7);
    expect(preResNet(20).build({ height: 13, width: 64, channels: 5 }, 200).classes).toBe(200);
  });
});
