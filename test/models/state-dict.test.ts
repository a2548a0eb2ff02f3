import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import { entries } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { leNet5 } from '../../src/models/lenet.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type { NetworkPlugin } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { resNeXt29 } from '../../src/models/resnext.js';
import { shuffleNetV2 } from '../../src/models/shufflenet-v2.js';
import {
  fromStateDict,
  type StateDict,
  stateDictShape,
  toStateDict,
  withCounters,
} from '../../src/models/state-dict.js';
import { refusal } from '../failures.js';

beforeAll(async () => {
  await loadEngine();
});

const colour = { height: 32, width: 32, channels: 3 };
const grey = { height: 32, width: 32, channels: 1 };

describe('names and shapes are PyTorch’s, in its order', () => {
  const listed = (stateDict: StateDict) => Object.entries(stateDict).map(([name, { shape }]) => `${name} ${shape}`);
  const withBias = (name: string, shape: string) => [`${name}.weight ${shape}`, `${name}.bias ${shape.split(',')[0]}`];
  /** A net's, but for the batch norms'. */
  const kernelsOf = (plugin: NetworkPlugin, prefix = '') => {
    const { variables } = plugin.build(colour, 100);
    const norms = new Set(variables.flatMap(({ name }) => /(.*)\.running_var$/.exec(name)?.[1] ?? []));
    return variables
      .filter(({ name }) => name.startsWith(prefix) && !norms.has(name.replace(/\.[^.]*$/, '')))
      .map((spec) => `${spec.name} ${stateDictShape(spec)}`);
  };

  it('plain CNN', () => {
    const network = plainCnn({ width: 8 }).build({ height: 16, width: 24, channels: 3 }, 10);
    const variables = network.init(key(1));
    const norm = (name: string, n: number) =>
      ['weight', 'bias', 'running_mean', 'running_var'].map((part) => `${name}.${part} ${n}`);
    expect(listed(toStateDict(network, variables))).toEqual([
      'conv1.weight 8,3,3,3',
      'conv1.bias 8',
      ...norm('bn1', 8),
      'conv2.weight 16,8,3,3',
      'conv2.bias 16',
      ...norm('bn2', 16),
      'conv3.weight 32,16,3,3',
      'conv3.bias 32',
      ...norm('bn3', 32),
      'fc1.weight 32,192',
      'fc1.bias 32',
      ...norm('fcbn1', 32),
      'fc2.weight 10,32',
      'fc2.bias 10',
    ]);
    tf.dispose(variables);
  });

  it('PreResNet: shortcuts without batch norm, from depth 44 also in the first stage', () => {
    const names = (depth: 20 | 44) =>
      preResNet(depth)
        .build(colour, 10)
        .variables.map(({ name }) => name);
    const shortcuts = (depth: 20 | 44) => names(depth).filter((name) => name.includes('downsample'));
    expect(names(20).slice(0, 12)).toEqual([
      'conv1.weight',
      'layer1.0.bn1.weight',
      'layer1.0.bn1.bias',
      'layer1.0.bn1.running_mean',
      'layer1.0.bn1.running_var',
      'layer1.0.conv1.weight',
      'layer1.0.bn2.weight',
      'layer1.0.bn2.bias',
      'layer1.0.bn2.running_mean',
      'layer1.0.bn2.running_var',
      'layer1.0.conv2.weight',
      'layer1.1.bn1.weight',
    ]);
    expect(names(20).slice(-6)).toEqual([
      'bn.weight',
      'bn.bias',
      'bn.running_mean',
      'bn.running_var',
      'fc.weight',
      'fc.bias',
    ]);
    expect(shortcuts(20)).toEqual(['layer2.0.downsample.0.weight', 'layer3.0.downsample.0.weight']);
    expect(shortcuts(44)).toEqual([1, 2, 3].map((stage) => `layer${stage}.0.downsample.0.weight`));
  });

  it('ResNeXt: grouped kernels take an eighth of the channels; a projection only where channels change', () => {
    expect(kernelsOf(resNeXt29(), 'stage_2.stage_2_bottleneck_0')).toEqual([
      'stage_2.stage_2_bottleneck_0.conv_reduce.weight 1024,256,1,1',
      'stage_2.stage_2_bottleneck_0.conv_conv.weight 1024,128,3,3',
      'stage_2.stage_2_bottleneck_0.conv_expand.weight 512,1024,1,1',
      'stage_2.stage_2_bottleneck_0.shortcut.shortcut_conv.weight 512,256,1,1',
    ]);
    const all = kernelsOf(resNeXt29());
    expect(all.filter((name) => name.includes('shortcut'))).toHaveLength(3);
    expect([all[0], ...all.slice(-2)]).toEqual([
      'conv_1_3x3.weight 64,3,3,3',
      'classifier.weight 100,1024',
      'classifier.bias 100',
    ]);
    const norms = resNeXt29()
      .build(colour, 10)
      .variables.map(({ name }) => name)
      .filter((name) => name.endsWith('running_var') && !name.startsWith('stage_3'));
    expect(norms.slice(0, 5)).toEqual([
      'bn_1.running_var',
      ...['bn_reduce', 'bn', 'bn_expand', 'shortcut.shortcut_bn'].map(
        (name) => `stage_1.stage_1_bottleneck_0.${name}.running_var`,
      ),
    ]);
  });

  it('MobileNetV2: biases everywhere, the first block keeps its expansion, and a convolution classifies', () => {
    const all = kernelsOf(mobileNetV2());
    expect(all.slice(0, 8)).toEqual([
      ...withBias('pre.0', '32,3,1,1'),
      ...withBias('stage1.residual.0', '32,32,1,1'),
      ...withBias('stage1.residual.3', '32,1,3,3'),
      ...withBias('stage1.residual.6', '16,32,1,1'),
    ]);
    expect(kernelsOf(mobileNetV2(), 'stage4.3')).toEqual([
      ...withBias('stage4.3.residual.0', '384,64,1,1'),
      ...withBias('stage4.3.residual.3', '384,1,3,3'),
      ...withBias('stage4.3.residual.6', '64,384,1,1'),
    ]);
    expect(all.slice(-4)).toEqual([...withBias('conv1.0', '1280,320,1,1'), ...withBias('conv2', '100,1280,1,1')]);
    expect(all).toHaveLength(2 * (1 + 3 * (1 + 2 + 3 + 4 + 3 + 3 + 1) + 2));
  });

  it('ShuffleNetV2: a branch beside the first unit of a stage, halves of the channels in the others', () => {
    expect(kernelsOf(shuffleNetV2(), 'stage3.0').sort()).toEqual(
      [
        ...withBias('stage3.0.residual.0', '116,116,1,1'),
        ...withBias('stage3.0.residual.3', '116,1,3,3'),
        ...withBias('stage3.0.residual.5', '116,116,1,1'),
        ...withBias('stage3.0.shortcut.0', '116,1,3,3'),
        ...withBias('stage3.0.shortcut.2', '116,116,1,1'),
      ].sort(),
    );
    expect(kernelsOf(shuffleNetV2(), 'stage4.3')).toEqual([
      ...withBias('stage4.3.residual.0', '232,232,1,1'),
      ...withBias('stage4.3.residual.3', '232,1,3,3'),
      ...withBias('stage4.3.residual.5', '232,232,1,1'),
    ]);
    const all = kernelsOf(shuffleNetV2());
    expect([...all.slice(0, 2), ...all.slice(-4)]).toEqual([
      ...withBias('pre.0', '24,3,3,3'),
      ...withBias('conv5.0', '1024,464,1,1'),
      ...withBias('fc', '100,1024'),
    ]);
  });

  it('ResNet: projections with batch norm; counters when asked for', () => {
    const network = resNet(18).build(colour, 10);
    const names = network.variables.map(({ name }) => name);
    expect(names.filter((name) => name.startsWith('layer2.0'))).toEqual([
      'layer2.0.conv1.weight',
      ...['weight', 'bias', 'running_mean', 'running_var'].map((part) => `layer2.0.bn1.${part}`),
      'layer2.0.conv2.weight',
      ...['weight', 'bias', 'running_mean', 'running_var'].map((part) => `layer2.0.bn2.${part}`),
      'layer2.0.shortcut.0.weight',
      ...['weight', 'bias', 'running_mean', 'running_var'].map((part) => `layer2.0.shortcut.1.${part}`),
    ]);
    const small = plainCnn({ width: 2 }).build(colour, 10);
    const variables = small.init(key(1));
    const counted = withCounters(toStateDict(small, variables));
    const names2 = Object.keys(counted);
    expect(names2.indexOf('bn1.num_batches_tracked')).toBe(names2.indexOf('bn1.running_var') + 1);
    expect(names2.filter((name) => name.endsWith('num_batches_tracked'))).toHaveLength(4);
    expect(counted['bn1.num_batches_tracked']).toEqual({ shape: [], data: BigInt64Array.of(0n) });
    tf.dispose(variables);
  });
});

describe('layouts', () => {
  it('kernels and dense weights are transposed, and rows after a flatten reordered (worked numbers)', () => {
    const network = plainCnn({ width: 1 }).build({ height: 16, width: 8, channels: 2 }, 3);
    const variables = network.init(key(1));
    const count = (name: string) => {
      const shape = [...(network.variables.find((spec) => spec.name === name)?.shape ?? [])];
      return tf
        .range(
          0,
          shape.reduce((a, b) => a * b, 1),
        )
        .reshape(shape);
    };
    const params = { ...variables.params, 'conv2.weight': count('conv2.weight'), 'fc1.weight': count('fc1.weight') };
    const stateDict = toStateDict(network, { ...variables, params });
    // conv2 is [3, 3, 1, 2]: output 1's kernel is the odd numbers.
    expect(stateDict['conv2.weight']).toEqual({
      shape: [2, 1, 3, 3],
      data: Float32Array.of(0, 2, 4, 6, 8, 10, 12, 14, 16, 1, 3, 5, 7, 9, 11, 13, 15, 17),
    });
    // fc1 takes a flattened 2×1 image of 4 channels to 4 numbers: row (y, channel) is 4y + channel here, 2 channel + y there.
    const [, { data }] = ['', stateDict['fc1.weight'] as { data: Float32Array }] as const;
    expect([...data.slice(0, 8)]).toEqual([0, 16, 4, 20, 8, 24, 12, 28]);
    tf.dispose([variables as never, params['conv2.weight'], params['fc1.weight']]);
  });

  it.each([
    ['plain CNN', plainCnn({ width: 4 }), { height: 20, width: 9, channels: 3 }],
    ['PreResNet-44', preResNet(44), colour],
    ['MobileNetV2', mobileNetV2(), colour],
    ['ShuffleNetV2', shuffleNetV2(), colour],
    ['LeNet-5', leNet5(), grey],
  ] as const)('%s comes back bit for bit', (_, plugin, input) => {
    const network = plugin.build(input, 10);
    const variables = network.init(key(2));
    const before = tf.memory().numTensors;
    const back = fromStateDict(network, toStateDict(network, variables));
    const wanted = new Map(entries(variables));
    for (const [path, tensor] of entries(back)) {
      expect(tensor.shape).toEqual(wanted.get(path)?.shape);
      expect(tensor.dataSync()).toEqual(wanted.get(path)?.dataSync());
    }
    expect(entries(back)).toHaveLength(wanted.size);
    tf.dispose(back);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose(variables);
  });
});

describe('weights that do not fit', () => {
  const network = leNet5().build(grey, 10);
  const good = (): Record<string, StateDict[string]> => {
    const variables = network.init(key(3));
    const stateDict = toStateDict(network, variables);
    tf.dispose(variables);
    return { ...stateDict };
  };
  const failureOf = (stateDict: StateDict) => {
    const before = tf.memory().numTensors;
    const failure = refusal(() => fromStateDict(network, stateDict));
    expect(tf.memory().numTensors).toBe(before);
    return failure;
  };

  it('are refused by name', () => {
    const { 'fc1.bias': bias, ...without } = good();
    expect(failureOf(without)).toMatchObject({ kind: 'data', where: 'fc1.bias' });
    expect(failureOf({ ...good(), 'fc3.bias': bias as StateDict[string] })).toMatchObject({ where: 'fc3.bias' });
    const short = { shape: [9, 84], data: new Float32Array(9 * 84) };
    expect(failureOf({ ...good(), 'fc2.weight': short }).what).toContain('[9, 84], the network has [10, 84]');
    const whole = { shape: [10], data: new Int32Array(10) };
    expect(failureOf({ ...good(), 'fc2.bias': whole })).toMatchObject({ where: 'fc2.bias' });
  });
});
