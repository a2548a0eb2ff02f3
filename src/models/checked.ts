import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { firstFew } from '../core/text.js';
import type { ImageShape, Named, Network, NetworkPlugin, Output, VariableSpec, Variables } from './network.js';

/** What a net's author is told: what of it is wrong, and what it has to be. */
type Refuse = (what: string, remedy: string) => never;

/** Throws where what `init` or `apply` gives as params or stats are not the tensors that a net's `variables` say. */
const demandNamed = (
  by: 'init' | 'apply',
  kind: keyof Variables,
  given: Named | undefined,
  specs: readonly VariableSpec[],
  refuse: Refuse,
): void => {
  // It is asked in every step that no graph takes: words are made where something is wrong.
  const wrong: (what: string) => never = (what) =>
    refuse(what, `Its variables say ${firstFew(specs.map(({ name, shape }) => `${name} [${shape}]`)) || 'none'}.`);
  if (typeof given !== 'object' || given === null) wrong(`its ${by} gives no ${kind} by name`);
  const missing = specs.filter(({ name }) => !(given[name] instanceof tf.Tensor)).map(({ name }) => name);
  if (missing.length > 0) wrong(`the ${kind} that its ${by} gives lack ${firstFew(missing)}`);
  const other = Object.keys(given).find((name) => !specs.some((spec) => spec.name === name));
  if (other !== undefined) wrong(`its ${by} gives ${other} among its ${kind}, which is none of its variables`);
  for (const { name, shape } of specs) {
    const found = given[name]?.shape;
    if (String(found) !== String(shape)) wrong(`its ${by} gives ${name} of shape [${found}], not [${shape}]`);
  }
};

/**
 * A plugin's net for some images, which says in words what is wrong with what it gives.
 *
 * @throws FailureError of kind `plugin`, where its `init` gives other tensors than its `variables` say, or its `apply` other logits
 * than [batch, classes] or other running statistics
 */
export const networkOf = (plugin: NetworkPlugin, input: ImageShape, classes: number): Network => {
  const network = plugin.build(input, classes);
  const refuse: Refuse = (what, remedy) => {
    throw new FailureError(failure('plugin', `${plugin.name}: ${what}`, { remedy }));
  };
  const ofKind = (kind: VariableSpec['kind']) => network.variables.filter((each) => each.kind === kind);
  const [params, stats] = [ofKind('param'), ofKind('stat')];
  return {
    ...network,
    init: (key, images) => {
      const given: Partial<Variables> | undefined = network.init(key, images);
      demandNamed('init', 'params', given?.params, params, refuse);
      demandNamed('init', 'stats', given?.stats, stats, refuse);
      return given as Variables;
    },
    apply: (variables, images, options) => {
      const given: Partial<Output> | undefined = network.apply(variables, images, options);
      const wanted = [images.shape[0], classes];
      if (!(given?.logits instanceof tf.Tensor))
        refuse('its apply gives no logits', `Give { logits, features, stats }, of which logits are [${wanted}].`);
      if (String(given?.logits?.shape) !== String(wanted))
        refuse(
          `its apply gives logits of shape [${given?.logits?.shape}], not [${wanted}]`,
          'They are [batch, classes].',
        );
      demandNamed('apply', 'stats', given?.stats, stats, refuse);
      return given as Output;
    },
  };
};
