import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { type Counted, type Parts, partsOf, type Unit, unitsOf } from '../../bench/passes.js';
import { opposing } from '../../src/attacks/dfad.js';
import { disagreeing } from '../../src/attacks/dfme.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { take } from '../../src/engine/step.js';
import { withHeads } from '../../src/models/heads.js';
import { classifier, globalMean, sequential } from '../../src/models/layers.js';
import type { Network, Output } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { frameOf, wholeState, wholeStep } from '../../src/train/fit-step.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { jointFit } from '../../src/train/joint.js';
import { adam, sgd } from '../../src/train/optimizers.js';
import { type Asked, nothingAsked, publish, retire } from '../../src/train/oracle.js';
import type { Synthesiser } from '../../src/train/synthesiser.js';
import { image, learnerOf, type MakeRunner, roomy, useBench, victimOf } from '../attacks/stepping.js';
import { bitsOf } from '../engine/bits.js';
import { type AnySpec, normalised } from '../train/bench.js';
import { wave } from '../train/tensors.js';

const bench = useBench();

const call = () => ({
  batch: {},
  inputs: { learningRate: tf.scalar(0.1), seed: tf.tensor1d([1, 2], 'int32') },
});

/** The parts of a first step, and what it asked its victim. */
const taken = (spec: AnySpec): { readonly parts: Parts; readonly asked: Asked } => {
  const source = spec.source(key('batches'));
  const state = wholeState(spec, key('init'));
  const { batch } = source.at(0);
  const { inputs } = call();
  let asked = nothingAsked;
  const step = wholeStep(spec, (_, of) => {
    asked = of;
  });
  const parts = partsOf(() => {
    const after = take(step, frameOf(spec, source.data), state, { batch, inputs });
    tree.dispose([after.state, after.metrics]);
  });
  tree.dispose([source.data, state, batch, inputs]);
  return { parts, asked };
};

/** As in `['generator 1 FWU', 'roomy 3 F']`. */
const listed = (units: readonly Counted<Unit>[]): string[] =>
  units.map(({ where, what, times }) => `${where.replace(/ on .*/, '')} ${times} ${what}`.trim()).sort();

/** A synthesiser and a student that learn together, three steps of it for one of the other, from a victim of another net. */
const together = <A extends 'probabilities' | 'weights'>(access: A, synthesiser: Synthesiser<never, A>): AnySpec => {
  const { network, variables, normalisation, retired } = victimOf(normalised(4));
  const victim = publish({ network, variables, normalisation, access });
  bench.hold(() => {
    retire(victim);
    retired();
  });
  const learner = learnerOf(roomy(3), { optimizer: sgd({ momentum: 0.9 }) });
  const about = { victim, input: image, classes: 3, student: learner.network, normalisation };
  return jointFit(synthesiser, about, { epochs: 1, stepsPerEpoch: 2, studentSteps: 3 }, learner) as unknown as AnySpec;
};

const generation = { batch: 4, latent: 5, width: 4, generatorRate: 1e-3 };

describe('the parts of a step', () => {
  test('are counted by net, by whether gradients come back, and by how far', () => {
    const attack = disagreeing({ ...generation, directions: 2, epsilon: 1e-3, loss: 'l1', generatorFalls: [] });
    const { parts, asked } = taken(together('probabilities', attack as never));
    expect(listed(unitsOf(parts))).toEqual([
      'generator 1 FWU',
      'generator 3 F',
      'normalised 6 F',
      'roomy 3 F',
      'roomy 3 FWU',
    ]);
    expect(asked).toEqual({ queries: 6 * 4, forward: 0, backward: 0 });
    for (const { input } of parts.passes) expect(input[0]).toBe(4);
  });

  test('go back to what went in where its gradient is asked for', () => {
    const { parts, asked } = taken(together('weights', opposing(generation) as never));
    expect(listed(unitsOf(parts))).toEqual([
      'generator 1 FWU',
      'generator 3 F',
      'normalised 1 FI',
      'normalised 3 F',
      'roomy 1 FI',
      'roomy 3 FWU',
    ]);
    expect(asked).toEqual({ queries: 0, forward: 4 * 4, backward: 4 });
  });

  /** The parts of a step that differentiates a loss of a net's outputs once, and updates its weights. */
  const learnt = (network: Network, loss: (apply: (x: tf.Tensor4D) => Output) => tf.Scalar): Parts => {
    const { params, stats } = network.init(key('net'));
    const optimizer = adam();
    const slots = optimizer.init(params);
    const parts = partsOf(() =>
      tf.tidy(() => {
        const { gradients } = valueAndGradient(
          (of) => ({ loss: loss((x) => network.apply({ params: of, stats }, x, { mode: 'train' })), aux: {} }),
          params,
        );
        optimizer.update(gradients, slots, params, tf.scalar(0.1));
      }),
    );
    tree.dispose([params, stats, slots]);
    return parts;
  };

  const images = (from: number) => tf.tensor4d(wave(4 * 8 * 8 * 3, from, 1), [4, 8, 8, 3]);

  test('have an optimiser by itself where it takes one step for several passes', () => {
    const parts = learnt(roomy().build(image, 3), (apply) =>
      tf.add<tf.Scalar>(tf.sum(apply(images(1)).logits), tf.sum(apply(images(2)).logits)),
    );
    expect(listed(unitsOf(parts))).toEqual(['roomy 1 U', 'roomy 2 FW']);
  });

  test('have an optimiser by itself where it is one of several nets', () => {
    const net = withHeads(plainCnn({ width: 2 }).build(image, 3), {
      side: { from: 'block1', layers: sequential(globalMean, classifier('fc')) },
    });
    const parts = learnt(net, (apply) => {
      const { logits, heads } = apply(images(1));
      return tf.add<tf.Scalar>(tf.sum(logits), tf.sum(heads?.side as tf.Tensor));
    });
    expect(listed(unitsOf(parts))).toEqual(['1 U', 'head side of plainCnn 1 FIW', 'plainCnn 1 FW']);
  });
});

describe('a part by itself', () => {
  test('computes the same in a graph, several in a call too, and something else at every step', () => {
    const spec = together('weights', opposing(generation) as never);
    const { parts } = taken(spec);
    const graph: MakeRunner = (step, frozen) => compile(step, frozen, { cache: bench.cache, stride: 2 });
    for (const unit of unitsOf(parts)) {
      const found = [eager as MakeRunner, graph].map((make) => {
        const { frozen, state } = unit.begin();
        const runner = make(unit.step, frozen);
        runner.load(state);
        const calls = [call(), call(), call(), call()];
        const metrics = [...runner.run(calls.slice(0, 2)), ...runner.run(calls.slice(2))];
        const after = runner.read();
        const bits = { metrics: metrics.map(bitsOf), after: bitsOf(after), execution: runner.execution };
        tree.dispose([frozen, state, calls, metrics, after] as unknown as tree.Tree);
        runner.dispose();
        return bits;
      });
      expect(found[1]?.execution).toBe('graph');
      expect(found[1]?.metrics).toEqual(found[0]?.metrics);
      expect(found[1]?.after).toEqual(found[0]?.after);
      expect(new Set(found[0]?.metrics.map((each) => JSON.stringify(each))).size).toBe(4);
    }
  });
});
