import type { Options } from '../core/options.js';
import { type Argument, define, type Labelled, type Maker, type PluginSpec, pluginOption } from '../core/plugin.js';
import type { Access } from '../train/oracle.js';
import type { Defense } from './defense.js';

/** A defence but for what it declares. */
type Body<Exposes extends Access> = Omit<
  Defense<Exposes>,
  'name' | 'params' | 'source' | 'label' | 'scaled' | 'exposes'
> & { readonly name?: string };

interface DefenseSpec<Exposes extends Access, Of extends Options, Presets, Alone extends keyof Of>
  extends PluginSpec<Of, Presets, Alone, Body<Exposes>> {
  /** What the world can ask of the victim. */
  readonly exposes: Exposes;
}

/**
 * A defence declared once: its options, what is known of it, and what it does. Types, checks, defaults, parameters, the
 * lists and the documentation follow.
 *
 * ```ts
 * export const rounding = defineDefense({
 *   name: 'rounding',
 *   source: import.meta.url,
 *   about: 'Probabilities are told to so many decimal places.',
 *   options: { digits: required(wholeAtLeast(0), 'Decimal places') },
 *   positional: 'digits',
 *   exposes: 'probabilities',
 *   make: ({ digits }) => ({
 *     preserves: 'label',
 *     answers: { kind: 'pure', unnormalised: true, answer: ({ logProbabilities }) => ({ logProbabilities: … }) },
 *   }),
 * });
 * rounding(2);
 * ```
 */
export const defineDefense = <
  const Exposes extends Access,
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>({
  exposes,
  ...spec
}: DefenseSpec<Exposes, Of, Presets, Alone>): Maker<Defense<Exposes>, Argument<Of, Alone, Labelled>, Presets> =>
  define('defense', spec, (identity, body): Defense<Exposes> => ({ ...identity, exposes, ...body }));

/** A defence among a plugin's options. */
export const anyDefense = pluginOption<Defense>(
  (value) => typeof value === 'object' && value !== null && 'exposes' in value,
  'this is no defence',
  'a defence, such as nasty()',
);
