import { median } from '../core/lists.js';

/** How many steps go into a call: so many, or as many as a function makes of the milliseconds that a step takes. */
export type Stride = number | ((milliseconds: number) => number);

/** How many steps of a runner go into a call, which is settled when enough of them were timed. */
export interface Pace {
  /** Steps in a call. */
  readonly stride: number;
  /** Told of the folder of a graph that is made. Whether calls take more steps from now on, since the first one's were timed before. */
  begin(folder: string): boolean;
  /** Told what a step took, of which of a runner's. Whether calls take more steps from now on. */
  took(of: number, milliseconds: number): boolean;
}

/** Steps that are timed before it is settled how many go into a call. */
const timedSteps = 32;

/** Milliseconds that a step took, the median of those that were timed in this process, by the folder of the graph of single steps. */
const paces = new Map<string, number>();

export const paceOf = (wanted: Stride): Pace => {
  let stride = typeof wanted === 'number' ? wanted : 1;
  /** Milliseconds of single steps, until there are enough to choose by. */
  let timed: number[] | undefined = typeof wanted === 'number' ? undefined : [];
  /** The first step that was taken again is the one that counts, not an evaluation beside it. */
  let pacing: number | undefined;
  /** The first graph, of single steps. */
  let begun: string | undefined;

  const settle = (milliseconds: number): boolean => {
    if (typeof wanted === 'function') stride = wanted(milliseconds);
    timed = undefined;
    return stride > 1;
  };
  return {
    get stride() {
      return stride;
    },
    begin: (folder) => {
      if (timed === undefined || begun !== undefined) return false;
      begun = folder;
      const milliseconds = paces.get(folder);
      return milliseconds !== undefined && settle(milliseconds);
    },
    took: (of, milliseconds) => {
      pacing ??= of;
      if (of !== pacing || timed === undefined) return false;
      timed.push(milliseconds);
      if (timed.length < timedSteps) return false;
      const pace = median(timed);
      if (begun !== undefined) paces.set(begun, pace);
      return settle(pace);
    },
  };
};
