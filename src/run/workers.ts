import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type Failure, FailureError, failure, toFailure } from '../core/errors.js';
import { useThreads } from '../engine/engine.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import { withHugePages } from '../engine/huge-pages.js';
import type { Stage } from '../experiment/stage.js';
import { answerable, listen, runningWork } from './answerable.js';
import type { ThreadedExecutor } from './crew.js';
import { deathOf } from './death.js';
import { localExecutor } from './executor.js';
import type { GitState } from './git.js';
import type { Outcome } from './record.js';
import { type StageTime, timeStage } from './timing.js';
import type { RunEnvironment, StageEvent } from './types.js';

/** The script of this package's command line. Compiled or not, `bin` lies two folders above. */
export const commandLineScript = fileURLToPath(new URL('../../bin/undistill.js', import.meta.url));

/** What a worker must know before its first stage: the same as the command that starts it. */
export interface WorkerSetup {
  readonly file: string;
  readonly data: string | undefined;
  readonly scale: number | undefined;
  readonly store: string;
  readonly threads: number;
  readonly execution: Execution | undefined;
  readonly precision: CardPrecision | undefined;
  /** What the stages were planned for elsewhere (see `arithmeticOf`): a worker that computes otherwise refuses them. */
  readonly arithmetic?: string | undefined;
  readonly checkpointEvery: number;
  readonly answers: number | undefined;
  readonly recorded: readonly string[] | undefined;
  readonly git: GitState | undefined;
}

type ToWorker =
  | { readonly type: 'setup'; readonly setup: WorkerSetup }
  | { readonly type: 'run'; readonly id: string }
  | { readonly type: 'time'; readonly id: string }
  | { readonly type: 'threads'; readonly count: number }
  | { readonly type: 'stop' };

type FromWorker =
  | { readonly type: 'event'; readonly event: StageEvent }
  | { readonly type: 'waiting'; readonly holder: string }
  /** What came of a question. `last`: the process is of no more use. */
  | { readonly type: 'outcome'; readonly outcome: Outcome; readonly last: boolean }
  | { readonly type: 'timed'; readonly time: StageTime | undefined; readonly last: boolean };

/** What a worker was asked to do. */
interface Job {
  readonly heard: (message: FromWorker) => void;
  readonly lost: (why: Failure) => void;
}

/** Runs and times stages in a process of its own. */
export interface ProcessExecutor extends ThreadedExecutor {
  /** How long a stage will take; undefined where that cannot be told beforehand. */
  time(stage: Stage): Promise<StageTime | undefined>;
}

export interface ProcessExecutorOptions {
  /** The script of a worker, and its arguments. Default: this package's command line. */
  readonly script?: string;
  readonly args?: readonly string[];
  readonly setup: WorkerSetup;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds that a stage has to stop after the signal, before its process is ended. Default: 30 s. */
  readonly grace?: number | undefined;
}

/** Milliseconds that a worker has to stop, to go when it is idle, and to time a stage. */
const [toStop, toGo, toTime] = [30_000, 5_000, 300_000];

/** Milliseconds after a worker's end in which its last words must have come. */
const toClose = 2_000;

const stopped = failure('interrupted', 'stopped');

const failedWith = (of: Failure): Outcome => ({ status: 'failed', failure: of });

/** All that live: what ends this process ends them too, since a plugin may keep one busy for ever. */
const living = new Set<ChildProcess>();
const endAll = (): void => {
  for (const child of living) endGroup(child);
};

/** Ends a worker, and what its plugins have started: they are a group of their own. */
const endGroup = (child: ChildProcess): void => {
  try {
    process.kill(-(child.pid as number), 'SIGKILL');
  } catch {
    // There is no such group any more, or none on this system.
    child.kill('SIGKILL');
  }
};

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null;

/**
 * Runs stages in a process of its own, started with the first of them. When that process dies, of whatever, the stage it
 * was at has failed, and the next one gets a new process.
 */
export const processExecutor = ({
  script = commandLineScript,
  args = ['worker'],
  setup,
  signal,
  grace = toStop,
}: ProcessExecutorOptions): ProcessExecutor => {
  let worker: ChildProcess | undefined;
  let job: Job | undefined;
  /** Threads that it is to use; until it was told, those of its setup. */
  let threads: number | undefined;
  /** Workers that did not stop when they were told to. */
  const overdue = new Set<ChildProcess>();

  const send = (message: ToWorker): void => {
    // One that has died says so by its exit.
    if (worker?.connected) worker.send(message, () => undefined);
  };

  const start = (): ChildProcess => {
    const child = fork(script, [...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: withHugePages(process.env),
      // Numbers that JSON has not (NaN, infinity) must get through.
      serialization: 'advanced',
      // In a group of its own: a Ctrl-C would end it, or what compiles its TypeScript, while it starts. This process says when to stop.
      detached: true,
    });
    if (living.size === 0) process.on('exit', endAll);
    living.add(child);
    child.on('message', (message: FromWorker) => {
      if (worker !== child) return;
      job?.heard(message);
      if (!('last' in message) || !message.last) return;
      worker = undefined;
      endGroup(child);
      // It was no answer to what was asked.
      job?.lost(deathOf(0));
    });
    const gone = (why: Failure): void => {
      living.delete(child);
      if (living.size === 0) process.off('exit', endAll);
      if (worker !== child) return;
      worker = undefined;
      job?.lost(
        overdue.has(child)
          ? failure('interrupted', `it did not stop within ${grace / 1000} s, and its process was ended`)
          : why,
      );
    };
    child.on('error', (error) => gone(failure('plugin', `its process cannot be started: ${error.message}`)));
    child.on('exit', (code, killedBy) => {
      // What it has left behind is of no use to the next one.
      endGroup(child);
      const died = () => gone(deathOf(killedBy ?? code ?? 0));
      // What it said last may still be on its way, and comes before the close.
      const late = setTimeout(died, toClose);
      child.once('close', () => {
        clearTimeout(late);
        died();
      });
    });
    return child;
  };

  signal?.addEventListener(
    'abort',
    () => {
      send({ type: 'stop' });
      const asked = worker;
      const end = (): void => {
        if (asked === undefined || asked !== worker || job === undefined) return;
        overdue.add(asked);
        endGroup(asked);
      };
      setTimeout(end, grace).unref();
    },
    { once: true },
  );

  /** What a worker answers to a question; else why it gave no answer. */
  const ask = <A>(question: ToWorker, heard: (message: FromWorker) => A | undefined, lost: (why: Failure) => A) =>
    new Promise<A>((resolve) => {
      if (signal?.aborted) return resolve(lost(stopped));
      const end = (answer: A): void => {
        job = undefined;
        resolve(answer);
      };
      job = {
        heard: (message) => {
          const answer = heard(message);
          if (answer !== undefined) end(answer);
        },
        lost: (why) => end(lost(why)),
      };
      if (worker === undefined) {
        worker = start();
        send({ type: 'setup', setup });
        if (threads !== undefined) send({ type: 'threads', count: threads });
      }
      send(question);
    });

  return {
    useThreads: (count) => {
      if (count === threads) return;
      threads = count;
      send({ type: 'threads', count });
    },
    run: (stage, emit, waiting) =>
      ask(
        { type: 'run', id: stage.id },
        (message) => {
          if (message.type === 'outcome') return message.outcome;
          if (message.type === 'event') emit(message.event);
          else if (message.type === 'waiting') waiting(message.holder);
          return undefined;
        },
        (why) => {
          if (why.kind === 'interrupted' && why !== stopped) emit({ type: 'warning', message: why.what });
          return failedWith(why);
        },
      ),
    time: async (stage) => {
      // It is no reason to wait for ever: the stage itself may, and is watched.
      const overlong = setTimeout(() => worker && endGroup(worker), toTime);
      const { time } = await ask<{ readonly time: StageTime | undefined }>(
        { type: 'time', id: stage.id },
        (message) => (message.type === 'timed' ? message : undefined),
        () => ({ time: undefined }),
      );
      clearTimeout(overlong);
      return time;
    },
    close: async () => {
      const child = worker;
      worker = undefined;
      if (child === undefined || !living.has(child) || hasEnded(child)) return;
      await new Promise<void>((resolve) => {
        child.on('exit', () => resolve());
        if (child.connected) child.disconnect();
        // A plugin may keep it from going.
        setTimeout(() => endGroup(child), toGo).unref();
      });
    },
  };
};

/** Milliseconds between two looks at whether the parent lives. */
const parentEvery = 1_000;

/** A plugin may keep this thread busy for ever: when the parent is gone, another one ends the process. */
const endWithParent = (): void => {
  // With what plugins have started, where it leads a group.
  const end = "try { process.kill(-process.pid, 'SIGKILL'); } catch { process.kill(process.pid, 'SIGKILL'); }";
  const look = `if (process.ppid !== ${process.ppid}) { ${end} }`;
  new Worker(`setInterval(() => { ${look} }, ${parentEvery})`, { eval: true, execArgv: [] }).unref();
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
    /** The stage that is under way. */
    let current: Stage | undefined;
    let last = false;
    const onLost = (): void => {
      last = true;
    };
    const tell = (message: FromWorker): void => {
      if (process.connected) process.send?.(message);
    };

    const ready = async (): Promise<RunEnvironment> => {
      if (environment === undefined) throw new Error('a worker was asked for something before its setup');
      return environment;
    };
    /** Does something for a stage, for which alone the process then lives. */
    const forStage = async <A>(id: string, act: (on: RunEnvironment, stage: Stage) => Promise<A>): Promise<A> => {
      const on = await ready();
      const stage = on.plan.stages.find((each) => each.id === id);
      if (stage === undefined) throw changed();
      current = stage;
      // Without what else is under way nothing will come of the stage: the parent is no reason to wait.
      process.channel?.unref();
      try {
        return await act(on, stage);
      } finally {
        process.channel?.ref();
        current = undefined;
      }
    };

    const run = (id: string): Promise<Outcome> =>
      forStage(id, (on, stage) =>
        localExecutor(on, onLost).run(
          stage,
          (event) => tell({ type: 'event', event }),
          (holder) => tell({ type: 'waiting', holder }),
        ),
      ).catch((error) => failedWith(toFailure('plugin')(error)));
    const time = (id: string): Promise<StageTime | undefined> =>
      forStage(id, (on, stage) =>
        answerable(stage.label, () => timeStage(on, stage), { signal: stop.signal, onLost }),
      ).catch(() => undefined);

    process.on('message', async (message: ToWorker) => {
      if (message.type === 'stop') stop.abort();
      else if (message.type === 'threads') {
        // Where the environment cannot be opened, the answer to the next question says so.
        environment?.then(() => useThreads(message.count)).catch(() => undefined);
      } else if (message.type === 'setup') {
        environment = open(message.setup, stop.signal, (warning) =>
          tell({ type: 'event', event: { type: 'warning', message: warning } }),
        );
        environment.catch(() => undefined);
      } else if (message.type === 'run') {
        const outcome = await run(message.id);
        // What a plugin did before it failed may still be there, such as another `Math.random`: the next stage is made elsewhere.
        last ||= outcome.status === 'failed' && outcome.failure.kind === 'plugin';
        tell({ type: 'outcome', outcome, last });
      } else tell({ type: 'timed', time: await time(message.id), last });
    });
    // What ends a session may reach every process: the parent says what to do about it.
    for (const told of ['SIGINT', 'SIGTERM'] as const) process.on(told, () => undefined);
    process.on('disconnect', () => process.exit());
    process.on('exit', (code) => {
      if (current === undefined) return;
      const of = runningWork() ?? current.label;
      const who = of === current.label ? 'it' : `${of}, which had ended,`;
      const outcome = failedWith(failure('plugin', `${who} called process.exit(${code})`, { remedy: returning }));
      tell({ type: 'outcome', outcome, last: true });
    });
    listen();
    endWithParent();
  });

const returning = 'A plugin returns its result, or throws an error: leave process.exit out.';

const changed = (): FailureError =>
  new FailureError(
    failure('experiment', 'the experiment file, or a plugin, changed while it ran', { remedy: 'Run it again.' }),
  );
