import * as v from 'valibot';
import {
  type Access,
  anyDefense,
  checked,
  type Declaration,
  type Defense,
  determined,
  FailureError,
  failure,
  partsOf,
  rank,
  required,
} from '../public/plugin.js';

/** The least of several access levels. */
type Least<Parts extends readonly Access[]> = Parts extends readonly [
  infer A extends Access,
  ...infer Rest extends readonly Access[],
]
  ? Rest extends readonly []
    ? A
    : Lower<A, Least<Rest>>
  : Access;
type Lower<A extends Access, B extends Access> = 'none' extends A | B
  ? 'none'
  : 'label' extends A | B
    ? 'label'
    : 'probabilities' extends A | B
      ? 'probabilities'
      : 'logits' extends A | B
        ? 'logits'
        : 'weights';

type ExposedBy<Parts extends readonly Defense[]> = Least<{
  [I in keyof Parts]: Parts[I] extends Defense<infer A> ? A : never;
}>;

const composed = <const Parts extends readonly [Defense, ...Defense[]]>(...parts: Parts): Defense<ExposedBy<Parts>> => {
  checked('compose', options, { parts });
  const flat = parts.flatMap(partsOf);
  let exposes: Access = 'weights';
  let changed: Defense | undefined;
  for (const part of flat) {
    if (part.answers?.asksAnew && changed !== undefined) {
      throw new FailureError(
        failure(
          'experiment',
          `${part.name} asks the net anew, and what ${changed.name} makes of answers would be lost`,
          {
            where: 'compose',
            remedy: `Put ${part.name} before ${changed.name}.`,
          },
        ),
      );
    }
    if (part.answers !== undefined) changed = part;
    if (part.answers !== undefined && rank[exposes] < rank.probabilities) {
      throw new FailureError(
        failure('experiment', `${part.name} changes probabilities, and the defences before it give ${exposes} only`, {
          where: 'compose',
          remedy: 'Put the defence that gives least last.',
        }),
      );
    }
    if (rank[part.exposes] < rank[exposes]) exposes = part.exposes;
  }
  return determined({
    name: flat.map((part) => part.name).join(' + '),
    params: { parts: flat },
    source: import.meta.url,
    exposes: exposes as ExposedBy<Parts>,
    parts: flat,
    scaled: (factor) =>
      composed(...(flat.map((part) => part.scaled?.(factor) ?? part) as [Defense, ...Defense[]])) as Defense<
        ExposedBy<Parts>
      >,
  });
};

const options = {
  parts: required(v.pipe(v.array(anyDefense), v.minLength(1), v.title('defences')), 'In their order'),
};

const declaration: Declaration = {
  kind: 'defense',
  name: 'compose',
  source: import.meta.url,
  about: 'Several defences, one after the other',
  options,
  positional: 'parts',
  presets: {},
};

/**
 * Several defences at once, in order: each trains the teacher the one before left, each wraps the answers of the one
 * before. `compose(nasty(), rounding(2))` shares its nasty teacher with `nasty()` in another column.
 *
 * Throws a `FailureError` of kind `experiment` for no parts, a wrapper of probabilities after one that gives labels
 * only, or one that asks the net anew after another wrapper.
 */
export const compose = Object.assign(composed, { declaration });
