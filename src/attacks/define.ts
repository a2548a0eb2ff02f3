import type { Options, Parsed } from '../core/options.js';
import { type Argument, type Budgeted, define, type Maker, type PluginSpec } from '../core/plugin.js';
import type { Access } from '../train/oracle.js';
import type { Attack, Ownership, PoolMaker } from './attack.js';

/** An attack but for what it declares. A name of its own says that its options make it another attack. */
type Body<Need extends Access, Data extends Ownership> = Omit<
  Attack<Need, Data>,
  'name' | 'params' | 'source' | 'label' | 'budget' | 'scaled' | 'needs' | 'data' | 'pool'
> & { readonly name?: string; readonly pool?: PoolMaker<Need> };

interface AttackSpec<Need extends Access, Data extends Ownership, Of extends Options, Presets, Alone extends keyof Of>
  extends PluginSpec<Of, Presets, Alone, Body<Need, Data>> {
  // Beside `make` and not of it, so that the types of the victim and the data are known within.
  /** The least access it works with; a function of the options where it depends on them. */
  readonly needs: Need | ((options: Parsed<Of>) => Need);
  /** What the attacker owns; a function of the options where it depends on them. */
  readonly data: Data | ((options: Parsed<Of>) => Data);
}

/**
 * An attack declared once: its options, what is known of it, and what it does. Types, checks, defaults, parameters, the
 * lists and the documentation follow.
 *
 * ```ts
 * export const kd = defineAttack({
 *   name: 'kd',
 *   source: import.meta.url,
 *   about: 'Distillation: α τ² KL(teacher ‖ student) + (1−α) CE.',
 *   options: { temperature: option(positive, 4, 'τ, at which both are softened') },
 *   presets: { cifar100: { temperature: 20 } },
 *   needs: 'probabilities',
 *   data: labelled,
 *   make: ({ temperature }) => ({ steal: (victim, student, { fit, data }) => … }),
 * });
 * kd(kd.presets.cifar100);
 * ```
 */
export const defineAttack = <
  const Need extends Access,
  const Data extends Ownership,
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>({
  needs,
  data,
  ...spec
}: AttackSpec<Need, Data, Of, Presets, Alone>): Maker<Attack<Need, Data>, Argument<Of, Alone, Budgeted>, Presets> =>
  define(
    'attack',
    spec,
    (identity, body, options): Attack<Need, Data> => ({
      ...identity,
      needs: typeof needs === 'function' ? needs(options) : needs,
      data: typeof data === 'function' ? data(options) : data,
      ...body,
    }),
  );
