import * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';
import { dispose, type Tree } from '../core/tree.js';
import { type Call, formKey } from '../engine/step.js';
import { type Asked, nothingAsked, plus } from './oracle.js';
import type { Schedule } from './schedules.js';
import type { Source } from './source.js';

/** A step's call, and the images of its batch. */
interface Brought<Batch extends Tree> {
  readonly call: Call<Batch>;
  readonly size: number;
}

/** What the calls of a fit are made of. */
interface Making<Batch extends Tree> {
  readonly source: Pick<Source<Batch>, 'at'>;
  readonly spec: { readonly schedule: Schedule; readonly epochs: number };
  readonly stepsPerEpoch: number;
  /** Of the steps' seeds. */
  readonly seeds: Key;
  /** What a step asks the victim, by the form of its batch: known once such a step was taken, or traced. */
  readonly costs: ReadonlyMap<string, Asked>;
  /** Takes a step and forgets it, so that its cost is known. */
  readonly tryOut: (call: Call<Batch>) => void;
}

/** What a fit's steps are called with, and what that asks of the victim. */
export const fitCalls = <Batch extends Tree>({ source, spec, stepsPerEpoch, seeds, costs, tryOut }: Making<Batch>) => {
  const costOf = (call: Call<Batch>): Asked => {
    const form = formKey(call.batch);
    if (!costs.has(form)) tryOut(call);
    return costs.get(form) as Asked;
  };
  return {
    /** What is asked by calls whose cost is known. */
    askedBy: (calls: readonly Call<Batch>[]): Asked =>
      calls.reduce((sum, { batch }) => plus(sum, costs.get(formKey(batch)) ?? nothingAsked), nothingAsked),

    /**
     * The call of a step, which the caller disposes of. Where the victim gives no more than `left` answers, of a smaller batch; undefined
     * where that leaves none.
     */
    of: (epoch: number, step: number, left?: number): Brought<Batch> | undefined => {
      const rate = spec.schedule.at({ epoch, step, stepsPerEpoch, epochs: spec.epochs });
      const seed = () => tf.tensor1d([...seeds.split(step).int32Pair()], 'int32');
      const brought: Brought<Batch>[] = [];
      const bring = (atMost?: number): Brought<Batch> => {
        const { batch, images: size } = source.at(step, atMost);
        const one = { call: { batch, inputs: { learningRate: tf.scalar(rate), seed: seed() } }, size };
        brought.push(one);
        return one;
      };
      const choose = (): Brought<Batch> | undefined => {
        const whole = bring();
        if (left === undefined) return whole;
        const { queries } = costOf(whole.call);
        if (queries === 0) return whole;
        const size = affordable(whole.size, Math.floor((left * whole.size) / queries));
        if (size === whole.size) return whole;
        const part = size === 0 ? undefined : bring(size);
        if (part !== undefined && part.size <= size && costOf(part.call).queries <= left) return part;
        // A source of batches of one size has none that leaves enough for another.
        return queries <= left ? whole : undefined;
      };
      let chosen: Brought<Batch> | undefined;
      try {
        chosen = choose();
        return chosen;
      } finally {
        for (const one of brought) if (one !== chosen) dispose(one.call);
      }
    },
  };
};

/**
 * How many images the next batch takes when so many more are answered at all: a whole batch where that leaves none or
 * enough for another of at least two, since a batch norm in training needs two images.
 */
const affordable = (batch: number, left: number): number => {
  if (left === batch + 1 && batch > 2) return batch - 1;
  if (left >= batch) return batch;
  return left >= 2 ? left : 0;
};
