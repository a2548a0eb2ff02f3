import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { networkOf } from '../../src/models/checked.js';
import type { Network, NetworkPlugin } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';

const image = { height: 8, width: 8, channels: 1 };
const sound = plainCnn({ width: 2 });

/** A plugin whose net is a sound one but for some parts. */
const changed = (change: (network: Network) => object): NetworkPlugin => ({
  ...{ name: 'mine', params: {}, source: import.meta.url },
  build: (...given) => {
    const network = sound.build(...given);
    return { ...network, ...change(network) };
  },
});

const uses = (plugin: NetworkPlugin) =>
  tf.tidy(() => {
    const network = networkOf(plugin, image, 3);
    return network.apply(network.init(key('x')), tf.zeros([2, 8, 8, 1]), { mode: 'train' }).logits.arraySync();
  });

test('a sound net gives what it gave', () => {
  const own = tf.tidy(() => {
    const network = sound.build(image, 3);
    return network.apply(network.init(key('x')), tf.zeros([2, 8, 8, 1]), { mode: 'train' }).logits.arraySync();
  });
  expect(uses(sound)).toEqual(own);
});

const answering = (change: (out: ReturnType<Network['apply']>) => unknown) =>
  changed((net) => ({ apply: (...given: Parameters<Network['apply']>) => change(net.apply(...given)) }));

describe('what is wrong with a net is said in words', () => {
  test.each<readonly [what: string, plugin: NetworkPlugin, says: string]>([
    ['init of nothing', changed(() => ({ init: () => undefined })), 'mine: its init gives no params by name'],
    ['init of a promise', changed(() => ({ init: async () => ({}) })), 'mine: its init gives no params by name'],
    [
      'no statistics',
      changed((net) => ({ init: (from: never) => ({ params: net.init(from).params }) })),
      'mine: its init gives no stats by name',
    ],
    [
      'other names',
      changed(() => ({ init: () => ({ params: { other: tf.scalar(1) }, stats: {} }) })),
      'mine: the params that its init gives lack conv1.weight, conv1.bias, bn1.weight, bn1.bias, conv2.weight and 13 more',
    ],
    [
      'one more',
      changed((net) => ({
        init: (from: never) => {
          const { params, stats } = net.init(from);
          return { params: { ...params, more: tf.scalar(1) }, stats };
        },
      })),
      'mine: its init gives more among its params, which is none of its variables',
    ],
    [
      'another shape',
      changed((net) => ({
        init: (from: never) => {
          const { params, stats } = net.init(from);
          return { params: { ...params, 'conv1.bias': tf.zeros([7]) }, stats };
        },
      })),
      'mine: its init gives conv1.bias of shape [7], not [2]',
    ],
    ['no answer', answering(() => undefined), 'mine: its apply gives no logits'],
    ['a number', answering((out) => ({ ...out, logits: 5 })), 'mine: its apply gives no logits'],
    ['a promise', answering(async (out) => out), 'mine: its apply gives no logits'],
    [
      'more classes',
      answering((out) => ({ ...out, logits: tf.concat([out.logits, out.logits], 1) })),
      'mine: its apply gives logits of shape [2,6], not [2,3]',
    ],
    [
      'fewer images',
      answering((out) => ({ ...out, logits: tf.slice(out.logits, [0, 0], [1, 3]) })),
      'mine: its apply gives logits of shape [1,3], not [2,3]',
    ],
    ['no statistics after', answering(({ logits }) => ({ logits })), 'mine: its apply gives no stats by name'],
  ])('%s', (_, plugin, says) => {
    let found: unknown;
    try {
      uses(plugin);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(FailureError);
    expect((found as FailureError).failure).toMatchObject({ kind: 'plugin', what: says });
    expect((found as FailureError).failure.remedy).toBeTruthy();
  });
});
