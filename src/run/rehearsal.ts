import * as tf from '@tensorflow/tfjs';
import { awaitable } from '../core/errors.js';
import { type Key, key } from '../core/random.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import type { Imitation } from '../defenses/imitation.js';
import type { Call } from '../engine/step.js';
import type { Stage } from '../experiment/stage.js';
import { noShift } from '../train/answer-shift.js';
import { question } from '../train/ask.js';
import type { Context, Loop, Synthesised } from '../train/context.js';
import { allSteps, type FitResult, type FitSpec } from '../train/fit.js';
import type { StoredAnswers } from '../train/images.js';
import { nothingAsked } from '../train/oracle.js';
import type { Source } from '../train/source.js';
import { type MadePool, noEffort, type StageContext } from './context.js';
import type { RunEnvironment } from './types.js';
import { doWork, type Made, type PluginWork, type Surroundings, tellingOf } from './work.js';

// biome-ignore lint/suspicious/noExplicitAny: any fit at all
export type AnyFit = FitSpec<any, any, any, any, any, any>;

/** Looks at what a stage would do, part by part. `times`: how often it does that. */
export interface Watching {
  /** A fit, which is not made: what it begins with stands for what it would end with. */
  fit(name: string, spec: AnyFit, given: { readonly key: Key; readonly times: number }): void | Promise<void>;
  /** Something else was done that takes so many seconds each time. */
  spent?(seconds: number, times: number): void;
}

/** The call of a fit's step and how many images it has, at the rate that the fit begins with. The caller disposes of it. */
export const callAt = (
  { schedule }: AnyFit,
  source: Source<Tree, Tree>,
  key: Key,
  step: number,
): { readonly call: Call<Tree>; readonly images: number } => {
  const rate = schedule.at({ epoch: 0, step: 0, stepsPerEpoch: source.steps, epochs: 1 });
  const { batch, images } = source.at(step);
  const seed = tf.tensor1d([...key.split('step').split(step).int32Pair()], 'int32');
  return { call: { batch, inputs: { learningRate: tf.scalar(rate), seed } }, images };
};

/** Stages that plugins work in. */
export const isPluginWork = (work: Stage['work']): work is PluginWork =>
  ['teacher', 'protect', 'prepare', 'synthesise', 'steal'].includes(work.kind);

/**
 * Goes through a stage's work without its length: fits are looked at in place of being made, loops take one turn, and
 * what earlier stages would have made is nets as they begin. Nothing is read from the store or written to it. What
 * plugins throw then is thrown here: some may not do with nets that have learnt nothing.
 */
export const rehearse = async (environment: RunEnvironment, stage: Stage, watching: Watching): Promise<void> => {
  const made = await rehearsed(environment, stage, watching);
  if (made.kind === 'prepared') dispose(made.tree);
  else if (made.kind === 'model') disposeModel(made);
};

const disposeModel = ({ trained: { last, best } }: Extract<Made, { readonly kind: 'model' }>): void =>
  dispose(best === undefined ? last : [last, best.kept]);

const rehearsed = ({ plan, data, others }: RunEnvironment, stage: Stage, watching: Watching): Promise<Made> => {
  const { work } = stage;
  if (!isPluginWork(work)) throw new Error(`${stage.label} is no work of plugins`);
  const before = (role: string): Stage | undefined => plan.stages.find(({ id }) => id === stage.inputs[role]);
  const silently = (of: Stage): Promise<Made> =>
    rehearsed({ plan, data, others } as RunEnvironment, of, { fit: () => undefined });
  const around: Surroundings = {
    model: async (role, network) => network.init(key('rehearsal').split(role)),
    prepared: async (role) => {
      const earlier = before(role);
      const made = earlier && (await silently(earlier));
      return made?.kind === 'prepared' ? made.tree : {};
    },
    pool: async () => {
      const earlier = before('pool');
      const made = earlier && (await silently(earlier));
      return made?.kind === 'pool'
        ? { lots: made.lots, footprint: made.footprint, tensors: made.remembered }
        : undefined;
    },
    identity: (role) => stage.inputs[role],
    telling: tellingOf(stage),
    context: (from, { pool } = {}) => rehearsing(from, watching, pool),
    imitating: { images: asked, watched: (copy) => onceTold(copy, watching) },
  };
  return doWork({ data, others, experiment: plan.experiment }, work, around);
};

/** A context that makes next to nothing. */
const rehearsing = (from: Key, watching: Watching, pool: MadePool | undefined): StageContext => {
  const lots: Synthesised[] = [...(pool?.lots ?? [])];
  const within = (own: Key, times: number): Context => {
    /** Something is made once that stands for `share` of what it is. */
    const timed = async <A>(make: () => Promise<A>, share = 1): Promise<A> => {
      const began = performance.now();
      const made = await make();
      watching.spent?.((performance.now() - began) / 1000 / share, times);
      return made;
    };
    return {
      key: own,
      warn: () => undefined,
      value: (name, make) => awaitable('plugin', () => timed(make), name),
      images: (name, make) =>
        awaitable(
          'plugin',
          async () => {
            const made = await timed(make);
            lots.push(made);
            return made;
          },
          name,
        ),
      pool: async () => lots,
      ask: (name, victim, images) => {
        const first = images.indices.subarray(0, asked);
        const share = first.length / Math.max(1, images.indices.length);
        return awaitable(
          'plugin',
          () =>
            timed(
              async () => firstAnswers(victim, { ...images, indices: first }, { key: own, of: images.indices.length }),
              share,
            ),
          name,
        );
      },
      loop: (name, loop) =>
        awaitable('plugin', () => oneTurn(loop, own.split(name), (key) => within(key, times * loop.count)), name),
      fit: (name, spec) =>
        awaitable(
          'plugin',
          async () => {
            await watching.fit(name, spec as unknown as AnyFit, { key: own.split(name), times });
            return asItBegins(spec, own.split(name));
          },
          name,
        ),
    };
  };
  const footprint = { asked: nothingAsked, shift: noShift, effort: noEffort };
  return { ...within(from, 1), footprint: () => footprint, remembered: () => ({}) };
};

/** A copy of a defence that is asked once; further questions are taken to last as long, and get what they hold for an answer. */
const onceTold = (copy: Imitation, { spent }: Watching): Imitation => {
  let seconds: number | undefined;
  return {
    ...copy,
    tell: (clean, pixels) => {
      const began = performance.now();
      const told = seconds === undefined ? copy.tell(clean, pixels) : clean.clone();
      if (seconds === undefined) {
        told.dataSync();
        seconds = (performance.now() - began) / 1000;
      }
      spent?.(seconds, 1);
      return told;
    },
  };
};

const oneTurn = async <State extends Tree>(
  { count, init, body }: Loop<State>,
  own: Key,
  inner: (key: Key) => Context,
): Promise<State> => {
  const state = await init(own.split('init'));
  if (count === 0) return state;
  try {
    const after = await body(state, 0, inner(own.split(0)));
    if (after !== state) dispose(state);
    return after;
  } catch (error) {
    dispose(state);
    throw error;
  }
};

/** Images that are asked about in place of all, by an attacker or by a defence that it imitates. */
const asked = 100;

/** Answers to some images, over and over: as many as to all. */
const firstAnswers = async (
  victim: Parameters<typeof question>[0],
  set: Parameters<typeof question>[1],
  { key, of }: { readonly key: Key; readonly of: number },
): Promise<StoredAnswers> => {
  const { answers, memory } = await question(victim, set, { key });
  dispose(memory);
  const { values, size } = answers;
  return { size, values: Float32Array.from({ length: of * size }, (_, i) => values[i % values.length] as number) };
};

const asItBegins = <State extends Tree, Kept extends Tree>(
  spec: {
    readonly init: (key: Key) => State;
    readonly keep: (state: State) => Kept;
    readonly epochs: number;
    readonly steps?: number | undefined;
    readonly stepsPerEpoch?: number | undefined;
  },
  from: Key,
): FitResult<Kept> => {
  const state = spec.init(from.split('init'));
  const last = clone(spec.keep(state));
  dispose(state);
  const steps = allSteps(spec, 1);
  return {
    last,
    steps,
    images: 0,
    ...nothingAsked,
    shift: noShift,
    replayed: 0,
    seconds: 0,
    history: [],
    execution: '',
  };
};
