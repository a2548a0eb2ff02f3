import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Runner, Step } from '../../src/engine/step.js';
import { type Head, withHeads, withoutHeads } from '../../src/models/heads.js';
import {
  batchNorm,
  channelsAt,
  classifier,
  conv,
  flatten,
  gated,
  globalMean,
  type Layer,
  module,
  named,
  relu,
  sequential,
  sigmoid,
  upsampleBilinear,
} from '../../src/models/layers.js';
import type { Named, Network, Variables } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { crossEntropy } from '../../src/train/losses.js';
import { type OptimizerState, sgd } from '../../src/train/optimizers.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { values, wave } from '../train/tensors.js';

let cache: string;
beforeAll(async () => {
  await loadEngine();
  cache = mkdtempSync(join(tmpdir(), 'undistill-heads-'));
});
afterAll(() => rmSync(cache, { recursive: true, force: true }));

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => expect(tf.memory().numTensors).toBe(before));

/**
 * The skeptical student's separable convolution (Kundu et al., NeurIPS 2021; `SepConv` of the code's resnet_self.py), by that
 * code's names.
 */
const sepConv =
  (out: number): Layer =>
  (site) => {
    const channels = channelsAt(site);
    const depthwise = (index: number, stride: number) =>
      conv(`${index}`, channels, { kernel: 3, stride, padding: 1, groups: channels });
    return named(
      'op',
      sequential(
        ...[depthwise(0, 2), conv('1', channels, { kernel: 1 }), batchNorm('2'), relu],
        ...[depthwise(4, 1), conv('5', out, { kernel: 1 }), batchNorm('6'), relu],
      ),
    )(site);
  };

/** A mask, in [½, 1), by which its image is multiplied. */
const attention: Layer = (site) => {
  const channels = channelsAt(site);
  const mask = sequential(named(0, sepConv(channels)), batchNorm('1'), relu, upsampleBilinear, sigmoid);
  return named('attention', gated(mask))(site);
};

/** An auxiliary head of the skeptical student, through channels of so many. */
const branch = (from: string, ...channels: readonly number[]): Head => ({
  from,
  layers: sequential(
    attention,
    named('scala', sequential(...channels.map((out, i) => named(i, sepConv(out))))),
    globalMean,
    classifier('fc'),
  ),
});

const input = { height: 8, width: 8, channels: 3 };
const plain = (): Network => plainCnn({ width: 8 }).build(input, 3);
const headed = (network = plain()): Network =>
  withHeads(network, { early: branch('block1', 12), late: branch('block2', 10, 12) });

const photographs = (): tf.Tensor4D => tf.tensor4d(wave(6 * 8 * 8 * 3, 1), [6, 8, 8, 3]);
const labels = (): tf.Tensor1D => tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32');

describe('a network with heads', () => {
  it('has the skeptical student’s parameters', () => {
    const trunk = resNet(18).build({ height: 32, width: 32, channels: 3 }, 10);
    const student = withHeads(trunk, {
      branch1: branch('layer1', 128, 256, 512),
      branch2: branch('layer2', 256, 512),
      branch3: branch('layer3', 512),
    });
    const count = (of: RegExp) =>
      student.variables
        .filter(({ name, kind }) => kind === 'param' && of.test(name))
        .reduce((sum, { shape }) => sum + tf.util.sizeFromShape([...shape]), 0);
    expect([1, 2, 3].map((i) => count(new RegExp(`^branch${i}\\.scala\\.`)))).toEqual([268_800, 254_976, 202_752]);
    expect([1, 2, 3].map((i) => count(new RegExp(`^branch${i}\\.attention\\.`)))).toEqual([9_728, 35_840, 137_216]);
    expect(count(/^branch.\.fc\./)).toBe(15_390);
    expect(count(/^branch/)).toBe(924_702);
    expect(count(/./)).toBe(12_098_664);
  });

  it('gives each head’s logits, the trunk’s own bits and all that is asked for, and leaves nothing behind', () => {
    const network = headed();
    const trunk = plain();
    const variables = network.init(key('init'));
    const x = photographs();
    const left = tf.memory().numTensors;
    for (const mode of ['train', 'eval'] as const) {
      const asked = { batchStats: true, imageStats: true, activations: ['block3', 'block1'] } as const;
      const output = network.apply(variables, x, { mode, ...asked });
      const bare = network.apply(variables, x, { mode });
      const own = trunk.apply(withoutHeads(trunk, variables), x, { mode });
      expect(Object.entries(output.heads ?? {}).map(([name, { shape }]) => [name, shape])).toEqual([
        ['early', [6, 3]],
        ['late', [6, 3]],
      ]);
      expect(Object.keys(output.activations ?? {})).toEqual(['block3', 'block1']);
      const batchNorms = network.variables.filter(({ over }) => over === 'images').map(({ name }) => name);
      const names = batchNorms.flatMap((name) => /^(.*)\.running_mean$/.exec(name)?.[1] ?? []);
      expect(names.length).toBe(3 + 5 + 7);
      expect(Object.keys(output.batchStats ?? {}).sort()).toEqual([...names].sort());
      expect(Object.keys(output.imageStats ?? {}).sort()).toEqual([...names].sort());
      expect(Object.keys(bare).sort()).toEqual(['features', 'heads', 'logits', 'stats']);
      expect(bitsOf({ logits: bare.logits, features: bare.features })).toEqual(
        bitsOf({ logits: own.logits, features: own.features }),
      );
      for (const [name, statistic] of Object.entries(own.stats))
        expect(bitsOf(bare.stats[name] as tf.Tensor)).toEqual(bitsOf(statistic));
      expect(Object.keys(bare.stats).sort()).toEqual(Object.keys(variables.stats).sort());
      for (const { logits, features, stats, ...found } of [output, bare, own]) {
        tree.dispose([logits, features, found as never]);
        if (mode === 'train') tree.dispose(stats);
      }
    }
    expect(tf.memory().numTensors).toBe(left);
    tree.dispose([variables, x]);
  });

  it('starts its trunk with the bits of the network, and drops its heads to be that network', () => {
    const [network, trunk] = [headed(), plain()];
    const [variables, alone] = [network.init(key('init')), trunk.init(key('init'))];
    expect(network.variables.slice(0, trunk.variables.length)).toEqual(trunk.variables);
    expect(network.variables.length).toBeGreaterThan(trunk.variables.length);
    const kept = withoutHeads(trunk, variables);
    expect(bitsOf(kept)).toEqual(bitsOf(alone));
    const own = (kind: 'param' | 'stat') =>
      trunk.variables.filter((spec) => spec.kind === kind).map(({ name }) => name);
    expect([Object.keys(kept.params), Object.keys(kept.stats)]).toEqual([own('param'), own('stat')]);
    for (const name of own('param')) expect(kept.params[name]).toBe(variables.params[name]);
    tree.dispose([variables, alone]);
  });

  it('has the activations of its heads too, and may have heads on them', () => {
    const first = withHeads(plain(), {
      one: { from: 'block1', layers: sequential(module('sep', sepConv(6)), globalMean, classifier('fc')) },
    });
    expect(Object.keys(first.activations)).toEqual(['block1', 'block2', 'block3', 'one.sep']);
    expect(first.activations['one.sep']).toEqual({ kind: 'image', height: 2, width: 2, channels: 6 });
    const second = withHeads(first, {
      two: { from: 'one.sep', layers: sequential(globalMean, classifier('fc')) },
    });
    const variables = second.init(key('init'));
    tf.tidy(() => {
      const output = second.apply(variables, photographs(), { mode: 'eval', activations: ['one.sep'] });
      expect(Object.keys(output.heads ?? {})).toEqual(['one', 'two']);
      const mean = tf.mean(output.activations?.['one.sep'] as tf.Tensor, [1, 2]);
      const { 'two.fc.weight': weight, 'two.fc.bias': bias } = variables.params as Record<string, tf.Tensor>;
      const [found, expected] = [
        output.heads?.two as tf.Tensor,
        tf.add(tf.matMul(mean, weight as tf.Tensor), bias as tf.Tensor),
      ];
      expect(Math.max(...values(tf.abs(tf.sub(found, expected))))).toBeLessThan(1e-6);
    });
    tree.dispose(variables);
  });

  it('may end in any form: a regressor of an activation', () => {
    const regressed = withHeads(plain(), { regressor: { from: 'block1', layers: conv('fit', 5, { kernel: 1 }) } });
    const [variables, x] = [regressed.init(key('init')), photographs()];
    const [height, width] = tf.tidy(() => {
      const { activations, heads } = regressed.apply(variables, x, { mode: 'train', activations: ['block1'] });
      expect(heads?.regressor?.shape).toEqual([...(activations?.block1?.shape.slice(0, 3) ?? []), 5]);
      return (heads?.regressor?.shape ?? []).slice(1, 3);
    }) as unknown as [number, number];
    expect(height).toBe(width);
    tree.dispose([variables, x]);
  });

  it('says what does not fit', () => {
    const head = (layers: Layer, from = 'block1', name = 'head') =>
      refusal(() => withHeads(plain(), { [name]: { from, layers } }));
    const fc = sequential(globalMean, classifier('fc'));
    expect(head(fc, 'layer1')).toMatchObject({
      kind: 'plugin',
      what: 'there is no activation “layer1”',
      where: 'head head of plainCnn',
      remedy: 'There are block1, block2, block3.',
    });
    expect(head(classifier('fc'))).toMatchObject({ kind: 'experiment', where: 'head head of plainCnn, head.fc' });
    const twice = { from: 'block1', layers: sequential(globalMean, classifier('fc')) };
    expect(refusal(() => withHeads(withHeads(plain(), { a: twice }), { a: twice }))).toMatchObject({
      kind: 'plugin',
      what: 'two variables are named a.fc.weight',
    });
    const network = headed();
    const [variables, x] = [network.init(key('init')), photographs()];
    expect(refusal(() => network.apply(variables, x, { mode: 'eval', activations: ['block9'] }))).toMatchObject({
      what: 'there is no activation “block9”',
      remedy: 'There are block1, block2, block3.',
    });
    tree.dispose([variables, x]);
  });
});

describe('training with heads', () => {
  type Training = { readonly variables: Variables; readonly slots: OptimizerState };
  type Photographs = { readonly images: tf.Tensor4D; readonly labels: tf.Tensor1D };
  type Nothing = { readonly [name: string]: never };
  const optimizer = sgd({ momentum: 0.9, weightDecay: 5e-4 });

  const meanSquares = (of: tree.Tree): tf.Tensor =>
    tree.leaves(of).reduce<tf.Tensor>((sum, x) => tf.add(sum, tf.mean(tf.square(x))), tf.scalar(0));

  /** Trunk and heads from labels, with a term of activations and one of each image's statistics. */
  const training =
    (network: Network, activations: readonly string[]): Step<Nothing, Training, Photographs, Named> =>
    (_, { variables, slots }, { images, labels: wanted }, { learningRate }) => {
      const { loss, gradients, aux } = valueAndGradient((params) => {
        const asked = { mode: 'train', activations, imageStats: true } as const;
        const output = network.apply({ params, stats: variables.stats }, images, asked);
        const { logits, heads = {}, activations: found = {}, imageStats = {} } = output;
        const terms = {
          ...Object.fromEntries(Object.entries(heads).map(([name, each]) => [name, crossEntropy(each, wanted)])),
          final: crossEntropy(logits, wanted),
          activations: meanSquares(found),
          spread: meanSquares(imageStats),
        };
        const total = Object.values(terms).map((term, i) => tf.mul(term, i < 3 ? 1 : 0.01));
        return {
          loss: total.reduce((a, b) => tf.add(a, b)) as tf.Scalar,
          aux: { terms: terms as Named, stats: output.stats, found: found as Named },
        };
      }, variables.params);
      const updated = optimizer.update(gradients, slots, variables.params, learningRate);
      return {
        state: { variables: { params: updated.params, stats: aux.stats }, slots: updated.state },
        metrics: { loss, ...aux.terms, ...aux.found },
      };
    };

  const walk = (runner: Runner<Nothing, Training, Photographs, Named>, network: Network, steps: number) => {
    const variables = network.init(key('init'));
    const start = { variables, slots: optimizer.init(variables.params) };
    runner.load(start);
    const calls = Array.from({ length: steps }, (_, i) => ({
      batch: { images: photographs(), labels: labels() },
      inputs: { learningRate: tf.scalar(0.05), seed: tf.tensor1d([i, 5], 'int32') },
    }));
    const metrics = runner.run(calls);
    const state = runner.read();
    tree.dispose([start, calls.map(({ batch, inputs }) => [batch, inputs] as tree.Tree)]);
    runner.dispose();
    return { metrics, state };
  };

  it.each<readonly [string, () => Network, readonly string[]]>([
    ['the plain CNN', () => headed(), ['block2', 'block3']],
    [
      'a pre-activation ResNet',
      () => withHeads(preResNet(20).build(input, 3), { aux: branch('layer1', 20, 24) }),
      ['layer1', 'layer3'],
    ],
  ])('of %s is the same to the last bit, compiled and eager', (_, make, activations) => {
    const network = make();
    const step = training(network, activations);
    const one = walk(eager(step, {}), network, 5);
    // Of the steps two are taken in one call.
    const runner = compile(step, {}, { cache, stride: 2 });
    const other = walk(runner, network, 5);
    expect(runner.execution).toBe('graph');
    expect(other.metrics.map(bitsOf)).toEqual(one.metrics.map(bitsOf));
    expect(bitsOf(other.state)).toEqual(bitsOf(one.state));
    expect(one.metrics.map(({ loss }) => Number.isFinite(values(loss as tf.Tensor)[0]))).toEqual(Array(5).fill(true));
    expect(new Set(one.metrics.map((each) => JSON.stringify(bitsOf(each)))).size).toBe(5);
    tree.dispose([one, other] as never);
  });

  it('trains both in one gradient, moves the running statistics of both, and keeps the trunk', () => {
    const trunk = plain();
    const layers = sequential(
      conv('conv', 8, { kernel: 3, padding: 1 }),
      batchNorm('bn'),
      relu,
      flatten,
      classifier('fc'),
    );
    const network = withHeads(trunk, { early: { from: 'block1', layers }, late: { from: 'block2', layers } });
    const { metrics, state } = walk(eager(training(network, []), {}), network, 30);
    const start = network.init(key('init'));
    const at = (term: string, i: number) => values(metrics.at(i)?.[term] as tf.Tensor)[0] as number;
    for (const term of ['early', 'late', 'final']) expect(at(term, -1), term).toBeLessThan(0.3 * at(term, 0));
    for (const part of ['params', 'stats'] as const)
      for (const [name, tensor] of Object.entries(state.variables[part]))
        expect(bitsOf(tensor), name).not.toEqual(bitsOf(start[part][name] as tf.Tensor));
    tf.tidy(() => {
      const kept = withoutHeads(trunk, state.variables);
      const { logits, heads } = trunk.apply(kept, photographs(), { mode: 'eval' });
      expect(heads).toBeUndefined();
      expect(bitsOf(logits)).toEqual(bitsOf(network.apply(state.variables, photographs(), { mode: 'eval' }).logits));
    });
    tree.dispose([metrics, state, start]);
  });
});
