import type * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';
import { clone, type Tree } from '../core/tree.js';
import type { Step, StepInputs, Taken } from '../engine/step.js';
import type { Named } from '../models/network.js';
import {
  type Access,
  type Answering,
  type Asked,
  type Oracle,
  open,
  sessionOf,
  tensorsOf,
  type Victim,
  type VictimTensors,
} from './oracle.js';
import type { NoTensors } from './source.js';

/** What a fit's step finds besides its state. */
export interface Given<Frozen extends Tree = NoTensors, Data extends Tree = NoTensors, A extends Access = Access> {
  /** The spec's own tensors. */
  readonly frozen: Frozen;
  /** The source's. */
  readonly data: Data;
  /** The spec's victim, open for this step; an empty record where it names none. */
  readonly victim: Oracle<A>;
}

/** One pure step: arithmetic on tensors and questions to the victim, and nothing else; see `Step`. */
export type FitStep<
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Data extends Tree = NoTensors,
  A extends Access = Access,
> = (given: Given<Frozen, Data, A>, state: State, batch: Batch, inputs: StepInputs) => Taken<State, Named>;

/** A fit's state as it is checkpointed: the spec's own, and what the victim's defences remember. */
export type Whole<State extends Tree> = { readonly own: State; readonly memory: Tree };

/** What a step of a fit gives to be read. */
export type Noted = { readonly metrics: Named; readonly shift?: tf.Tensor1D };

/** A fit's step as a runner takes it. */
export type WholeStep<Frozen extends Tree, State extends Tree, Batch extends Tree, Data extends Tree> = Step<
  Frame<Frozen, Data>,
  Whole<State>,
  Batch,
  Noted
>;

/** What a fit's steps read and do not change. */
export type Frame<Frozen extends Tree, Data extends Tree> = {
  readonly frozen: Frozen;
  readonly data: Data;
  readonly victim: VictimTensors | NoTensors;
};

/**
 * A spec's step as a runner takes it: with its victim open, on a state that holds what the victim's defences remember.
 * `told` is what a step of this batch asks, whenever one is taken operation by operation, or traced.
 */
export const wholeStep =
  <Frozen extends Tree, State extends Tree, Batch extends Tree, Data extends Tree, A extends Access>(
    {
      step,
      victim,
    }: { readonly step: FitStep<Frozen, State, Batch, Data, A>; readonly victim?: Victim<A> | undefined },
    told: (batch: Batch, asked: Asked) => void = () => undefined,
    answering?: Answering,
  ): WholeStep<Frozen, State, Batch, Data> =>
  (given, { own, memory }, batch, inputs) => {
    if (victim === undefined) {
      const { state, metrics } = step({ ...given, victim: {} as Oracle<A> }, own, batch, inputs);
      return { state: { own: state, memory }, metrics: { metrics } };
    }
    const { oracle, close } = open(victim, {
      tensors: given.victim as VictimTensors,
      memory,
      seed: inputs.seed,
      ...(answering && { answering }),
    });
    const taken = orClose(() => step({ ...given, victim: oracle }, own, batch, inputs), close);
    const { asked, shift, memory: next } = close();
    told(batch, asked);
    const { state, metrics } = taken;
    return { state: { own: state, memory: next }, metrics: shift === undefined ? { metrics } : { metrics, shift } };
  };

/** What a body gives; where it throws, something is closed first. */
const orClose = <A>(body: () => A, close: () => unknown): A => {
  try {
    return body();
  } catch (error) {
    close();
    throw error;
  }
};

/** What the steps of a spec read, on a source's data. */
export const frameOf = <Frozen extends Tree, Data extends Tree, A extends Access>(
  { frozen, victim }: { readonly frozen?: Frozen | undefined; readonly victim?: Victim<A> | undefined },
  data: Data,
): Frame<Frozen, Data> => ({
  frozen: (frozen ?? {}) as Frozen,
  data,
  victim: victim === undefined ? {} : tensorsOf(victim),
});

/** The state before the first step, which the caller owns. */
export const wholeState = <State extends Tree, A extends Access>(
  { init, victim }: { readonly init: (key: Key) => State; readonly victim?: Victim<A> | undefined },
  key: Key,
): Whole<State> => ({
  own: init(key),
  memory: victim === undefined ? {} : clone(sessionOf(victim).memory),
});
