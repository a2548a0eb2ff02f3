import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { type Key, key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Network, Variables } from '../../src/models/network.js';
import { type Checkpoint, type FitHost, type FitSpec, fit } from '../../src/train/fit.js';
import {
  type Access,
  type Opening,
  type Oracle,
  open,
  type Publication,
  publish,
  retire,
  sessionOf,
  tensorsOf,
  type Victim,
} from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import type { NoTensors, Source } from '../../src/train/source.js';
import { bitsOf } from '../engine/bits.js';
import { normalised } from './bench.js';
import { how } from './runners.js';

export const image = { height: 4, width: 4, channels: 1 } as const;
export const network: Network = normalised().build(image, 3);
export const normalisation = { mean: [0.4], std: [0.3] };

/** Victims of one net, which are retired together. */
export const victims = () => {
  const made: Victim[] = [];
  let variables: Variables | undefined;
  return {
    of: <A extends Access>(access: A, changes: Partial<Publication<A>> = {}): Victim<A> => {
      variables ??= network.init(key('victim'));
      const victim = publish({ network, variables, normalisation, access, secret: [5, 6], ...changes });
      made.push(victim);
      return victim;
    },
    retire: (): void => {
      made.splice(0).forEach(retire);
      if (variables !== undefined) tree.dispose(variables);
      variables = undefined;
    },
  };
};

/**
 * Victims for a file of tests in which a runner is what `how` says, at first of this stride. After each test they are retired,
 * and there are as many tensors as before.
 */
export const useVictims = (stride: typeof how.stride): ReturnType<typeof victims> => {
  const all = victims();
  let before: number;
  beforeAll(async () => {
    await loadEngine();
    how.cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
  });
  afterAll(() => rmSync(how.cache, { recursive: true, force: true }));
  beforeEach(() => {
    how.stride = stride;
    before = tf.memory().numTensors;
  });
  afterEach(() => {
    all.retire();
    expect(tf.memory().numTensors).toBe(before);
  });
  return all;
};

/** Asks a victim within one step: what it gives belongs to the enclosing scope. */
export const inStep = <A extends Access, Told>(
  victim: Victim<A>,
  ask: (oracle: Oracle<A>) => Told,
  opening: Partial<Opening> = {},
) => {
  const { oracle, close } = open(victim, {
    tensors: tensorsOf(victim),
    memory: sessionOf(victim).memory,
    seed: tf.tensor1d([1, 2], 'int32'),
    ...opening,
  });
  const told = ask(oracle);
  return { told, ...close() };
};

type State = { readonly sum: tf.Tensor };
type Batch = { readonly pixels: tf.Tensor4D };
export type AskingSpec<A extends Access> = FitSpec<NoTensors, State, Batch, State, NoTensors, A>;
type Asking<A extends Access> = (oracle: Oracle<A>, pixels: tf.Tensor4D, seed: tf.Tensor1D) => readonly tf.Tensor[];

/** Sizes of the batches of a pass. */
const sizes = [4, 4, 2];

/** Passes of 4, 4 and 2 images, drawn from the key and the step; of four that no wish makes fewer, where they are `fixed`. */
export const pictures =
  (fixed = false) =>
  (from: Key): Source<Batch> => ({
    data: {},
    steps: sizes.length,
    at: (step, atMost = Number.POSITIVE_INFINITY) => {
      const images = fixed ? 4 : Math.min(sizes[step % sizes.length] as number, atMost);
      const next = from.split(step).uniform();
      const pixels = Float32Array.from({ length: images * 16 }, next);
      return { batch: { pixels: tf.tensor4d(pixels, [images, 4, 4, 1]) }, images };
    },
  });

/** A fit that does nothing but ask: its state and its log depend on every answer that it was given. */
export const asking = <A extends Access>(
  victim: Victim<A>,
  ask: Asking<A>,
  changes: Partial<AskingSpec<A>> = {},
): AskingSpec<A> => ({
  step: ({ victim: oracle }, { sum }, { pixels }, { seed }) => {
    const told = ask(oracle, pixels, seed).map((each) => tf.mean(tf.maximum(each.cast('float32'), -50)));
    const mean = told.length === 0 ? tf.scalar(0) : tf.addN(told);
    return { state: { sum: tf.add(tf.mul(sum, 0.75), mean) }, metrics: { loss: mean } };
  },
  victim,
  init: () => ({ sum: tf.scalar(0) }),
  source: pictures(),
  epochs: 2,
  schedule: constant(0.1),
  keep: (state) => state,
  ...changes,
});

/** A host that keeps a checkpoint as a file does. */
export const hostOf = (changes: Partial<FitHost> = {}): FitHost => {
  let saved: Checkpoint | undefined;
  return {
    key: key('fit'),
    checkpointEvery: 1000,
    load: async () => saved,
    save: async ({ tensors, meta }) => {
      saved = { tensors: structuredClone(tensors), meta: JSON.parse(JSON.stringify(meta)) };
    },
    epoch: async () => undefined,
    progress: () => undefined,
    warn: (message) => {
      throw new Error(message);
    },
    ...changes,
  };
};

/** All of what a fit gives but its speed, and what its victim remembers, as bits. */
export const fitted = async <A extends Access>(spec: AskingSpec<A>, host = hostOf()) => {
  const { last, best: _, seconds: __, history, ...rest } = await fit(spec, host);
  const bits = bitsOf(last);
  tree.dispose(last);
  return {
    ...rest,
    last: bits,
    history: history.map(({ stepsPerSecond: ___, ...record }) => record),
    memory: spec.victim === undefined ? [] : bitsOf(sessionOf(spec.victim).memory),
  };
};

/** The spec that is killed before a step. */
export const killedAt = <A extends Access>(spec: AskingSpec<A>, at: number): AskingSpec<A> => ({
  ...spec,
  source: (from) => {
    const source = spec.source(from);
    return {
      ...source,
      at: (step, atMost) => {
        if (step === at) throw new Error('killed');
        return source.at(step, atMost);
      },
    };
  },
});
