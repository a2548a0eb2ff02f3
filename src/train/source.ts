import type { Tree } from '../core/tree.js';

/** Batches by number, so that a run can start anywhere. */
export interface Source<Batch extends Tree, Data extends Tree = NoTensors> {
  /** What batches refer to, such as images that stay on the device. The fit owns it. */
  readonly data: Data;
  /** Steps in one pass over the images. */
  readonly steps: number;
  /**
   * The batch of a step counted from 0 through all passes, and how many images it holds: no more than `atMost`, the
   * first ones, where a source can give fewer. The caller disposes of it.
   */
  at(step: number, atMost?: number): { readonly batch: Batch; readonly images: number };
  /**
   * What a leaf of its batches, or of `data`, holds, in a word: two sources of one key that say the same give the same
   * numbers there at every step. Default: unknown.
   */
  readonly identity?: (leaf: string) => string | undefined;
}

/** A tree without leaves: nothing frozen, no data, no memory. */
export type NoTensors = { readonly [name: string]: never };
