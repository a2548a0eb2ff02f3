import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import type { Normalisation } from '../../src/data/dataset.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Call, Runner, Step } from '../../src/engine/step.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  globalMean,
  network,
  relu,
  sequential,
} from '../../src/models/layers.js';
import type { ImageShape, Network, NetworkPlugin, Variables } from '../../src/models/network.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import { frameOf, wholeState, wholeStep } from '../../src/train/fit-step.js';
import { publish, retire } from '../../src/train/oracle.js';
import type { Recipe } from '../../src/train/recipe.js';
import type { SynthesisContext } from '../../src/train/synthesiser.js';
import { bitsOf } from '../engine/bits.js';
import { recipe } from '../run/helpers.js';
import type { AnySpec } from '../train/bench.js';
import { wave } from '../train/tensors.js';

/**
 * The eager engine (fits are short here: to compile a step would take longer than all of its steps) and a folder for the
 * graphs of those that are compiled. After each test what it held is let go of, and there are as many tensors as before.
 */
export const useBench = () => {
  const held: (() => void)[] = [];
  const bench = {
    cache: '',
    /** The tensors that there were before the test. */
    before: 0,
    /** Keeps something until the test is over, or until all is let go of. */
    hold: (letGo: () => void): void => {
      held.push(letGo);
    },
    letGo: (): void => {
      for (const each of held.splice(0)) each();
    },
  };
  beforeAll(async () => {
    await loadEngine({ execution: 'eager' });
    bench.cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
  });
  afterAll(() => rmSync(bench.cache, { recursive: true, force: true }));
  beforeEach(() => {
    bench.before = tf.memory().numTensors;
  });
  afterEach(() => {
    bench.letGo();
    expect(tf.memory().numTensors).toBe(bench.before);
  });
  return bench;
};

/** A net with two batch norms that takes images of any size. */
export const roomy = (channels = 4): NetworkPlugin =>
  network({
    name: 'roomy',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv1', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn1'),
      relu,
      conv('conv2', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn2'),
      relu,
      globalMean,
      features,
      classifier('fc'),
    ),
  });

export const image: ImageShape = { height: 8, width: 8, channels: 3 };
const classes = 3;

export const learnerOf = (net: NetworkPlugin = roomy(3), changes: Partial<Recipe> = {}): BuiltLearner => ({
  network: net.build(image, classes),
  recipe: recipe({ batch: 4, ...changes }),
});

/** Weights with the running statistics of a net that saw something. The caller owns them. */
export const aged = (of: Network, name: string): Variables => {
  const { params, stats } = of.init(key(name));
  tree.dispose(stats);
  const seen = (path: string, size: number) =>
    path.endsWith('running_var') ? wave(size, 1, 0.5).map((each) => 1 + each) : wave(size, 2, 0.4);
  return { params, stats: tree.map(stats, ({ size }, path) => tf.tensor1d(seen(path, size))) };
};

export const normalisationOf = ({ channels }: ImageShape = image): Normalisation => ({
  mean: Array(channels).fill(0.4),
  std: Array(channels).fill(0.3),
});

/** A victim whose weights are at hand, and what it was made of; `retired` when it is asked no more. */
export const victimOf = (
  net: NetworkPlugin = roomy(),
  of: ImageShape = image,
  { normalisation = normalisationOf(of), network = net.build(of, classes) } = {},
) => {
  const variables = aged(network, 'victim');
  const victim = publish({ network, variables, normalisation });
  return {
    victim,
    network,
    variables,
    normalisation,
    retired: () => {
      retire(victim);
      tree.dispose(variables);
    },
  };
};

/** What a synthesiser works on. */
export const siteOf = (
  {
    victim,
    network,
    normalisation,
  }: Pick<ReturnType<typeof victimOf>, 'victim' | 'network' | 'normalisation'> = victimOf(),
  { network: student }: BuiltLearner = learnerOf(),
): SynthesisContext<'weights'> => ({ victim, input: network.input, classes, student, normalisation });

export type MakeRunner = <F extends tree.Tree, S extends tree.Tree, B extends tree.Tree, M extends tree.Tree>(
  step: Step<F, S, B, M>,
  frozen: F,
) => Runner<F, S, B, M>;

const callOf = (spec: AnySpec, batch: tree.Tree, step: number): Call<tree.Tree> => {
  const stepsPerEpoch = spec.stepsPerEpoch ?? 3;
  const progress = { epoch: Math.floor(step / stepsPerEpoch), step, stepsPerEpoch, epochs: spec.epochs };
  return {
    batch,
    inputs: {
      learningRate: tf.scalar(spec.schedule.at(progress)),
      seed: tf.tensor1d([...key('seeds').split(step).int32Pair()], 'int32'),
    },
  };
};

/** Takes steps of a spec, so many in a call: the metrics of each and the last state as bits, and the tensors alive after each call. */
const stepped = (spec: AnySpec, make: MakeRunner, { steps = 6, together = 1 } = {}) => {
  const source = spec.source(key('batches'));
  const runner = make(wholeStep(spec), frameOf(spec, source.data));
  const start = wholeState(spec, key('init'));
  runner.load(start);
  tree.dispose(start);
  const metrics: ReturnType<typeof bitsOf>[] = [];
  const alive: number[] = [];
  for (let step = 0; step < steps; step += together) {
    const calls = Array.from({ length: Math.min(together, steps - step) }, (_, i) =>
      callOf(spec, source.at(step + i).batch, step + i),
    );
    const found = runner.run(calls);
    metrics.push(...found.map(bitsOf));
    tree.dispose(found);
    for (const { batch, inputs } of calls) tree.dispose([batch, inputs]);
    alive.push(tf.memory().numTensors);
  }
  const state = runner.read();
  const bits = bitsOf(state);
  const { execution } = runner;
  tree.dispose([state, source.data]);
  runner.dispose();
  return { metrics, state: bits, execution, alive };
};

/**
 * A spec's steps are the same bits taken one by one, compiled, and compiled with several in a call; no two of them say the
 * same; and none leaves a tensor behind.
 */
export const expectCompiled = (spec: AnySpec, eager: MakeRunner, compiled: (stride: number) => MakeRunner): void => {
  const before = tf.memory().numTensors;
  const expected = stepped(spec, eager);
  expect(new Set(expected.metrics.map((each) => JSON.stringify(each))).size).toBe(6);
  expect(new Set(expected.alive).size).toBe(1);
  for (const [stride, together] of [
    [1, 1],
    [2, 3],
  ] as const) {
    const found = stepped(spec, compiled(stride), { together });
    expect(found.execution).toBe('graph');
    expect(found.metrics).toEqual(expected.metrics);
    expect(found.state).toEqual(expected.state);
    // The first call of a form traces it.
    expect(new Set(found.alive.slice(1)).size).toBe(1);
  }
  expect(tf.memory().numTensors).toBe(before);
};
