import * as v from 'valibot';
import { askingAgain } from '../attacks/asking-again.js';
import type { AnyAttack, Ownership } from '../attacks/attack.js';
import { attentionTransfer } from '../attacks/attention-transfer.js';
import { classMeanKd } from '../attacks/class-mean-kd.js';
import { cmi } from '../attacks/cmi.js';
import { completedKd } from '../attacks/completed-kd.js';
import { dafl } from '../attacks/dafl.js';
import { deepInversion } from '../attacks/deep-inversion.js';
import { dfad } from '../attacks/dfad.js';
import { dfme } from '../attacks/dfme.js';
import { dfms } from '../attacks/dfms.js';
import { dfq } from '../attacks/dfq.js';
import { disguide } from '../attacks/disguide.js';
import { dist } from '../attacks/dist.js';
import { dkd } from '../attacks/dkd.js';
import { dualStudents } from '../attacks/dual-students.js';
import { fast } from '../attacks/fast.js';
import { fitNet } from '../attacks/fit-net.js';
import { hardLabel } from '../attacks/hard-label.js';
import { inverseKd } from '../attacks/inverse-kd.js';
import { kd } from '../attacks/kd.js';
import { adaptiveKnockoff, inverseKnockoff, knockoff } from '../attacks/knockoff.js';
import { labelKd } from '../attacks/label-kd.js';
import { logitStandardisation } from '../attacks/logit-standardisation.js';
import { maze } from '../attacks/maze.js';
import { bayesKd, ddaeKd } from '../attacks/recovery.js';
import { reweightedKd } from '../attacks/reweighted-kd.js';
import { skeptical } from '../attacks/skeptical.js';
import { sureKd } from '../attacks/sure-kd.js';
import { transfer } from '../attacks/transfer.js';
import { transitionKd } from '../attacks/transition-kd.js';
import { zskt } from '../attacks/zskt.js';

import { choice, parsed, wholeAtLeast } from '../core/check.js';
import { type Refusal, refusal } from '../core/errors.js';
import { unique } from '../core/lists.js';
import { anyDataset, type DatasetPlugin } from '../data/dataset.js';
import { type Access, rank } from '../train/oracle.js';
import {
  type AttackerAsks,
  type AttackerHas,
  attackerAccesses,
  possessions,
  type ThreatModel,
} from './threat-model.js';

/** Which attackers `strongest` lists. */
export interface StrongestOptions extends Partial<ThreatModel> {
  /** The most that is asked of a victim. Default: `weights`, all that there is. */
  readonly access?: AttackerAsks;
  /** Default: the victim's `own` training images, with labels. */
  readonly has?: AttackerHas;
  /** The others. */
  readonly images?: DatasetPlugin;
  /**
   * Of the attacks that make images: their papers' settings for CIFAR-10, or those for a few minutes on two cores with small nets. Default:
   * `released`.
   */
  readonly size?: 'small' | 'released';
  /** Default: `full`. `quick`: those that each close a hole of their own, for a first look. */
  readonly extent?: 'quick' | 'full';
  /** Answers that each may ask of a black box; default: the attack's, or the experiment's. */
  readonly budget?: number;
  /** Names of attacks to leave out: where a net or a number of classes is none that they work with. */
  readonly except?: readonly string[];
}

/** `budget`, where there is one, goes into the options of what asks a black box. */
type Asking = { readonly budget?: number };

const withOwnImages = (
  { extent }: Required<Pick<StrongestOptions, 'extent'>>,
  asking: Asking,
): readonly AnyAttack[] => [
  hardLabel(asking),
  labelKd(asking),
  // Passive: answers are taken as they are told.
  kd({ temperature: 1, ...asking }),
  kd(asking),
  kd({ temperature: 20, ...asking }),
  // Against noise, zeros, what misleads where it is unsure, what can be undone and what can be imitated.
  askingAgain({ times: 8, ...asking }),
  completedKd(asking),
  sureKd({ without: 0.5, ...asking }),
  inverseKd(asking),
  bayesKd(asking),
  ...(extent === 'quick'
    ? []
    : [
        kd({ temperature: 2, ...asking }),
        kd({ temperature: 8, ...asking }),
        kd({ alpha: 0.5, ...asking }),
        kd({ alpha: 0.1, ...asking }),
        askingAgain({ ...askingAgain.presets.modelGuard, ...asking }),
        // Of a balanced data set, the class prior is a tail that is the same for all.
        ...[0.05, 0.1, 0.2].map((tail) => completedKd({ completion: 'uniformTail', tail, ...asking })),
        sureKd(asking),
        classMeanKd(asking),
        ddaeKd(asking),
        transitionKd(asking),
        reweightedKd(asking),
        reweightedKd({ sign: 'released', ...asking }),
        skeptical(asking),
        // Of the label's share of the answer alone, which is not where a nasty teacher lies.
        dkd({ beta: 0, warmup: 0, ...asking }),
        logitStandardisation(asking),
        dist(asking),
        fitNet(),
        attentionTransfer(),
      ]),
];

const withOtherImages = (images: DatasetPlugin, { extent, size }: Whole, asking: Asking): readonly AnyAttack[] => [
  knockoff({ images, answers: 'label', ...asking }),
  knockoff({ images, ...asking }),
  inverseKnockoff({ images, ...asking }),
  transfer({ images, ...asking }),
  ...(extent === 'quick'
    ? []
    : [
        adaptiveKnockoff({ images, ...asking }),
        dfms({ ...(size === 'small' ? dfms.presets.mnistSmall : dfms.presets.cifar10), images, ...asking }),
      ]),
];

const withoutImages = ({ extent, size }: Whole, asking: Asking): readonly AnyAttack[] => {
  const small = size === 'small';
  // So long as the budget lasts, and not as many epochs as the small settings say.
  const spending = asking.budget === undefined ? {} : { ...asking, epochs: undefined };
  const dual = small ? dualStudents.presets.mnistSmall : dualStudents.presets.cifar10;
  const guided = small ? disguide.presets.mnistSmall : disguide.presets.cifar10;
  return [
    disguide({ ...guided, answers: 'label', ...spending }),
    dfme({ ...(small ? dfme.presets.mnistSmall : dfme.presets.cifar10), ...spending }),
    disguide({ ...guided, ...spending }),
    dafl(small ? dafl.presets.mnistSmall : dafl.presets.cifar10),
    deepInversion(small ? deepInversion.presets.mnistSmall : { ...deepInversion.presets.cifar10, batches: 1000 }),
    ...(extent === 'quick'
      ? []
      : [
          dualStudents({ ...dual, answers: 'label', ...spending }),
          maze({ ...(small ? maze.presets.mnistSmall : maze.presets.released), ...spending }),
          dualStudents({ ...dual, ...spending }),
          zskt(small ? zskt.presets.mnistSmall : zskt.presets.cifar10),
          dfad(small ? dfad.presets.mnistSmall : dfad.presets.cifar10),
          dfq(small ? dfq.presets.mnistSmall : dfq.presets.cifar10),
          cmi(small ? cmi.presets.mnistSmall : cmi.presets.cifar10),
          fast(small ? fast.presets.mnistSmall : fast.presets.cifar10),
        ]),
  ];
};

type Whole = Required<Pick<StrongestOptions, 'extent' | 'size'>>;

/**
 * The attackers over which a defence is scored, without a knob: what a defence is worth is what the best of them gets. For an experiment's
 * `attacks`, beside the honest students that they are compared with:
 *
 * ```ts
 * attacks: [scratch(), labelSmoothing(), ...strongest(), ...strongest({ has: 'other', images: fashionMnist() })],
 * ```
 *
 * Each is an attack that can be used by itself; those of `quick` come first. Those that count with a defence
 * are among them: `askingAgain` where answers are random, `inverseKd` and `inverseKnockoff` where the defence's inverse is known (a defence brings
 * it as `recover`), `bayesKd` and `ddaeKd` where its answers can be imitated, `completedKd` where they may have zeros. Where there is nothing of the kind they are not tried, since they
 * would be `kd`; and where a defence leaves alone all that an attack asks for, its student is the undefended teacher's, trained once.
 *
 * After the suite of AutoAttack (Croce and Hein, ICML 2020) for adversarial robustness; of which attackers, and at which settings, is ours.
 * Settings are fixed before anything is seen: what has a temperature of its own is at 4 but for `kd`, and for `logitStandardisation` with its
 * paper's 2, and not at the one that was best there. Nobody has the victim's clean answers, as released recoveries do. Where a defence looks at more than the answer, its copy has a net of the attacker's; one that
 * asks its net anew is not imitated. Whether another net learns more is for the experiment's `students` to say.
 *
 * Throws a `FailureError` of kind `experiment` for options that do not fit together.
 */
export const strongest = (options: StrongestOptions = {}): readonly AnyAttack[] => {
  const { access, has, images, size, extent, budget, except } = parsed('strongest', schema, options);
  if ((has === 'other') !== (images !== undefined))
    refuse(
      has === 'other' ? 'there are no out-of-distribution images' : `it has ${has} images, and others are named`,
      'strongest',
      "Give both or neither: { has: 'other', images: fashionMnist() }.",
    );
  const asking = budget === undefined ? {} : { budget };
  const all =
    images !== undefined
      ? withOtherImages(images, { extent, size }, asking)
      : has === 'own'
        ? withOwnImages({ extent }, asking)
        : withoutImages({ extent, size }, asking);
  const unknown = except.find((name) => all.every((attack) => attack.name !== name));
  if (unknown !== undefined)
    refuse(
      `${unknown} is none of them`,
      'strongest: except',
      `There are: ${unique(all.map(({ name }) => name)).join(', ')}.`,
    );
  return all.filter(({ name, needs }) => rank[needs] <= rank[access] && !except.includes(name));
};

const refuse: Refusal = refusal('experiment');

const schema = v.strictObject({
  access: v.optional(choice(...attackerAccesses), 'weights'),
  has: v.optional(choice(...possessions), 'own'),
  images: v.optional(anyDataset),
  size: v.optional(choice('small', 'released'), 'released'),
  extent: v.optional(choice('quick', 'full'), 'full'),
  budget: v.optional(wholeAtLeast(1)),
  except: v.optional(v.pipe(v.array(v.string()), v.title('names of attacks')), []),
});

/** What an attacker has who owns this. */
export const hasOf = (kind: Ownership['kind']): AttackerHas =>
  kind === 'labelled' || kind === 'unlabelled' ? 'own' : kind;

/** The attacks that take answers as they are told, by name; first those that papers evaluate with. */
export const passiveAttacks = ['kd', 'knockoff', 'transfer', 'hardLabel', 'dfme', 'dafl'] as const;

/** A plugin as a matrix has it. */
interface Used {
  readonly name: string;
  readonly params: unknown;
}

/** A number among the parameters of a plugin. */
const numberOf = ({ params }: Used, option: string): number | undefined => {
  const value = (params as Readonly<Record<string, unknown>> | null)?.[option];
  return typeof value === 'number' ? value : undefined;
};

/**
 * τ of the students in a defence's paper: for a nasty teacher the one that it was trained at, for stingy ones the 20 of all their released
 * settings, and else 4, as `kd` has it, which is ours where the paper is not known to have it.
 */
const paperTemperature = (defense: Used): number => knownTemperature(defense) ?? kd.presets.cifar10.temperature;

/** The temperature of the paper of a defence, or of one within it, where it is known. */
export const knownTemperature = (defense: Used): number | undefined =>
  partsIn(defense)
    .map((part) => {
      if (part.name === 'nasty' || part.name === 'mildlyNasty') return numberOf(part, 'temperature');
      return part.name === 'stingy' || part.name === 'reversedLogits' ? 20 : undefined;
    })
    .find((temperature) => temperature !== undefined);

/** The defences that one consists of, or that it is made around; of others it alone. */
const partsIn = (defense: Used): readonly Used[] => {
  const { parts, defense: within } = (defense.params ?? {}) as { readonly parts?: unknown; readonly defense?: unknown };
  const found = (Array.isArray(parts) ? parts : [within]).filter(isUsed);
  return found.length === 0 ? [defense] : found.flatMap(partsIn);
};

const isUsed = (value: unknown): value is Used =>
  typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string';

/**
 * Attackers that take answers as they are told, first those who own most, and of these the one that a defence's paper would try: distillation at
 * α 0.9 and the paper's τ, or the nearest to it; and of one attack the variant that asks for most.
 */
export const passiveFirst = <A extends Used & { readonly needs: Access; readonly has: AttackerHas }>(
  attackers: readonly A[],
  defense: Used,
): readonly A[] => {
  const { alpha, temperature } = kd.presets.cifar10;
  const places: readonly string[] = passiveAttacks;
  const away = (attacker: A): readonly number[] => [
    -possessions.indexOf(attacker.has),
    places.indexOf(attacker.name),
    -rank[attacker.needs],
    Math.abs((numberOf(attacker, 'alpha') ?? alpha) - alpha),
    Math.abs(Math.log((numberOf(attacker, 'temperature') ?? temperature) / paperTemperature(defense))),
  ];
  return attackers
    .filter(({ name }) => places.includes(name))
    .map((attacker) => ({ attacker, away: away(attacker) }))
    .sort((a, b) => a.away.map((each, i) => each - (b.away[i] as number)).find((difference) => difference !== 0) ?? 0)
    .map(({ attacker }) => attacker);
};
