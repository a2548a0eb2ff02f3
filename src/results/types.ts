import type { Ownership, Role } from '../attacks/attack.js';
import type { Quantity } from '../metrics/quantity.js';
import type { Divergence, Measures, Provenance } from '../run/record.js';
import type { Spread } from './spread.js';

/** One student of one seed. Accuracies and differences are in 0..1. */
export interface SeedResult {
  readonly seed: string;
  /** The seed whose student this is too, where an earlier one has the same victim and attacker. */
  readonly sameAs?: string;
  /** `skipped`: something it needs failed. */
  readonly status: 'done' | 'failed' | 'skipped' | 'not run' | 'n/a';
  /** Why there is no number. */
  readonly reason?: string;
  readonly student?: Measures;
  readonly teacherAccuracy?: number;
  /** Student minus the same net trained honestly on the same images. */
  readonly toBaseline?: number;
  /** Student minus the one trained on smoothed labels, where the experiment has it. */
  readonly toLabelSmoothing?: number;
  /** Student minus the same attack on the undefended teacher, where the experiment has it. */
  readonly toUndefended?: number;
  readonly queries?: number;
  readonly forward?: number;
  readonly backward?: number;
  readonly budget?: number;
  /** What the victim's defences changed in its answers to the attack: means over queries. */
  readonly answers?: { readonly l1: number; readonly kl: number; readonly changed: number };
  readonly seconds?: number;
  readonly stepsPerSecond?: number;
  readonly trainImages?: number;
  readonly warnings: readonly string[];
}

export interface Cell {
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  /** `n/a`: the attack needs more than the defence exposes, or undoes what has no known inverse. `failed`, `not run`: no seed has a number. */
  readonly status: 'done' | 'n/a' | 'failed' | 'not run';
  readonly reason?: string;
  readonly seeds: readonly SeedResult[];
  readonly accuracy?: Spread;
  readonly toBaseline?: Spread;
  readonly toLabelSmoothing?: Spread;
  readonly toUndefended?: Spread;
  /** By the names of the matrix's metrics, those that apply. */
  readonly metrics: Readonly<Record<string, Spread>>;
  readonly queries?: Spread;
  readonly forward?: Spread;
  readonly backward?: Spread;
  /** The accuracy that a paper reports, 0..1. */
  readonly published?: number;
}

export interface VictimSummary {
  readonly defense: string;
  readonly exposes: string;
  /** Its teacher is another net than the undefended one, whose answers are no measure of its own. */
  readonly retrained?: true;
  readonly accuracy?: Spread;
  /** Minus the undefended teacher's, paired by seed. */
  readonly toUndefended?: Spread;
  /** By the names of the matrix's metrics, those that apply; absent in what older versions wrote. */
  readonly metrics?: Readonly<Record<string, Spread>>;
  /** The accuracy that a paper reports, 0..1. */
  readonly published?: number;
  readonly seeds: readonly {
    readonly seed: string;
    /** The seed whose teacher this is too, with the same answers: a pretrained one is that of all. */
    readonly sameAs?: string;
    readonly reason?: string;
    readonly measures?: Measures;
    readonly divergence?: Divergence;
    readonly seconds?: number;
    readonly warnings: readonly string[];
  }[];
}

/** What a metric is, without the function that computes it. */
export interface MetricSummary extends Quantity {
  /** Of whom alone it is told; default: of students and of victims. */
  readonly only?: 'student' | 'victim';
}

/** The attacker's best choice against a defence: the attack with the highest mean accuracy of one student. */
export interface BestAttack {
  readonly defense: string;
  readonly student: string;
  readonly attack: string;
  readonly accuracy: Spread;
}

/** What the seeds say, by 95 % intervals. */
export type Verdict = 'yes' | 'no' | 'undecided';

/** How well a defence keeps one student net from stealing: what it does to the best attack, and what it costs. */
export interface Score {
  readonly defense: string;
  readonly student: string;
  /** The attack that steals most from this defence. */
  readonly attack: string;
  /** Its accuracy minus that of the best attack on the undefended teacher, seed by seed; below 0 it is harmed. */
  readonly harm?: Spread;
  /** The teacher's accuracy minus the undefended one's, seed by seed; below 0 it costs accuracy. */
  readonly teacherCost?: Spread;
  /** The best attack's student minus the one trained on smoothed labels, seed by seed. */
  readonly toLabelSmoothing?: Spread;
  /**
   * Whether nothing was stolen. `no`: the best attack's student is better than the one trained on smoothed labels; `yes`: no attack's is;
   * `undecided`: the seeds do not tell. Absent where none was trained on smoothed labels, and where nothing is defended.
   */
  readonly undistillable?: Verdict;
  /** How many seeds would tell, if the others are like these; absent where they do, or where no number of them would. */
  readonly seedsToTell?: number;
  /** A sentence that says so, and how sure it is. */
  readonly verdict: string;
}

/** A number of a paper and one's own; accuracies and differences are in 0..1. */
export interface Reproduced {
  /** `teacher of nasty`; `kd on nasty, student CNN`. */
  readonly what: string;
  readonly paper: number;
  readonly ours?: Spread;
  /** Ours minus the paper's. */
  readonly difference?: number;
  /** How far apart the two may be, in 0..1. */
  readonly tolerance: number;
  readonly verdict: 'within' | 'outside' | 'not run';
}

/**
 * A difference that a paper reports, and one's own, seed by seed: what a defence does to its teacher or to an attack,
 * what an attack does for a student. It holds in a reduced setting too where the numbers themselves do not.
 */
export interface ReproducedEffect {
  /** `teacher of nasty − teacher of none`; `kd on nasty − scratch, student CNN`. */
  readonly what: string;
  readonly paper: number;
  readonly ours?: Spread;
  /** Ours minus the paper's. */
  readonly difference?: number;
  /** Whether ours has the sign of the paper's; absent when it was not run. */
  readonly direction?: 'same' | 'opposite';
}

/** A net, and what it is trained by: no recipe of a pretrained teacher that needs none. */
export interface LearnerSummary {
  readonly network: { readonly name: string; readonly params: unknown };
  /** SHA-256 of a pretrained teacher's file, hexadecimal. */
  readonly weights?: string;
  readonly recipe?: unknown;
}

/** The teacher, and students by their labels. */
export interface LearnerSummaries {
  readonly teacher: LearnerSummary;
  readonly students: Readonly<Record<string, LearnerSummary>>;
}

export interface Matrix {
  readonly version: 1;
  readonly experiment: string;
  /** What stands above the report, where that is not the experiment's name. */
  readonly title?: string;
  readonly about: string;
  readonly data: {
    readonly name: string;
    readonly fingerprint: string;
    readonly fraction: number;
    readonly validation: number;
  };
  /** Which images the numbers are about, and which checkpoint. */
  readonly report: 'test' | 'validation';
  readonly select: 'last' | 'best';
  readonly teacher: string;
  readonly attacks: readonly {
    readonly label: string;
    /** Of the plugin, which several rows may share; absent in what older versions wrote. */
    readonly name?: string;
    /** Absent in what older versions wrote. */
    readonly role?: Role;
    readonly needs: string;
    readonly owns: string;
    /** The kind of it; absent in what older versions wrote. */
    readonly data?: Ownership['kind'];
    /** What its students are compared with; absent for honest training itself. */
    readonly baseline?: string;
    readonly params: unknown;
  }[];
  readonly defenses: readonly {
    readonly label: string;
    readonly name?: string;
    /** Of the column that defends nothing. */
    readonly role?: 'identity';
    readonly exposes: string;
    readonly params: unknown;
  }[];
  /** Answers that each theft may ask of a black box, unless its attack names a number. */
  readonly budget?: number;
  readonly students: readonly string[];
  /** Absent in what older versions wrote. */
  readonly learners?: LearnerSummaries;
  readonly seeds: readonly string[];
  /** What was measured of students and victims, the user's own metrics last; absent in what older versions wrote. */
  readonly metrics?: readonly MetricSummary[];
  readonly victims: readonly VictimSummary[];
  readonly cells: readonly Cell[];
  readonly best: readonly BestAttack[];
  /** What each defence does to the best attack and to its teacher, by student. */
  readonly scores?: readonly Score[];
  /** Published numbers beside one's own, and the differences between them; absent where there are none. */
  readonly reproduction?: readonly Reproduced[];
  readonly effects?: readonly ReproducedEffect[];
  /** Why the numbers cannot be a paper's: fewer images, shorter schedules. Absent in a full setting. */
  readonly reduced?: string;
  /** Where the published numbers are from, and how far they can be trusted. */
  readonly published?: string;
  readonly provenance: readonly Provenance[];
}
