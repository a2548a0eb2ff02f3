import * as v from 'valibot';
import { byName, record, text, texts } from '../core/check.js';
import type { Failure } from '../core/errors.js';
import type { Json } from '../experiment/identity.js';
import type { Work } from '../experiment/stage.js';
import type { MetricValues } from '../metrics/metric.js';
import type { EpochRecord } from '../train/fit-log.js';
import type { GitState } from './git.js';

/** What is kept of a finished stage, beside its files. */
export interface StageRecord {
  readonly id: string;
  readonly label: string;
  readonly kind: Work['kind'];
  readonly inputs: Readonly<Record<string, string>>;
  readonly parts: Readonly<Record<string, Json>>;
  readonly warnings: readonly string[];
  readonly provenance: Provenance;
  /** Wall-clock seconds in which it was made, also those before it was stopped; where its process was killed, those since. */
  readonly seconds: number;
  /** Present when the stage trained something. */
  readonly training?: TrainingRecord;
  /** Present when another stage, made by other code, was taken for this one: which, and why its numbers are the same. */
  readonly accepted?: { readonly from: string; readonly reason: string };
  /** Present when training diverged: the stage has no model, and is not tried again unless forced. */
  readonly failure?: Failure;
}

export interface TrainingRecord {
  readonly steps: number;
  readonly images: number;
  /** Answers that a black box was asked for, an image each. */
  readonly queries: number;
  /**
   * Images that went through the victim's weights, where the attacker holds them: forwards, and back again for a
   * gradient.
   */
  readonly forward: number;
  readonly backward: number;
  /**
   * Images among these about which the victim's net had been asked before, by another stage: its logits were read, and
   * what is told of them was computed anew. Absent where there are none.
   */
  readonly replayed?: number;
  /** Answers that the victim gives in all, where that is limited. */
  readonly budget?: number;
  /** What the victim's defences changed in the answers that were given: means over queries. */
  readonly answers?: { readonly l1: number; readonly kl: number; readonly changed: number };
  readonly stepsPerSecond: number;
  /** Training images, also such as the attack made itself, and those held out. */
  readonly trainImages: number;
  readonly validationImages: number;
  readonly best?: { readonly epoch: number; readonly validation: number };
  readonly history: readonly EpochRecord[];
}

/** With what a stage was made. */
export interface Provenance {
  readonly undistill: string;
  readonly engine: string;
  readonly engineVersion: string;
  readonly threads: number;
  readonly gpus: readonly string[];
  readonly node: string;
  readonly platform: string;
  /** Its cores and their make; absent in records of older versions. */
  readonly processor?: string;
  /** Of the project in which the experiment's file lies, where it is under git. */
  readonly git?: GitState;
  readonly finished: string;
}

/** How the warning begins of a stage that was made by other code and accepted; the rest is why. */
const acceptedSaid = 'it was made by other code than there is now, and accepted: ';

/** The warning of a stage that was made by other code and accepted for a reason. */
export const acceptedWarning = (reason: string): string => acceptedSaid + reason;

/** Whether a warning is that. It says nothing of what the numbers are. */
export const isAcceptedWarning = (warning: string): boolean => warning.startsWith(acceptedSaid);

/** A model's numbers on the reported images. */
export interface Measures {
  readonly images: number;
  /**
   * Accuracy (correct / count) of the checkpoint after the last step, and of the best on held-out images. Wrapped answers are of the
   * checkpoint that counts alone.
   */
  readonly last?: number;
  readonly best?: number;
  /**
   * Of a net's own answers on held-out training images, by the checkpoint that counts: what chooses among attacks, so that the reported
   * images do not. Absent where none are held out, and where they are what is reported.
   */
  readonly heldOut?: number;
  /** Of the checkpoint that counts. Comparisons with a victim are absent where there is none. */
  readonly metrics: MetricValues;
}

/** How far a retrained teacher is from its adversary on held-out images, and how far two normal nets are apart. */
export interface Divergence {
  /** Mean KL(defended ‖ adversary), nats. */
  readonly kl: number;
  /**
   * The same of the normal teacher to an adversary that is another net, else to another seed's; absent where there is
   * neither.
   */
  readonly normal?: number;
}

/**
 * A record.json, which may be of another version or somebody else's, or have been edited. Of thousands of them each is looked at only as far
 * as those who read it rely on it: histories are not. What is taken is the record as it was written, its fields in their order.
 */
export const recordSchema = record({
  id: text,
  label: text,
  inputs: byName(text),
  parts: byName(v.unknown()),
  warnings: texts,
  seconds: v.pipe(v.number(), v.title('a number')),
  provenance: record({ undistill: text, finished: text }),
  training: v.exactOptional(record({ best: v.exactOptional(record({})) })),
  failure: v.exactOptional(record({ what: text })),
});

/** What happens to a stage in a run. */
export type Outcome =
  | { readonly status: 'done' | 'cached'; readonly record: StageRecord }
  | { readonly status: 'failed'; readonly failure: Failure; readonly record?: StageRecord }
  | { readonly status: 'skipped'; readonly because: string };
