import { key } from '../src/core/random.js';

/**
 * What must never happen: something that was finished is gone or differs (`lost`), the program ends otherwise than by saying why
 * (`aborted`: a crash, a raw stack, a hang), or something wrong is taken without a word (`silent`).
 */
export const sorts = ['lost', 'aborted', 'silent'] as const;
export type Sort = (typeof sorts)[number];

/** What a case found. Whatever else it throws counts as `aborted`. */
export class Defect extends Error {
  constructor(
    readonly sort: Sort,
    what: string,
  ) {
    super(what);
  }
}

/** Throws a defect of that sort unless something holds. */
export const must = (sort: Sort, holds: boolean, what: () => string): void => {
  if (!holds) throw new Defect(sort, what());
};

/** This machine cannot try it; the message says why. */
export class Impossible extends Error {}

/** Something hostile. It survives by returning, and throws what it found. */
export interface Case {
  /** Unlike any other of its kind, and the same whatever the seed. */
  readonly name: string;
  /**
   * @param random is decided by seed, kind and name
   * @param shared a folder that all cases of a campaign share
   * @returns how many things were tried, one by default; or what was measured, which is said beside the table
   */
  readonly attempt: (random: Random, shared: string) => Promise<void> | Promise<number> | Promise<string>;
}

/** The same several times, each with draws of its own. */
export const severally = (times: number, name: string, attempt: Case['attempt']): readonly Case[] =>
  Array.from({ length: times }, (_, i) => ({ name: `${name} (${i + 1})`, attempt }));

/** A row of the table. */
export interface Kind {
  readonly name: string;
  readonly about: string;
  /** Seconds after which a case hangs. */
  readonly limit: number;
  /** Seconds that a case takes or so: it is not begun when a campaign has fewer left. */
  readonly takes: number;
  readonly cases: () => readonly Case[];
}

/** Draws that are the same for the same name. */
export interface Random {
  /** A whole number from 0 up to a bound, itself left out. */
  below(bound: number): number;
  of<Item>(items: readonly Item[]): Item;
}

export const randomOf = (name: string): Random => {
  const next = key(`chaos/${name}`).uniform();
  return {
    below: (bound) => Math.floor(next() * bound),
    of: (items) => {
      if (items.length === 0) throw new Error(`${name}: nothing to draw from`);
      return items[Math.floor(next() * items.length)] as (typeof items)[number];
    },
  };
};

/**
 * The share of some cases that a seed chooses: the seeds that follow choose those that come next, until each had its turn.
 */
export const shareOf = <Item>(items: readonly Item[], share: number, seed: number): readonly Item[] =>
  items.filter((_, i) => {
    // Off the places where shares end, which rounding would move to either side.
    const place = (i + 0.4871) / items.length;
    return Math.ceil((seed + 1) * share - place) > Math.ceil(seed * share - place);
  });
