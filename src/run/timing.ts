import { median } from '../core/lists.js';
import { type Key, key } from '../core/random.js';
import { dispose } from '../core/tree.js';
import { runner as runnerOf } from '../engine/runner.js';
import { evaluationSets } from '../experiment/data-access.js';
import type { Stage } from '../experiment/stage.js';
import { networkOf } from '../models/checked.js';
import { logitsOn } from '../train/evaluate.js';
import { allSteps } from '../train/fit.js';
import { frameOf, wholeState, wholeStep } from '../train/fit-step.js';
import { type Answering, budgetOf, type Victim } from '../train/oracle.js';
import { answered, recordingsInMemory } from '../train/recordings.js';
import { type AnyFit, callAt, isPluginWork, rehearse } from './rehearsal.js';
import type { RunEnvironment } from './types.js';

/** What a stage takes, in seconds: as it is, and where its victim's answers were recorded by another one. */
export interface StageTime {
  readonly live: number;
  readonly replayed: number;
}

const noTime: StageTime = { live: 0, replayed: 0 };

/** Steps that are timed: at least so many, at most so many, and in between until they took so many seconds. */
const [fewest, most, enough] = [2, 12, 0.3];

/**
 * How long a stage will take, by a few steps of each of its fits; undefined where they cannot be taken, such as when a
 * plugin does not bear a victim that has learnt nothing. Held-out images that are looked at in between are not counted.
 */
export const timeStage = async (environment: RunEnvironment, stage: Stage): Promise<StageTime | undefined> => {
  const { work } = stage;
  try {
    if (work.kind === 'evaluate') return timeEvaluation(environment, work);
    if (!isPluginWork(work)) return noTime;
    let sum = noTime;
    const add = (time: StageTime, times: number): void => {
      sum = { live: sum.live + times * time.live, replayed: sum.replayed + times * time.replayed };
    };
    await rehearse(environment, stage, {
      fit: (_, spec, { key: own, times }) => add(timeFit(spec, own), times),
      spent: (seconds, times) => add({ live: seconds, replayed: seconds }, times),
    });
    return sum;
  } catch {
    return undefined;
  }
};

const timeEvaluation = (
  { data, others, plan: { experiment } }: RunEnvironment,
  { network: net }: Extract<Stage['work'], { readonly kind: 'evaluate' }>,
): StageTime => {
  const [set, ...rest] = Object.values(evaluationSets({ data, others, experiment }));
  if (set === undefined) return noTime;
  const images = [set, ...rest].reduce((sum, { indices }) => sum + indices.length, 0);
  const network = networkOf(net, data.image, data.classes.length);
  const variables = network.init(key('timing'));
  try {
    const some = { ...set, indices: set.indices.subarray(0, 200) };
    // The first time it is compiled.
    const [, seconds] = [0, 1].map(() => secondsOf(() => logitsOn(network, variables, some))) as [number, number];
    const all = (seconds * images) / some.indices.length;
    return { live: all, replayed: all };
  } finally {
    dispose(variables);
  }
};

const secondsOf = (act: () => unknown): number => {
  const began = performance.now();
  act();
  return (performance.now() - began) / 1000;
};

/** The time of a fit: a few steps of it, that its victim answers and that are replayed, times their number. */
const timeFit = (spec: AnyFit, own: Key): StageTime => {
  const source = spec.source(own.split('batches'));
  const frame = frameOf(spec, source.data);
  let queries = 0;
  const stepOf = (answering?: Answering) =>
    wholeStep(
      spec,
      (_, asked) => {
        queries = asked.queries;
      },
      answering,
    );
  const runner = runnerOf(stepOf(), frame);
  const state = wholeState(spec, own.split('init'));
  try {
    runner.load(state);
    const recordings = recordingsInMemory();
    /** Seconds of making ready, and of a step. */
    const timed = () => {
      const taking = answered(spec, { runner, frame, stepOf }, { key: own, source, recordings });
      const step = (number: number): number =>
        secondsOf(() => {
          const calls = [callAt(spec, source, own, number).call];
          const noted = taking.run(number, calls);
          // A graphics card is asked when it is done.
          for (const { metrics } of noted) for (const metric of Object.values(metrics)) metric.dataSync();
          dispose([calls.map(({ batch, inputs }) => [batch, inputs]), noted]);
        });
      const first = step(0);
      const seconds: number[] = [];
      const spent = () => seconds.reduce((sum, each) => sum + each, 0);
      while (seconds.length < fewest || (seconds.length < most && spent() < enough))
        // Another step each time: one that was taken before is replayed.
        seconds.push(step(seconds.length + 1));
      taking.flush();
      return { first, each: median(seconds) };
    };
    const live = timed();
    const replayed = recordings.parts.size === 0 ? live : timed();
    const steps = stepsOf(spec, source.steps, queries);
    return { live: live.first + steps * live.each, replayed: replayed.first + steps * replayed.each };
  } finally {
    dispose([state, source.data]);
    runner.dispose();
  }
};

/** All steps of a fit; as many as its victim's budget allows for. */
const stepsOf = (spec: AnyFit & { readonly victim?: Victim | undefined }, pass: number, queries: number): number => {
  const all = allSteps(spec, pass);
  const budget = spec.victim === undefined ? undefined : budgetOf(spec.victim);
  return budget === undefined || queries === 0 ? all : Math.min(all, Math.ceil(budget / queries));
};
