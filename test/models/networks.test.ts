import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { entries } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { dense, fitLayers, interleaved, type Layer, maxPool, sequential } from '../../src/models/layers.js';
import { leNet5, leNet5Half } from '../../src/models/lenet.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type { ImageShape, NetworkPlugin } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { resNeXt29 } from '../../src/models/resnext.js';
import { shuffleNetV2 } from '../../src/models/shufflenet-v2.js';

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

  it('computes in both modes, with taps, and leaves nothing behind', () => {
    const variables = network.init(key('init'));
    const images: tf.Tensor4D = tf.randomNormal([4, input.height, input.width, input.channels], 0, 1, 'float32', 1);
    const before = tf.memory().numTensors;
    for (const mode of ['train', 'eval'] as const) {
      const output = network.apply(variables, images, { mode, taps: true });
      expect(output.logits.shape).toEqual([4, 10]);
      expect(output.features.shape).toEqual([4, features]);
      expect(Object.keys(output.stats).sort()).toEqual(Object.keys(variables.stats).sort());
      expect(Object.keys(output.taps ?? {})).toHaveLength(Object.keys(variables.stats).length / 2);
      tf.dispose([output.logits, output.features, output.taps as never]);
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

describe('shapes that do not fit', () => {
  const failureOf = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      if (error instanceof FailureError) return error.failure;
      throw error;
    }
    return undefined;
  };

  it('LeNet wants 32×32', () => {
    const failure = failureOf(() => leNet5().build({ height: 28, width: 28, channels: 1 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment', where: 'leNet5 on 28×28×1 images' });
    expect(failure?.what).toContain('32×32');
    expect(failure?.remedy).toBeDefined();
  });

  it('the plain CNN cannot pool 7×7 three times', () => {
    const failure = failureOf(() => plainCnn().build({ height: 7, width: 7, channels: 1 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment' });
    expect(failure?.where).toContain('plainCnn');
  });

  it.each([
    [mobileNetV2(), 'mobileNetV2', 8],
    [shuffleNetV2(), 'shuffleNetV2', 8],
    [resNeXt29(), 'resNeXt29', 4],
  ])('the sides of images are not smaller than what it halves them by: %#', (plugin, name, side) => {
    const failure = failureOf(() => plugin.build({ height: side, width: side - 1, channels: 3 }, 10));
    expect(failure).toMatchObject({ kind: 'experiment', where: `${name} on ${side}×${side - 1}×3 images` });
    expect(failure?.what).toBe(`it takes images of at least ${side}×${side}`);
    expect(plugin.build({ height: side, width: side, channels: 1 }, 10).classes).toBe(10);
  });

  it('what is interleaved has halves, and is of one shape', () => {
    const fit = (layer: Layer, channels: number) => () =>
      fitLayers(layer, { where: 'here', input: { kind: 'image', height: 8, width: 8, channels } });
    const nothing = sequential();
    expect(failureOf(fit(interleaved(nothing, nothing, 'halves'), 3))).toMatchObject({
      what: '3 channels have no halves',
      where: 'here, interleaved',
    });
    expect(failureOf(fit(interleaved(nothing, maxPool(2)), 3))?.what).toContain('8×8×3 and 4×4×3');
    expect(fit(interleaved(nothing, nothing), 3)().output).toMatchObject({ channels: 6 });
  });

  it('any size and number of classes where it fits', () => {
    expect(plainCnn().build({ height: 28, width: 28, channels: 1 }, 7).classes).toBe(7);
    expect(preResNet(20).build({ height: 13, width: 64, channels: 5 }, 200).classes).toBe(200);
  });
});
