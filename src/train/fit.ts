import * as tf from '@tensorflow/tfjs';
import { type Failure, FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { StoredTensor } from '../core/safetensors.js';
import { clone, dispose, entries, map, type Tree } from '../core/tree.js';
import { turns } from '../core/turns.js';
import { firstNaN, type Origin } from '../engine/first-nan.js';
import { runner as runnerOf } from '../engine/runner.js';
import { type Call, formKey, type Run, type Step, take as takeStep } from '../engine/step.js';
import { type AnswerShift, noShift, readShift } from './answer-shift.js';
import { fitCalls } from './fit-calls.js';
import { checkBeatsChance, type EpochRecord, finiteMetrics } from './fit-log.js';
import { type FitStep, frameOf, type Noted, wholeState, wholeStep } from './fit-step.js';
import {
  type Access,
  type Answering,
  type Asked,
  budgetOf,
  checkShift,
  nothingAsked,
  plus,
  remember,
  sessionOf,
  type Victim,
} from './oracle.js';
import type { Pictures } from './pictures.js';
import { answered, type Recordings } from './recordings.js';
import type { Schedule } from './schedules.js';
import type { NoTensors, Source } from './source.js';

/** Everything that determines what a fit computes. */
export interface FitSpec<
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree = NoTensors,
  A extends Access = Access,
> {
  readonly step: FitStep<Frozen, State, Batch, Data, A>;
  /** Whom the step asks: as the attack was handed it. */
  readonly victim?: Victim<A> | undefined;
  /** Tensors that the step reads and does not change. They stay the caller's, who keeps them until the fit ends. */
  readonly frozen?: Frozen | undefined;
  /** Fresh state; the fit owns it. */
  readonly init: (key: Key) => State;
  /** Where batches come from; `key` is for their order. */
  readonly source: (key: Key) => Source<Batch, Data>;
  readonly epochs: number;
  /** Default: one pass of the source. */
  readonly stepsPerEpoch?: number | undefined;
  /** In all, where the last epoch is a shorter one. */
  readonly steps?: number | undefined;
  /** The learning rate of each step, which comes in as a tensor. */
  readonly schedule: Schedule;
  /** The part of a state that the fit is for (weights without optimiser slots); no copy. */
  readonly keep: (state: State) => Kept;
  /**
   * Accuracy in 0..1 on held-out images, asked for after every epoch. Called once, with the way to run a step of one's
   * own on the fit's state, it gives what is asked.
   */
  readonly validate?: ((also: Also<State>) => () => number) | undefined;
  /** Ends the fit when training accuracy is still no better than guessing among so many classes after the warm-up. */
  readonly stopAtChance?: { readonly classes: number } | undefined;
  /**
   * A stopping rule, asked after every epoch: whether the fit ends here, by what it was for at the epoch's end and at its beginning, and
   * by the records of all epochs so far.
   */
  readonly until?: ((at: EpochEnd<Kept>) => boolean) | undefined;
  /**
   * Pictures of a state, for a person to look at while the fit goes on: after every so many steps, and after the last.
   */
  readonly snapshot?: { readonly every: number; readonly of: (state: State) => Pictures } | undefined;
}

/** An epoch's end, for a stopping rule; the tensors stay the fit's. */
export interface EpochEnd<Kept extends Tree> {
  readonly kept: Kept;
  /** At the epoch's beginning. */
  readonly before: Kept;
  readonly history: readonly EpochRecord[];
}

/** Runs another step on a fit's state: an evaluation beside the training. */
export type Also<State extends Tree> = <Batch extends Tree, Metrics extends Tree>(
  step: Step<Tree, State, Batch, Metrics>,
) => Run<Batch, Metrics>;

/** What a finished fit leaves: what was kept, what was asked of the victim, and its log. */
export interface FitResult<Kept extends Tree> extends Asked {
  /** After the last step. The caller owns it. */
  readonly last: Kept;
  /**
   * After the epoch with the best validation accuracy, the later one of equals; absent without validation. The caller
   * owns it.
   */
  readonly best?: { readonly kept: Kept; readonly epoch: number; readonly validation: number };
  readonly steps: number;
  readonly images: number;
  readonly seconds: number;
  /** By how much the victim's defences changed the answers that were given, summed over them. */
  readonly shift: AnswerShift;
  /** Images about which the victim's net had been asked before, by another fit: its logits were read, not computed. */
  readonly replayed: number;
  /** Why it took fewer steps than planned: the victim gives no more answers, or its stopping rule said so. */
  readonly ended?: 'budget' | 'rule';
  readonly history: readonly EpochRecord[];
  /** What its steps ran as: `graph`, `xla`, or `eager` with the reason. */
  readonly execution: string;
}

/** Where a fit is, for a live line. */
export interface FitProgress {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly steps: number;
  /** Means over the epoch so far. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

/** The world around a fit: where it may save itself, tell of itself and be stopped. */
export interface FitHost {
  readonly key: Key;
  readonly signal?: AbortSignal | undefined;
  /** Steps between checkpoints. */
  readonly checkpointEvery: number;
  readonly load: () => Promise<Checkpoint | undefined>;
  readonly save: (checkpoint: Checkpoint) => Promise<void>;
  readonly epoch: (history: readonly EpochRecord[]) => Promise<void>;
  readonly progress: (progress: FitProgress) => void;
  /** Given what a fit's `snapshot` shows. */
  readonly picture?: (step: number, pictures: Pictures) => Promise<void>;
  /** Told what a reader of the result must know. */
  readonly warn: (message: string) => void;
  /** Told why it takes its time just now. */
  readonly note?: (message: string) => void;
  /** What victims gave to other fits, and where this one leaves what it was given. */
  readonly recordings?: Recordings | undefined;
}

/** A fit frozen between two steps: tensors by path, and numbers. */
export interface Checkpoint {
  readonly tensors: Readonly<Record<string, StoredTensor>>;
  readonly meta: CheckpointMeta;
}

interface CheckpointMeta {
  readonly step: number;
  readonly images: number;
  readonly asked: Asked;
  readonly shift: AnswerShift;
  readonly replayed: number;
  readonly seconds: number;
  /** Sums over the current epoch's images, to be divided by `epochImages`. */
  readonly sums: Readonly<Record<string, number>>;
  readonly epochImages: number;
  readonly epochSeconds: number;
  readonly best?: { readonly epoch: number; readonly validation: number };
  readonly history: readonly EpochRecord[];
}

/**
 * Metrics stay on the device this many steps before they are read, so that a fast step does not wait for its numbers.
 */
const stepsBetweenReads = 16;

/** Sums by the names of a plugin's metrics, which may be those of what every object inherits. */
const sumsOf = (saved: Readonly<Record<string, number>> = {}): Record<string, number> =>
  Object.assign(Object.create(null), saved);

export const savedTree = (tree: Tree, prefix: string): [string, StoredTensor][] =>
  entries(tree, prefix).map(([path, leaf]) => [
    path,
    { shape: leaf.shape, data: leaf.dataSync().slice() as Float32Array | Int32Array },
  ]);

/** The saved tensors in the form of `template`. */
export const restoreTree = <T extends Tree>(template: T, tensors: Checkpoint['tensors'], prefix: string): T => {
  // All are looked for before any is made, so that a failure leaves none behind.
  for (const [path, { shape }] of entries(template, prefix)) {
    if (tensors[path]?.shape.join() === shape.join()) continue;
    throw new FailureError(
      failure('store', `the checkpoint has no tensor ${path} of shape [${shape}]`, {
        remedy: 'Start this stage anew with --force and its label.',
      }),
    );
  }
  return map(
    template,
    (leaf, path) => {
      const { data, shape } = tensors[path] as StoredTensor;
      return tf.tensor(data, [...shape], leaf.dtype);
    },
    prefix,
  );
};

/** The steps of a fit whose source has so many in a pass, where no budget ends it earlier. */
export const allSteps = (
  {
    steps,
    epochs,
    stepsPerEpoch,
  }: {
    readonly steps?: number | undefined;
    readonly epochs: number;
    readonly stepsPerEpoch?: number | undefined;
  },
  pass: number,
): number => steps ?? epochs * (stepsPerEpoch ?? pass);

/**
 * Runs a step over a source of batches for a number of epochs: the project's only training loop. Resumes from the
 * host's checkpoint exactly: batch order, learning rate and seeds depend on the keys and the step's number alone.
 *
 * A victim with a budget is asked for no answer more: a source that can gives a smaller last batch, and the fit ends.
 *
 * Rejects with a `FailureError`: `diverged` when a metric is not finite, or when training accuracy is at chance after
 * the warm-up and `stopAtChance` is given; `plugin` when the victim's answers are no distributions, or its budget does
 * not allow for a single step; `interrupted` after the signal, with the state saved.
 */
export const fit = async <
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree = NoTensors,
  A extends Access = Access,
>(
  spec: FitSpec<Frozen, State, Batch, Kept, Data, A>,
  host: FitHost,
): Promise<FitResult<Kept>> => {
  const { victim } = spec;
  const session = victim === undefined ? undefined : sessionOf(victim);
  const budget = victim === undefined ? undefined : budgetOf(victim);
  const source = spec.source(host.key.split('batches'));
  const stepsPerEpoch = spec.stepsPerEpoch ?? source.steps;
  let steps = allSteps(spec, source.steps);
  /** What a step asks the victim, by the form of its batch: known once the step was taken, or traced. */
  const costs = new Map<string, Asked>();
  const frame = frameOf(spec, source.data);
  const stepOf = (answering?: Answering) =>
    wholeStep(spec, (batch: Batch, asked) => costs.set(formKey(batch), asked), answering);
  const step = stepOf();
  const runner = runnerOf(step, frame, host);
  const calls = fitCalls<Batch>({
    ...{ source, spec, stepsPerEpoch, costs },
    seeds: host.key.split('step'),
    tryOut: (call) => {
      const held = runner.read();
      try {
        const tried = takeStep(step, frame, held, call);
        dispose([tried.state, tried.metrics]);
      } finally {
        dispose(held);
      }
    },
  });
  const taking = answered(spec, { runner, frame, stepOf }, { key: host.key, source, recordings: host.recordings });
  const validate = spec.validate?.((other) =>
    runner.also((given, { own, memory }, batch, inputs) => {
      const { state, metrics } = other(given, own, batch, inputs);
      return { state: { own: state, memory }, metrics };
    }),
  );
  let best: FitResult<Kept>['best'];
  /** At the epoch's beginning, for a stopping rule. */
  let before: Kept | undefined;
  let pending: { readonly noted: Noted; readonly images: number; readonly step: number }[] = [];

  try {
    const saved = await host.load();
    const fresh = wholeState(spec, host.key.split('init'));
    try {
      const state = saved === undefined ? fresh : restoreTree(fresh, saved.tensors, 'state');
      runner.load(state);
      if (state !== fresh) dispose(state);
      if (saved?.meta.best !== undefined) {
        best = { kept: restoreTree(spec.keep(fresh.own), saved.tensors, 'best'), ...saved.meta.best };
      }
      if (spec.until !== undefined) {
        const own = spec.keep(fresh.own);
        before = saved === undefined ? clone(own) : restoreTree(own, saved.tensors, 'before');
      }
    } finally {
      dispose(fresh);
    }

    let {
      step: taken,
      images,
      asked,
      shift,
      replayed: replayedBefore,
      seconds,
      epochImages,
      epochSeconds,
    } = saved?.meta ?? {
      step: 0,
      images: 0,
      asked: nothingAsked,
      shift: noShift,
      replayed: 0,
      seconds: 0,
      epochImages: 0,
      epochSeconds: 0,
    };
    let sums = sumsOf(saved?.meta.sums);
    let history = saved?.meta.history ?? [];
    let ended: FitResult<Kept>['ended'];
    let clock = performance.now();
    const turn = turns();
    const tick = () => {
      const now = performance.now();
      const passed = (now - clock) / 1000;
      clock = now;
      seconds += passed;
      return passed;
    };
    const means = () => Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / epochImages]));

    /** Reads the metrics that still lie on the device. */
    const drain = (): void => {
      for (const { noted, step: number } of pending) {
        const told = noted.shift?.dataSync();
        if (victim === undefined || told === undefined) continue;
        // First of all: a loss that is not finite may have come of answers that are none.
        checkShift(victim, told, number);
        shift = plus(shift, readShift(told));
      }
      for (const { noted, images: count, step: at } of pending) {
        const read = finiteMetrics(noted.metrics, { step: at, steps, stepsPerEpoch, history, originOfNaN });
        for (const [name, number] of read) sums[name] = (sums[name] ?? 0) + number * count;
        epochImages += count;
      }
      for (const { noted } of pending) dispose(noted);
      pending = [];
      epochSeconds += tick();
    };

    /** Which operation made the first NaN of the first step, which is taken again, and forgotten. */
    const originOfNaN = (): Origin | undefined => {
      const first = saved === undefined ? calls.of(0, 0, budget && budget - (session?.asked.queries ?? 0)) : undefined;
      if (first === undefined) return undefined;
      const state = wholeState(spec, host.key.split('init'));
      try {
        return firstNaN(() => {
          const again = takeStep(step, frame, state, first.call);
          dispose([again.state, again.metrics]);
        });
      } finally {
        dispose([state, first.call]);
      }
    };

    /** Answers that the victim still gives once these calls are taken too; undefined where it gives any number. */
    const leftAfter = (next: readonly Call<Batch>[]): number | undefined =>
      budget && budget - plus(session?.asked ?? nothingAsked, plus(asked, calls.askedBy(next))).queries;

    /** Takes up to so many steps, whose metrics stay on the device until they are read. */
    const take = (epoch: number, count: number): void => {
      const next: Call<Batch>[] = [];
      const sizes: number[] = [];
      try {
        for (const now of Array.from({ length: count }, (_, i) => taken + i)) {
          const brought = calls.of(epoch, now, leftAfter(next));
          if (brought === undefined) {
            ended = 'budget';
            break;
          }
          next.push(brought.call);
          sizes.push(brought.size);
        }
        taking.run(taken, next).forEach((noted, i) => {
          pending.push({ noted, images: sizes[i] as number, step: taken + i + 1 });
        });
        taken += next.length;
        images += sizes.reduce((sum, size) => sum + size, 0);
        if (victim !== undefined) asked = plus(asked, calls.askedBy(next));
      } finally {
        dispose(next);
      }
    };

    const replayed = (): number => replayedBefore + taking.replayed();

    const save = async (): Promise<void> => {
      drain();
      taking.flush();
      const held = runner.read();
      const tensors = Object.fromEntries([
        ...savedTree(held, 'state'),
        ...(best === undefined ? [] : savedTree(best.kept, 'best')),
        ...(before === undefined ? [] : savedTree(before, 'before')),
      ]);
      dispose(held);
      const meta = {
        ...{ step: taken, images, asked, shift, replayed: replayed(), seconds },
        ...{ sums, epochImages, epochSeconds, history },
      };
      await host.save({
        tensors,
        meta: best === undefined ? meta : { ...meta, best: { epoch: best.epoch, validation: best.validation } },
      });
      tick();
    };

    /** The part of the state that the fit is for. */
    const kept = (): Kept => {
      const held = runner.read();
      const part = clone(spec.keep(held.own));
      dispose(held);
      return part;
    };

    const show = async (): Promise<void> => {
      if (spec.snapshot === undefined || host.picture === undefined) return;
      const held = runner.read();
      try {
        await host.picture(taken, spec.snapshot.of(held.own));
      } finally {
        dispose(held);
      }
    };

    const endEpoch = async (): Promise<void> => {
      const epoch = Math.ceil(taken / stepsPerEpoch) - 1;
      const metrics = means();
      const stepsPerSecond = (taken - epoch * stepsPerEpoch) / epochSeconds;
      const learningRate = spec.schedule.at({ epoch, step: taken - 1, stepsPerEpoch, epochs: spec.epochs });
      let validation: number | undefined;
      if (validate !== undefined) {
        validation = validate();
        if (best === undefined || validation >= best.validation) {
          if (best !== undefined) dispose(best.kept);
          best = { kept: kept(), epoch, validation };
        }
      }
      const record = { epoch, step: taken, learningRate, metrics, stepsPerSecond };
      history = [...history, validation === undefined ? record : { ...record, validation }];
      if (spec.stopAtChance !== undefined) checkBeatsChance(spec.stopAtChance.classes, epochImages, history);
      if (spec.until !== undefined && before !== undefined && ended === undefined) {
        const now = kept();
        if (tf.tidy(() => spec.until?.({ kept: now, before: before as Kept, history }))) {
          ended = 'rule';
          steps = taken;
        }
        dispose(before);
        before = now;
      }
      sums = sumsOf();
      epochImages = 0;
      epochSeconds = 0;
      await host.epoch(history);
      tick();
    };

    while (taken < steps) {
      if (host.signal?.aborted) {
        await save();
        throw new FailureError(failure('interrupted', `stopped at step ${taken} of ${steps}`));
      }
      const epoch = Math.floor(taken / stepsPerEpoch);
      const shown = spec.snapshot?.every ?? Number.POSITIVE_INFINITY;
      const until = [stepsPerEpoch, host.checkpointEvery, shown].map((every) => every - (taken % every));
      take(epoch, Math.min(runner.stride, steps - taken, ...until));
      if (ended !== undefined) {
        steps = taken;
        if (taken === 0 && session?.asked.queries === 0) throw new FailureError(tooSmall(budget as number));
      }

      const epochEnds = taken > 0 && (taken % stepsPerEpoch === 0 || taken === steps);
      if (pending.length >= stepsBetweenReads || epochEnds) {
        drain();
        host.progress({
          epoch,
          epochs: spec.epochs,
          step: taken,
          steps,
          metrics: means(),
          imagesPerSecond: epochImages / epochSeconds,
          secondsLeft: ((steps - taken) * seconds) / Math.max(1, taken),
        });
      }
      await turn();
      if (taken % shown === 0 || taken === steps) await show();
      // A budget may end at the very end of an epoch, of which nothing is left to be told.
      if (epochEnds && epochImages > 0) await endEpoch();
      if (taken % host.checkpointEvery === 0 && taken < steps) await save();
    }
    taking.flush();
    const last = kept();
    if (session !== undefined) {
      const held = runner.read();
      remember(session, { asked, shift, memory: clone(held.memory) });
      dispose(held);
    }
    const counts = { steps, images, ...asked, shift, replayed: replayed(), seconds };
    const result = { last, ...counts, history, execution: runner.execution };
    const chosen = best;
    best = undefined;
    return {
      ...result,
      ...(chosen === undefined ? {} : { best: chosen }),
      ...(ended === undefined ? {} : { ended }),
    };
  } finally {
    for (const { noted } of pending) dispose(noted);
    if (best !== undefined) dispose(best.kept);
    if (before !== undefined) dispose(before);
    runner.dispose();
    dispose(source.data);
  }
};

const tooSmall = (budget: number): Failure =>
  failure('plugin', `a budget of ${budget} answers ends before the first step`, {
    remedy: 'Give a larger budget, or the attack a smaller batch.',
  });
