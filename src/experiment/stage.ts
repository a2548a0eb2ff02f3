import type { AnyAttack } from '../attacks/attack.js';
import { refusal } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import type { Defense } from '../defenses/defense.js';
import type { Metric } from '../metrics/metric.js';
import type { NetworkPlugin } from '../models/network.js';
import type { Pretrained } from '../train/pretrained.js';
import type { Learner } from '../train/recipe.js';
import type { Experiment } from './experiment.js';
import type { Facts } from './facts.js';
import { canonical, type Json, type OwnFunction, otherFunction, ownFunctions } from './identity.js';

/** An attack on a victim. */
export interface Theft {
  readonly attack: AnyAttack;
  readonly teacher: NetworkPlugin;
  /** The defences whose wrappers the victim answers through, in order. */
  readonly wrappers: readonly Defense[];
  /** Of what the defences alone know. */
  readonly secret: number;
  /** Answers that the victim gives in all. */
  readonly budget?: number;
  readonly seed: number;
}

/** What a stage does; the plugins it does it with are values of the experiment. */
export type Work =
  | { readonly kind: 'teacher'; readonly learner: Learner; readonly seed: number }
  /** Takes the weights of a pretrained teacher in; `sha256` is of the file that was planned with. */
  | { readonly kind: 'import'; readonly teacher: Pretrained; readonly sha256: string }
  | { readonly kind: 'protect'; readonly defense: Defense; readonly learner: Learner; readonly seed: number }
  /** Fits what the answers of a defence need. */
  | {
      readonly kind: 'prepare';
      readonly defense: Defense;
      readonly learner: Learner;
      readonly seed: number;
    }
  /** Makes the images that all students of an attack learn from. */
  | ({ readonly kind: 'synthesise' } & Theft)
  | ({ readonly kind: 'steal'; readonly student: Learner } & Theft)
  /** What a victim answers through its wrappers to the images of the report, while they remember nothing of it. */
  | {
      readonly kind: 'answer';
      readonly network: NetworkPlugin;
      readonly wrappers: readonly Defense[];
      readonly secret: number;
    }
  | { readonly kind: 'evaluate'; readonly network: NetworkPlugin; readonly views?: true }
  | { readonly kind: 'inspect'; readonly teacher: NetworkPlugin; readonly verifier: NetworkPlugin }
  /**
   * `tellsClean`: the victim names the class that it would without the defences that change its answers. `metric`: one of the
   * experiment's own, which is measured apart from the built-in ones, so that an edit of it makes none but its own numbers again.
   */
  | { readonly kind: 'measure'; readonly tellsClean?: true; readonly metric?: Metric };

/** One unit of work, known by what it computes. */
export interface Stage {
  /** The hash of `parts`: equal stages are one stage, in one experiment and across all that share a store. */
  readonly id: string;
  /** Where a reader finds it: `seed-0/nasty/teacher`. */
  readonly label: string;
  readonly work: Work;
  /** Ids of the stages whose results it takes, by role. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Everything its result depends on. */
  readonly parts: Readonly<Record<string, Json>>;
}

/** Whether stages of a kind train a model. */
export const trains = ({ kind }: Pick<Work, 'kind'>): boolean => ['teacher', 'protect', 'steal'].includes(kind);

/** Whether stages of a kind take their time; the others are over in a moment. */
export const takesLong = ({ kind }: Pick<Work, 'kind'>): boolean =>
  trains({ kind }) || kind === 'prepare' || kind === 'synthesise';

/** Whether stages of a kind leave a network. */
export const makesNetwork = (of: Pick<Work, 'kind'>): boolean => of.kind === 'import' || trains(of);

/** The labels of stages, which people know them by, by id. */
export const stageLabels = ({ stages }: { readonly stages: readonly Stage[] }): ReadonlyMap<string, string> =>
  new Map(stages.map(({ id, label }) => [id, label]));

/** The role in which a stage takes what was prepared for one of its wrappers. */
export const preparedRole = (wrapper: number): string => `prepared ${wrapper + 1}`;

/** What was prepared for the answers of a defence's parts. */
export type Prepared = ReadonlyMap<Defense, Stage>;

/** A stage's inputs of what was prepared for its wrappers. */
export const preparedInputs = (wrappers: readonly Defense[], prepared: Prepared): Readonly<Record<string, string>> =>
  Object.fromEntries(
    wrappers.flatMap((part, i) => {
      const made = prepared.get(part);
      return made === undefined ? [] : [[preparedRole(i), made.id]];
    }),
  );

/** What a stage depends on of a learner. */
export const recipeOf = ({ network, recipe }: Learner): Learner => ({ network, recipe });

/** Adds a stage to a plan, unless an equal one is there already: gives the one that is. `own`: what it depends on beside its inputs. */
export type AddStage = (
  label: string,
  work: Work,
  inputs: Readonly<Record<string, string>>,
  own: Readonly<Record<string, unknown>>,
) => Stage;

/** Refuses two functions that only what they know beside their texts tells apart. */
export const refuseAlike = (where: string, one: string, other: string): never =>
  refusal('experiment')(
    `there are two functions of the same text, and nothing shows whether they compute the same, for ${one} and for ${other}`,
    where,
    'Put what distinguishes them into the parameters, params: { … }; or make one plugin, and use it in both places.',
  );

/** The stages of an experiment, of which there are none yet, in the order in which they are added. */
export const newStages = (of: Experiment, facts: Facts): { readonly add: AddStage; all(): readonly Stage[] } => {
  const stages = new Map<string, { readonly stage: Stage; readonly functions: readonly OwnFunction[] }>();
  const labels = new Set<string>();
  const data: Json = {
    ...{ fingerprint: facts.data.fingerprint, fraction: of.fraction, validation: of.validation },
    set: canonical(of.data, facts.code),
  };
  /** Stages that would carry one label (two nasty teachers on each other) are told apart by a number. */
  const unused = (label: string): string => {
    let free = label;
    for (let n = 2; labels.has(free); n++) free = `${label} (${n})`;
    return free;
  };
  return {
    add: (label, work, inputs, own) => {
      const parts = {
        kind: work.kind,
        ...(canonical(own, facts.code) as Record<string, Json>),
        inputs,
        data,
        engine: facts.engine,
        harness: work.kind === 'measure' || work.kind === 'inspect' ? facts.harness.measuring : facts.harness.training,
      };
      const id = sha256(JSON.stringify(parts)).slice(0, 16);
      const found = stages.get(id);
      if (found !== undefined) {
        const at = otherFunction(ownFunctions(own), found.functions);
        if (at !== undefined) refuseAlike(at.where, found.stage.label, label);
        return found.stage;
      }
      const made = { id, label: unused(label), work, inputs, parts };
      stages.set(id, { stage: made, functions: ownFunctions(own) });
      labels.add(made.label);
      return made;
    },
    all: () => [...stages.values()].map(({ stage }) => stage),
  };
};
