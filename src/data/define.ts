import { text, wholeBetween } from '../core/check.js';
import { type Options, optional } from '../core/options.js';
import { type Argument, define, type Maker, type PluginSpec } from '../core/plugin.js';
import { refuse } from './assemble.js';
import type { DatasetPlugin } from './dataset.js';
import { downloaded, type PublishedName } from './published.js';

/** A data set but for what it declares. A name of its own is one that is no identifier: `tiny-imagenet`. */
type Body = Pick<DatasetPlugin, 'load'> & { readonly name?: string };

/**
 * A data set declared once: its options, and how it is read. An option `path` says where its files lie: the set is the
 * same wherever that is, and `--data PATH` gives another one.
 *
 * ```ts
 * export const digits = defineDataset({
 *   name: 'digits',
 *   source: import.meta.url,
 *   about: 'Digits of my own, 16×16, grey',
 *   options: { path: optional(text, 'A folder; a relative path starts at the working folder') },
 *   make: ({ path }) => ({ load: (options) => … }),
 * });
 * digits({ path: 'digits' });
 * ```
 */
export const defineDataset = <
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>(
  spec: Omit<PluginSpec<Of, Presets, Alone, Body>, 'scaled' | 'cosmetic'>,
): Maker<DatasetPlugin, Argument<Of, Alone>, Presets> => {
  const isPlaced = 'path' in (spec.options ?? {});
  return define(
    'dataset',
    { ...spec, ...(isPlaced ? { cosmetic: ['path'] } : {}) },
    ({ name, params, source }, body, _, changed): DatasetPlugin => ({
      ...{ name, params, source },
      ...(isPlaced ? { from: (path) => changed({ path }) } : {}),
      ...body,
    }),
  );
};

/** Where a data set's files lie, where it can be left to `undistill data get`. */
export const placed = (what: string) =>
  optional(
    text,
    `${what}; a relative path starts at the working folder. May be left to --data PATH, or to undistill data get`,
  );

/** Where they lie: at the path that is given, or where they were downloaded to. Throws a failure of kind `data` where neither is. */
export const placeOf = (call: string, name: PublishedName, path: string | undefined, formats: string): string =>
  path ||
  downloaded(name) ||
  refuse(
    'the path of the data is not given',
    `${call}()`,
    `Download it with \`undistill data get ${name}\`, bring it with \`--data PATH\`, or write \`${call}({ path })\`. ${formats}`,
  );

/** Height and width of images, in pixels. */
export const pixels = wholeBetween(1, 1024);
