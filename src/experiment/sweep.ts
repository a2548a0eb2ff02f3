import { type Refusal, refusal } from '../core/errors.js';
import type { OptionsOf } from '../core/plugin.js';
import { described, tellTheSame } from './labels.js';

/** What makes a plugin out of named options, such as `kd` or `nasty`. */
type Maker = (options: never) => Parameters<typeof tellTheSame>[0];

/** Its options by name, but for the label, which would be the same for all. */
type Axes<Make extends Maker> = Omit<OptionsOf<Make>, 'label'>;

type RequiredIn<Options> = { [K in keyof Options]-?: object extends Pick<Options, K> ? never : K }[keyof Options];

/** There is an axis: a plugin without options cannot be swept. */
type NonEmpty<Axis> = [Axis] extends [never] ? never : unknown;

/** What is left to be said: nothing, unless the plugin insists on an option that is no axis. */
type Rest<Options> = RequiredIn<Options> extends never ? [rest?: Options] : [rest: Options];

const refuse: Refusal = refusal('experiment');

/**
 * One plugin for each combination of the axes' values, the last axis changing fastest, with the options of `rest` in
 * all of them: `...sweep(kd, { temperature: [1, 4, 20], alpha: [0.1, 0.9] })` among an experiment's attacks is six
 * rows, and they share every stage that they have in common. Values may be networks: `sweep(nasty, { adversary:
 * [plainCnn(), resNeXt29()] })`.
 *
 * Throws a `FailureError` of kind `experiment` for no axis, an axis without values, an option that the plugin does not
 * have or refuses the value of, and two combinations that make the same plugin.
 *
 * @example
 * ```ts
 * import { kd, sweep } from 'undistill';
 *
 * const attacks = sweep(kd, { temperature: [1, 20], alpha: [0.1, 0.9] });
 * console.log(attacks.map(({ params }) => JSON.stringify(params)).join(' ')); // {"temperature":1,"alpha":0.1} {"temperature":1,"alpha":0.9} {"temperature":20,"alpha":0.1} {"temperature":20,"alpha":0.9}
 * ```
 */
export const sweep = <Make extends Maker, Axis extends keyof Axes<Make>>(
  make: Make,
  axes: { readonly [K in Axis]: readonly Exclude<Axes<Make>[K], undefined>[] } & NonEmpty<Axis>,
  ...[rest]: Rest<Omit<Axes<Make>, Axis>>
): readonly ReturnType<Make>[] => {
  if (typeof make !== 'function') refuse('there is no plugin to sweep', 'sweep', 'Give one without its brackets: kd.');
  const where = `sweep(${make.name})`;
  const named = Object.entries(axes ?? {}) as [string, unknown][];
  if (named.length === 0) refuse('there is no axis', where, 'Give an option and its values: { alpha: [0.1, 0.9] }.');
  for (const [name, values] of named) {
    if (!Array.isArray(values) || values.length === 0)
      refuse(`${name} has no values`, where, `Give a list of at least one: { ${name}: [ … ] }.`);
    if (Object.hasOwn(rest ?? {}, name))
      refuse(`${name} is an axis and a fixed option`, where, 'Take it out of one of the two.');
  }
  for (const options of [axes, rest ?? {}]) {
    if (Object.hasOwn(options, 'label'))
      refuse('one label cannot name them all', where, 'Leave it out: each is called by what differs.');
  }
  const made = (named as [string, readonly unknown[]][])
    .reduce<readonly object[]>(
      (some, [name, values]) => some.flatMap((options) => values.map((value) => ({ ...options, [name]: value }))),
      [rest ?? {}],
    )
    .map((options) => make(options as never) as ReturnType<Make>);
  const twice = made.find((plugin, i) => made.findIndex((other) => tellTheSame(plugin, other)) < i);
  if (twice !== undefined)
    refuse(
      `${described(twice)} comes twice`,
      where,
      'Give each value once, and as axes only options that the plugin reads.',
    );
  return made;
};
