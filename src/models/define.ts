import type { Options } from '../core/options.js';
import { type Argument, define, type Maker, type PluginSpec, pluginOption } from '../core/plugin.js';
import { network } from './layers.js';
import type { NetworkPlugin } from './network.js';

/** A network's own part: layers, or how it is built where it is not made of them. */
type Body = Omit<Parameters<typeof network>[0], 'name' | 'params' | 'source'> | Pick<NetworkPlugin, 'build'>;

/**
 * A network declared once: its options, what is known of it, and layers out of the options.
 *
 * ```ts
 * export const plainCnn = defineNetwork({
 *   name: 'plainCnn',
 *   source: import.meta.url,
 *   about: 'The 5-layer CNN.',
 *   options: { width: option(wholeAtLeast(1), 32, 'Channels of the first convolution') },
 *   make: ({ width }) => ({ layers: sequential(conv('conv1', width, { kernel: 3 }), relu, …) }),
 * });
 * plainCnn({ width: 8 });
 * ```
 */
export const defineNetwork = <
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>(
  spec: Omit<PluginSpec<Of, Presets, Alone, Body>, 'scaled' | 'cosmetic'>,
): Maker<NetworkPlugin, Argument<Of, Alone>, Presets> =>
  define('network', spec, ({ name, params, source }, body) =>
    'build' in body ? { name, params, source, ...body } : network({ name, params, source, ...body }),
  );

/** A network among a plugin's options. */
export const anyNetwork = pluginOption<NetworkPlugin>(
  (value) => typeof (value as NetworkPlugin | undefined)?.build === 'function',
  'this is no network',
  'a network, such as plainCnn()',
);
