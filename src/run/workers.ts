import { type ChildProcess, fork } from 'node:child_process';
import { type Failure, failure, toFailure } from '../core/errors.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import type { Stage } from '../experiment/plan.js';
import { type Executor, localExecutor } from './executor.js';
import type { GitState } from './git.js';
import type { Outcome } from './record.js';
import type { RunEnvironment, StageEvent } from './types.js';

/** What a worker must know before its first stage: the same as the command that starts it. */
export interface WorkerSetup {
  readonly file: string;
  readonly data: string | undefined;
  readonly seed: readonly string[] | undefined;
  readonly scale: number | undefined;
  readonly store: string;
  readonly threads: number;
  readonly execution: Execution;
  readonly precision: CardPrecision;
  readonly checkpointEvery: number;
  readonly answers: number | undefined;
  readonly git: GitState | undefined;
}

type ToWorker =
  | { readonly type: 'setup'; readonly setup: WorkerSetup }
  | { readonly type: 'run'; readonly id: string }
  | { readonly type: 'stop' };

type FromWorker =
  | { readonly type: 'event'; readonly event: StageEvent }
  | { readonly type: 'waiting'; readonly holder: string }
  | { readonly type: 'outcome'; readonly outcome: Outcome };

/** What a stage is doing while a worker has it. */
interface Job {
  readonly emit: (event: StageEvent) => void;
  readonly waiting: (holder: string) => void;
  readonly end: (outcome: Outcome) => void;
}

export interface ProcessExecutorOptions {
  /** The script of a worker, and its arguments. */
  readonly script: string;
  readonly args: readonly string[];
  readonly setup: WorkerSetup;
  readonly signal?: AbortSignal | undefined;
}

const failedWith = (of: Failure): Outcome => ({ status: 'failed', failure: of });

/**
 * Runs stages in a process of its own, started with the first of them. When that process dies (killed, or out of
 * memory) the stage it was at has failed, and the next one gets a new process.
 */
export const processExecutor = ({ script, args, setup, signal }: ProcessExecutorOptions): Executor => {
  let worker: ChildProcess | undefined;
  let job: Job | undefined;

  const ended = (outcome: Outcome): void => {
    const was = job;
    job = undefined;
    was?.end(outcome);
  };
  const send = (message: ToWorker): void => {
    // One that has died says so by its exit.
    if (worker?.connected) worker.send(message, () => undefined);
  };

  const start = (): ChildProcess => {
    const child = fork(script, [...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Numbers that JSON has not (NaN, infinity) must get through.
      serialization: 'advanced',
      // In a group of its own: a Ctrl-C would end it, or what compiles its TypeScript, while it starts. This process says when to stop.
      detached: true,
    });
    child.on('message', (message: FromWorker) => {
      if (message.type === 'event') job?.emit(message.event);
      else if (message.type === 'waiting') job?.waiting(message.holder);
      else ended(message.outcome);
    });
    let isGone = false;
    const gone = (how: string): void => {
      if (isGone) return;
      isGone = true;
      if (worker === child) worker = undefined;
      ended(
        failedWith(
          failure('plugin', `its worker process ended (${how})`, {
            remedy: 'If the machine was out of memory, use fewer --jobs. Its checkpoint is kept: run again.',
          }),
        ),
      );
    };
    child.on('error', (error) => gone(error.message));
    child.on('exit', (code, killedBy) => gone(killedBy ?? `exit code ${code}`));
    return child;
  };

  signal?.addEventListener('abort', () => send({ type: 'stop' }), { once: true });

  return {
    run: (stage, emit, waiting) =>
      new Promise((end) => {
        if (signal?.aborted) return end(failedWith(failure('interrupted', 'stopped')));
        job = { emit, waiting, end };
        if (worker === undefined) {
          worker = start();
          send({ type: 'setup', setup });
        }
        send({ type: 'run', id: stage.id });
      }),
    close: async () => {
      const child = worker;
      worker = undefined;
      if (child?.exitCode !== null || child.signalCode !== null) return;
      await new Promise<void>((resolve) => {
        child.on('exit', () => resolve());
        child.disconnect();
      });
    },
  };
};

/**
 * The other side: runs the stages that the parent names until it goes away.
 *
 * @param open is given what warns of something at the stage that the worker is at
 */
export const serveStages = (
  open: (setup: WorkerSetup, signal: AbortSignal, warn: (message: string) => void) => Promise<RunEnvironment>,
): Promise<void> =>
  new Promise(() => {
    const stop = new AbortController();
    let environment: Promise<RunEnvironment> | undefined;
    const tell = (message: FromWorker): void => void process.send?.(message);

    const run = async (id: string): Promise<Outcome> => {
      if (environment === undefined) throw new Error('a worker was given a stage before its setup');
      const ready = await environment;
      const stage: Stage | undefined = ready.plan.stages.find((each) => each.id === id);
      if (stage === undefined) {
        return failedWith(
          failure('experiment', 'the experiment file, or a plugin, changed while it ran', { remedy: 'Run it again.' }),
        );
      }
      return localExecutor(ready).run(
        stage,
        (event) => tell({ type: 'event', event }),
        (holder) => tell({ type: 'waiting', holder }),
      );
    };

    process.on('message', (message: ToWorker) => {
      if (message.type === 'stop') stop.abort();
      else if (message.type === 'setup') {
        environment = open(message.setup, stop.signal, (warning) =>
          tell({ type: 'event', event: { type: 'warning', message: warning } }),
        );
        environment.catch(() => undefined);
      } else {
        run(message.id)
          .catch((error) => failedWith(toFailure('plugin')(error)))
          .then((outcome) => tell({ type: 'outcome', outcome }));
      }
    });
    // What ends a session may reach every process: the parent says what to do about it.
    for (const told of ['SIGINT', 'SIGTERM'] as const) process.on(told, () => undefined);
    process.on('disconnect', () => process.exit());
  });
