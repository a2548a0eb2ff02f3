import type { Task } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { Tree } from '../core/tree.js';
import type { FitResult, FitSpec, NoTensors } from './fit.js';
import type { Pictures } from './pictures.js';

/** Images that an attacker made: what a student is trained on is what a person can look at. */
export interface Synthesised extends Pictures {
  /** The class that each was made for, or taken for by the victim. */
  readonly labels: readonly number[];
  /** Updates that it took: of the images, or of their generator. */
  readonly updates: number;
  readonly cost: Cost;
}

/** What it took to make something. */
export type Cost = Pick<FitResult<never>, 'steps' | 'images' | 'queries' | 'seconds'>;

/**
 * What an attack or a defence may do beyond arithmetic. Everything it makes is kept under its stage and a name: a killed
 * run returns what was finished at once and goes on with what was begun, without a line in the plugin.
 */
export interface Context {
  /** The randomness of this stage. */
  readonly key: Key;
  /** Trains, with checkpoints. The caller owns the weights returned. */
  fit<Frozen extends Tree, State extends Tree, Batch extends Tree, Kept extends Tree, Data extends Tree = NoTensors>(
    name: string,
    spec: FitSpec<Frozen, State, Batch, Kept, Data>,
  ): Task<FitResult<Kept>>;
  /** Whether a fit of this name is finished and kept: one that goes on from it need not ask for those before. */
  has(name: string): Promise<boolean>;
  /** Removes what a finished fit kept, when another one has gone on from it. */
  drop(name: string): Promise<void>;
  /** Makes images once, which are kept as PNG files and shown with the results. */
  images(name: string, make: () => Promise<Synthesised>): Task<Synthesised>;
  /** Makes a value once; it must survive JSON. */
  value<Value>(name: string, make: () => Promise<Value>): Task<Value>;
  /** A sentence for the record and the terminal: something a reader of the result must know. */
  warn(message: string): void;
}
