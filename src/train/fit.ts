import * as tf from '@tensorflow/tfjs';
import { type Failure, FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { StoredTensor } from '../core/safetensors.js';
import { clone, dispose, entries, map, type Tree } from '../core/tree.js';
import { runner as runnerOf } from '../engine/runner.js';
import type { Call, Runner, Step } from '../engine/step.js';
import type { Named } from '../models/network.js';
import type { Pictures } from './pictures.js';
import type { Schedule } from './schedules.js';

/** Batches by number, so that a run can start anywhere. */
export interface Source<Batch extends Tree, Data extends Tree = NoTensors> {
  /** What batches refer to, such as images that stay on the device. The fit owns it. */
  readonly data: Data;
  /** Steps in one pass over the images. */
  readonly steps: number;
  /** The batch of a step counted from 0 through all passes, and how many images it holds. The caller disposes of it. */
  at(step: number): { readonly batch: Batch; readonly images: number };
}

export type NoTensors = { readonly [name: string]: never };

/** What a fit's step finds besides its state: the spec's frozen tensors, and the source's data. */
export type Given<Frozen extends Tree, Data extends Tree> = { readonly frozen: Frozen; readonly data: Data };

/** Everything that determines what a fit computes. */
export interface FitSpec<
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree = NoTensors,
> {
  readonly step: Step<Given<Frozen, Data>, State, Batch, Named>;
  /** Borrowed. */
  readonly frozen: Frozen;
  /** Fresh state; the fit owns it. */
  readonly init: (key: Key) => State;
  readonly source: (key: Key) => Source<Batch, Data>;
  readonly epochs: number;
  /** Default: one pass of the source. */
  readonly stepsPerEpoch?: number | undefined;
  /** In all, where the last epoch is a shorter one. */
  readonly steps?: number | undefined;
  readonly schedule: Schedule;
  /** Questions put to the victim for each image of a batch. Default 0. */
  readonly queriesPerImage?: number;
  /** The part of a state that the fit is for (weights without optimiser slots); no copy. */
  readonly keep: (state: State) => Kept;
  /**
   * Accuracy in 0..1 on held-out images, asked for after every epoch. Called once, with the way to run a step of one's own
   * on the fit's state, it gives what is asked.
   */
  readonly validate?: ((also: Runner<Given<Frozen, Data>, State, Batch, Named>['also']) => () => number) | undefined;
  /** Ends the fit when training accuracy is still no better than guessing among this many classes after the warm-up. */
  readonly classes?: number | undefined;
  /** Pictures of a state, for a person to look at while the fit goes on: after every so many steps, and after the last. */
  readonly snapshot?: { readonly every: number; readonly of: (state: State) => Pictures } | undefined;
}

/** One epoch's means over its images. */
export interface EpochRecord {
  readonly epoch: number;
  readonly step: number;
  readonly learningRate: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly validation?: number;
  readonly stepsPerSecond: number;
}

export interface FitResult<Kept extends Tree> {
  /** After the last step. The caller owns it. */
  readonly last: Kept;
  /** After the epoch with the best validation accuracy, the later one of equals; absent without validation. The caller owns it. */
  readonly best?: { readonly kept: Kept; readonly epoch: number; readonly validation: number };
  readonly steps: number;
  readonly images: number;
  readonly queries: number;
  readonly seconds: number;
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
}

/** A fit frozen between two steps: tensors by path, and numbers. */
export interface Checkpoint {
  readonly tensors: Readonly<Record<string, StoredTensor>>;
  readonly meta: CheckpointMeta;
}

interface CheckpointMeta {
  readonly step: number;
  readonly images: number;
  readonly queries: number;
  readonly seconds: number;
  /** Sums over the current epoch's images, to be divided by `epochImages`. */
  readonly sums: Readonly<Record<string, number>>;
  readonly epochImages: number;
  readonly epochSeconds: number;
  readonly best?: { readonly epoch: number; readonly validation: number };
  readonly history: readonly EpochRecord[];
}

/** Metrics stay on the device this many steps before they are read, so that a fast step does not wait for its numbers. */
const stepsBetweenReads = 16;

/** How long a fit may keep the event loop to itself; a step that takes longer keeps it as long as it takes. */
const millisecondsBetweenYields = 50;

/** Epochs before training accuracy must beat chance. */
const warmUpEpochs = 2;

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

const diverged = (what: string, history: readonly EpochRecord[], remedy: string): Failure => {
  const last = history.at(-1);
  const good =
    last === undefined
      ? 'no epoch was completed before'
      : `last good: epoch ${last.epoch + 1}, ${Object.entries(last.metrics)
          .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
          .join(', ')}`;
  return failure('diverged', `${what} (${good})`, { remedy });
};

/**
 * Better than guessing by more than a standard deviation of a guesser's accuracy over `images` images. No more is asked: a
 * slow start on few images must not be stopped, and who only guesses falls below this in one of the next epochs.
 */
const beatsChance = (accuracy: number, classes: number, images: number): boolean => {
  const chance = 1 / classes;
  return accuracy > chance + Math.sqrt((chance * (1 - chance)) / images);
};

/**
 * Runs a step over a source of batches for a number of epochs: the project's only training loop. Resumes from the host's
 * checkpoint exactly: batch order, learning rate and seeds depend on the key and the step's number alone.
 *
 * Rejects with a `FailureError`: `diverged` when a metric is not finite, or when training accuracy is at chance after the
 * warm-up and `classes` is given; `interrupted` after the signal, with the state saved.
 */
export const fit = async <
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree = NoTensors,
>(
  spec: FitSpec<Frozen, State, Batch, Kept, Data>,
  host: FitHost,
): Promise<FitResult<Kept>> => {
  const source = spec.source(host.key.split('batches'));
  const stepsPerEpoch = spec.stepsPerEpoch ?? source.steps;
  const steps = spec.steps ?? spec.epochs * stepsPerEpoch;
  const seeds = host.key.split('step');
  const runner = runnerOf(spec.step, { frozen: spec.frozen, data: source.data }, host);
  const validate = spec.validate?.(runner.also);
  let best: FitResult<Kept>['best'];
  let pending: { readonly metrics: Named; readonly images: number }[] = [];

  try {
    const saved = await host.load();
    const fresh = spec.init(host.key.split('init'));
    try {
      const state = saved === undefined ? fresh : restoreTree(fresh, saved.tensors, 'state');
      runner.load(state);
      if (state !== fresh) dispose(state);
      if (saved?.meta.best !== undefined) {
        best = { kept: restoreTree(spec.keep(fresh), saved.tensors, 'best'), ...saved.meta.best };
      }
    } finally {
      dispose(fresh);
    }

    let { step, images, queries, seconds, epochImages, epochSeconds } = saved?.meta ?? {
      step: 0,
      images: 0,
      queries: 0,
      seconds: 0,
      epochImages: 0,
      epochSeconds: 0,
    };
    let sums: Record<string, number> = { ...saved?.meta.sums };
    let history = saved?.meta.history ?? [];
    let clock = performance.now();
    let yielded = clock;
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
      for (const { metrics, images: count } of pending) {
        for (const [name, value] of Object.entries(metrics)) {
          const number = value.dataSync()[0] as number;
          if (!Number.isFinite(number)) {
            throw new FailureError(
              diverged(
                `${name} became ${number} in epoch ${Math.floor((step - 1) / stepsPerEpoch) + 1}`,
                history,
                'Lower the learning rate, clip the gradients, or weaken the term that grew (for nasty: a smaller omega, or its warm-up).',
              ),
            );
          }
          sums[name] = (sums[name] ?? 0) + number * count;
        }
        epochImages += count;
      }
      for (const { metrics } of pending) dispose(metrics);
      pending = [];
      epochSeconds += tick();
    };

    /** Takes steps, whose metrics stay on the device until they are read. Gives the number of their images. */
    const take = (epoch: number, count: number): number => {
      const calls: Call<Batch>[] = [];
      const sizes: number[] = [];
      try {
        for (const now of Array.from({ length: count }, (_, i) => step + i)) {
          const rate = spec.schedule.at({ epoch, step: now, stepsPerEpoch, epochs: spec.epochs });
          const { batch, images: size } = source.at(now);
          const seed = tf.tensor1d([...seeds.split(now).int32Pair()], 'int32');
          calls.push({ batch, inputs: { learningRate: tf.scalar(rate), seed } });
          sizes.push(size);
        }
        runner.run(calls).forEach((metrics, i) => {
          pending.push({ metrics, images: sizes[i] as number });
        });
        return sizes.reduce((sum, size) => sum + size, 0);
      } finally {
        dispose(calls);
      }
    };

    const save = async (): Promise<void> => {
      drain();
      const held = runner.read();
      const tensors = Object.fromEntries([
        ...savedTree(held, 'state'),
        ...(best === undefined ? [] : savedTree(best.kept, 'best')),
      ]);
      dispose(held);
      const meta = { step, images, queries, seconds, sums, epochImages, epochSeconds, history };
      await host.save({
        tensors,
        meta: best === undefined ? meta : { ...meta, best: { epoch: best.epoch, validation: best.validation } },
      });
      tick();
    };

    /** The part of the state that the fit is for. */
    const kept = (): Kept => {
      const held = runner.read();
      const part = clone(spec.keep(held));
      dispose(held);
      return part;
    };

    const show = async (): Promise<void> => {
      if (spec.snapshot === undefined || host.picture === undefined) return;
      const held = runner.read();
      try {
        await host.picture(step, spec.snapshot.of(held));
      } finally {
        dispose(held);
      }
    };

    const endEpoch = async (): Promise<void> => {
      const epoch = Math.ceil(step / stepsPerEpoch) - 1;
      const metrics = means();
      const stepsPerSecond = (step - epoch * stepsPerEpoch) / epochSeconds;
      const learningRate = spec.schedule.at({ epoch, step: step - 1, stepsPerEpoch, epochs: spec.epochs });
      let validation: number | undefined;
      if (validate !== undefined) {
        validation = validate();
        if (best === undefined || validation >= best.validation) {
          if (best !== undefined) dispose(best.kept);
          best = { kept: kept(), epoch, validation };
        }
      }
      const record = { epoch, step, learningRate, metrics, stepsPerSecond };
      history = [...history, validation === undefined ? record : { ...record, validation }];
      const accuracy = metrics.accuracy;
      if (
        spec.classes !== undefined &&
        accuracy !== undefined &&
        epoch + 1 >= warmUpEpochs &&
        !beatsChance(accuracy, spec.classes, epochImages)
      ) {
        throw new FailureError(
          diverged(
            `training accuracy is at chance (${(100 * accuracy).toFixed(1)} %) after ${epoch + 1} epochs`,
            history,
            'The learning rate is likely too high or too low, or the labels do not belong to the images.',
          ),
        );
      }
      sums = {};
      epochImages = 0;
      epochSeconds = 0;
      await host.epoch(history);
      tick();
    };

    while (step < steps) {
      if (host.signal?.aborted) {
        await save();
        throw new FailureError(failure('interrupted', `stopped at step ${step} of ${steps}`));
      }
      const epoch = Math.floor(step / stepsPerEpoch);
      const shown = spec.snapshot?.every ?? Number.POSITIVE_INFINITY;
      const until = [stepsPerEpoch, host.checkpointEvery, shown].map((every) => every - (step % every));
      const together = Math.min(runner.stride, steps - step, ...until);
      const count = take(epoch, together);
      step += together;
      images += count;
      queries += count * (spec.queriesPerImage ?? 0);

      const epochEnds = step % stepsPerEpoch === 0 || step === steps;
      if (pending.length >= stepsBetweenReads || epochEnds) {
        drain();
        host.progress({
          epoch,
          epochs: spec.epochs,
          step,
          steps,
          metrics: means(),
          imagesPerSecond: epochImages / epochSeconds,
          secondsLeft: ((steps - step) * seconds) / step,
        });
      }
      if (performance.now() - yielded > millisecondsBetweenYields) {
        // Lets signals and timers through: a native call blocks the event loop.
        await new Promise(setImmediate);
        yielded = performance.now();
      }
      if (step % shown === 0 || step === steps) await show();
      if (epochEnds) await endEpoch();
      if (step % host.checkpointEvery === 0 && step < steps) await save();
    }
    const result = { last: kept(), steps, images, queries, seconds, history, execution: runner.execution };
    const chosen = best;
    best = undefined;
    return chosen === undefined ? result : { ...result, best: chosen };
  } finally {
    for (const { metrics } of pending) dispose(metrics);
    if (best !== undefined) dispose(best.kept);
    runner.dispose();
    dispose(source.data);
  }
};
