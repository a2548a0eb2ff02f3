import { FailureError } from '../core/errors.js';

/** A job in words that every scheduler has. */
export interface JobRequest {
  /** By which the job is found again, whatever its number. */
  readonly tag: string;
  /** For people. */
  readonly name: string;
  /**
   * A program and its arguments, as on this machine. It gets SIGURG shortly before the job's time is up and SIGTERM when the
   * job is ended from outside; `startAgain` as its exit code asks for another start of the same job, 0 is success.
   */
  readonly command: readonly string[];
  /** Where it runs. */
  readonly folder: string;
  /** The file that all it says is added to. */
  readonly log: string;
  /** The jobs that must have succeeded before it begins: where one has not, this one is cancelled. */
  readonly afterOk: readonly string[];
  /** The jobs that must have ended before it begins, in whatever way. */
  readonly afterAny: readonly string[];
}

/** The exit code of a command that wants to be started again. */
export const startAgain = 75;

/** What has become of a job. */
export interface JobState {
  readonly id: string;
  readonly tag: string;
  readonly state: 'waiting' | 'running' | 'ended';
  /** The scheduler's own word for it, such as `OUT_OF_MEMORY`. */
  readonly word: string;
  /** Why it waits, or what the scheduler says of its end. */
  readonly reason: string;
  /** Where it runs or ran; empty where it has not begun. */
  readonly node: string;
}

/** Whether a job could not be started and waits for somebody to look at it, as after the controller of Slurm was lost. */
export const isHeld = ({ state, reason }: JobState): boolean =>
  state === 'waiting' && /launch failed|requeued held/i.test(reason);

/** A scheduler does not answer for the moment: what was asked may have been done, or not. */
export class Unreachable extends FailureError {}

/**
 * A scheduler of other machines' time. All its methods reject with a failure of kind `cluster`, in the scheduler's words.
 * Whatever implements it starts a job anew when its machine is lost, and lets it know its number and start (see `thisJob`).
 */
export interface Cluster {
  /** As on the command line: `slurm`. */
  readonly name: string;
  /** Gives the job's number. */
  submit(job: JobRequest): Promise<string>;
  /** This person's jobs, also those that have ended lately, with tags that begin with `undistill:`. */
  jobs(): Promise<readonly JobState[]>;
  /** Ends jobs for good; those that have ended already are no failure. */
  cancel(ids: readonly string[]): Promise<void>;
}
