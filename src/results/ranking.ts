import type { AttackerHas, ThreatModel } from '../experiment/threat-model.js';
import type { Access } from '../train/oracle.js';
import type { Setting } from './setting.js';
import type { Spread } from './spread.js';
import type { Cell, LearnerSummaries, Matrix } from './types.js';

/** Defences by what the strongest of several attackers gets of them. */
export interface Ranking {
  readonly version: 1;
  readonly runs: readonly RankedRun[];
  readonly entries: readonly Entry[];
}

/** A run that entries are from: in what setting they are, and with what they were made. */
export interface RankedRun extends Setting {
  /**
   * SHA-256 of the numbers of its matrix: the same when it is run again from its file with the same version, on the same class of engine.
   */
  readonly id: string;
  readonly experiment: string;
  /** How teacher and students were trained; absent in what older versions wrote. */
  readonly learners?: LearnerSummaries;
  readonly seeds: readonly string[];
  readonly attackers: readonly Attacker[];
  readonly provenance: Matrix['provenance'];
}

/** A row of a run's matrix that takes something from a victim. */
export interface Attacker {
  readonly label: string;
  readonly name: string;
  readonly needs: Access;
  readonly has: AttackerHas;
  readonly params: unknown;
}

/** Numbers by the labels of their seeds. */
export type BySeed = Readonly<Record<string, number>>;

/** What was measured of a defence with one student net: all that its scores are made of. */
export interface DefenseNumbers {
  /** The `id` of its run. */
  readonly run: string;
  readonly defense: string;
  /** Of the plugin. */
  readonly name: string;
  readonly role?: 'identity';
  readonly exposes: string;
  readonly params: unknown;
  readonly student: string;
  /** Of the teacher as it answers. */
  readonly teacher: {
    readonly accuracy: BySeed;
    /** Seeds that have the teacher of an earlier one, with the same answers, and that seed. */
    readonly sameAs?: Readonly<Record<string, string>>;
    /**
     * Mean Σ|given − clean| of the answers to the reported images, 0 to 2; 0 where none are changed. Absent where no probabilities are told, and
     * where the teacher was trained anew, whose clean answers are others than the undefended one's.
     */
    readonly l1: BySeed;
    /** The same of a teacher that was trained anew and whose answers are changed besides: to the clean ones of that net. */
    readonly ownL1?: BySeed;
  };
  /** Each attacker's students, those on labels alone among them. */
  readonly students: readonly Stolen[];
}

/** A defence as one student net leaves it. */
export interface Entry extends DefenseNumbers {
  /** What it costs. */
  readonly cost: Cost;
  /** By who attacks; the widest last. */
  readonly scores: readonly Standing[];
}

export interface Cost {
  /** The accuracy of the teacher as it answers, and that minus the undefended one's, seed by seed. */
  readonly teacher?: Spread;
  readonly toUndefended?: Spread;
  /** Of the answers to the reported images. */
  readonly l1?: Spread;
  /** The same, to the clean answers of a net that was trained anew: beside the undefended one's they are not known. */
  readonly ownL1?: Spread;
}

/** The students of one attack by seed; accuracies in 0..1. */
export interface Stolen {
  readonly attack: string;
  /** Absent of an attacker's. */
  readonly role?: 'honest' | 'reference';
  readonly status: Cell['status'];
  readonly reason?: string;
  readonly accuracy: BySeed;
  /** On held-out images. */
  readonly heldOut: BySeed;
  /** Minus the same net trained on labels alone. */
  readonly toBaseline: BySeed;
  /** Mean Σ|given − clean| of the answers that it was given, 0 to 2; absent where none were changed. */
  readonly l1: BySeed;
  /** Images about which it asked, as often as it did; absent in what older versions wrote. */
  readonly queries?: BySeed;
}

/** An attack and what its students are worth. */
export interface Named {
  readonly attack: string;
  readonly accuracy: Spread;
}

/** What the strongest of such attackers gets. */
export interface Standing extends ThreatModel {
  /** The strongest. */
  readonly attack: string;
  readonly accuracy: Spread;
  /**
   * On which images it was found to be the strongest. `reported`: on those of `accuracy`, which then flatters the attacker, since not
   * all have numbers on held-out ones.
   */
  readonly chosenOn: 'heldOut' | 'reported';
  /** Those that are as good on the images that chose; the strongest is the first of them in the order of the attackers. */
  readonly equals?: readonly Named[];
  /** The highest on the reported images, where that is another. */
  readonly highest?: Named;
  /** The strongest on the undefended teacher, chosen in the same way; and the accuracy minus that, seed by seed. Below 0 it is harmed. */
  readonly undefended?: Named;
  readonly harm?: Spread;
  /** Minus the same net trained on labels alone, and on smoothed ones. */
  readonly toBaseline?: Spread;
  readonly toLabelSmoothing?: Spread;
  /** Minus the strongest of those who ask for labels alone. */
  readonly toLabelOnly?: Spread;
  /** The one of them that takes answers as they are told, at the defence's paper's settings; and the strongest's accuracy minus its. */
  readonly passive?: Named;
  readonly gap?: Spread;
  /** Of the answers that it was given. */
  readonly l1?: Spread;
  /** How many they were. */
  readonly queries?: Spread;
  /** Attackers that lack a number of some seed: the score is no more than a lower bound on what can be stolen. */
  readonly missing: readonly string[];
}
