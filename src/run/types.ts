import type { Dataset } from '../data/dataset.js';
import type { Engine } from '../engine/engine.js';
import type { Others } from '../experiment/data-access.js';
import type { Plan } from '../experiment/plan.js';
import type { FitProgress } from '../train/fit.js';
import type { EpochRecord } from '../train/fit-log.js';
import type { Recordings } from '../train/recordings.js';
import type { GitState } from './git.js';
import type { StagingDir, Store } from './store.js';

/** Everything outside a stage that running it takes. */
export interface RunEnvironment {
  readonly plan: Plan;
  readonly store: Store;
  readonly data: Dataset;
  /** The other data sets that attackers own. */
  readonly others: Others;
  readonly engine: Engine;
  readonly version: string;
  /** Of the project, where it is known. */
  readonly git?: GitState | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly checkpointEvery: number;
  /** Bytes that recorded answers may take in the store. Absent: none are kept or read, and each stage asks its victim. */
  readonly answers?: number | undefined;
  /** Ids of the thefts whose victims' answers are recorded, of all that a run makes. Default: as if it made the whole plan. */
  readonly recorded?: readonly string[] | undefined;
}

/** What a stage tells while it runs. */
export type StageEvent =
  | { readonly type: 'progress'; readonly fit: string; readonly progress: FitProgress }
  | { readonly type: 'epoch'; readonly fit: string; readonly record: EpochRecord; readonly epochs: number }
  /** A picture of how it goes was written, to this path. */
  | { readonly type: 'picture'; readonly path: string; readonly name: string }
  /** It is made on another machine: on which. */
  | { readonly type: 'place'; readonly node: string }
  /** It waits for its turn on a cluster: why, in the scheduler's word. */
  | { readonly type: 'queued'; readonly reason: string }
  /** Why it takes its time just now. */
  | { readonly type: 'note'; readonly message: string }
  | { readonly type: 'warning'; readonly message: string };

/** How fits are kept and stopped. */
export interface StageRun {
  /** The stage's identity. */
  readonly stage: string;
  readonly staging: StagingDir;
  readonly signal?: AbortSignal | undefined;
  readonly checkpointEvery: number;
  readonly emit: (event: StageEvent) => void;
  readonly warn: (message: string) => void;
  readonly recordings?: Recordings | undefined;
}
