import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { repeated } from '../core/lists.js';
import { checkAsked, type FittedLayers, fitLayers, type Layer, named } from './layers.js';
import type { ApplyOptions, Named, Network, Output, Shape, VariableSpec, Variables } from './network.js';

/** Layers on what happens inside a network: an auxiliary classifier as a rule, or a regressor. */
export interface Head {
  /** Which of the network's `activations` it sees. */
  readonly from: string;
  /** An auxiliary classifier ends in one number per class: `sequential(globalMean, classifier('fc'))`. */
  readonly layers: Layer;
}

/**
 * A network with auxiliary heads, which are trained with it in one gradient and dropped afterwards (`withoutHeads`), as
 * in deep supervision and self-distillation. It is the network but for this: its variables have those of each head as
 * well, after its own and with the head's name before theirs (`scala1.fc.weight`); `apply` gives what comes out of the
 * heads as `Output.heads`, in both modes; what is asked of batch norms and activations is asked of the heads too. The
 * trunk's initial variables, logits and features are the same bits as without heads.
 *
 * @throws FailureError of kind `plugin` when an activation is not there or two variables have one name, and of kind
 *   `experiment` when a head does not fit the activation
 */
export const withHeads = (network: Network, heads: Readonly<Record<string, Head>>): Network => {
  const fitted = Object.entries(heads).map(([name, head]) => ({ ...fitHead(network, name, head), ...head, name }));
  const parts = [network, ...fitted];
  const variables = parts.flatMap((part) => part.variables);
  checkDistinct(variables, network);
  const activations = merged(parts.map((part) => part.activations));
  return {
    ...network,
    variables,
    activations,
    init: (key, images) => {
      const fresh = parts.map((part) => part.init(key, images));
      return { params: merged(fresh.map(({ params }) => params)), stats: merged(fresh.map(({ stats }) => stats)) };
    },
    apply: (values, images, { activations: names = [], ...others }) => {
      checkAsked(names, activations, network.name);
      const asked = (part: Pick<Network, 'activations'>, also: readonly string[] = []): ApplyOptions => ({
        ...others,
        activations: [...names.filter((name) => Object.hasOwn(part.activations, name)), ...also],
      });
      return tf.tidy(() => {
        const sources = fitted.map(({ from }) => from);
        const { activations: seen = {}, ...trunk } = network.apply(values, images, asked(network, sources));
        const outputs = fitted.map((head) => head.run(values, seen[head.from] as tf.Tensor, asked(head)));
        const found = merged([seen, ...outputs.map((output) => output.activations)]);
        const all = [trunk, ...outputs];
        return {
          ...trunk,
          stats: merged(all.map(({ stats }) => stats)),
          ...(others.batchStats ? { batchStats: merged(all.map(({ batchStats }) => batchStats)) } : {}),
          ...(others.imageStats ? { imageStats: merged(all.map(({ imageStats }) => imageStats)) } : {}),
          ...(names.length > 0 ? { activations: Object.fromEntries(names.map((name) => [name, found[name]])) } : {}),
          heads: { ...trunk.heads, ...Object.fromEntries(outputs.map(({ y }, i) => [fitted[i]?.name, y])) },
        };
      }) as unknown as Output;
    },
  };
};

/**
 * Of the variables of a network with heads, those of the network alone. They are the same tensors: whoever owns the
 * given ones owns these.
 *
 * @param network the one that `withHeads` was given
 */
export const withoutHeads = ({ variables }: Network, { params, stats }: Variables): Variables => {
  const own = (kind: VariableSpec['kind'], of: Named): Named =>
    Object.fromEntries(variables.filter((spec) => spec.kind === kind).map(({ name }) => [name, of[name] as tf.Tensor]));
  return { params: own('param', params), stats: own('stat', stats) };
};

const merged = <A>(records: readonly (Readonly<Record<string, A>> | undefined)[]): Readonly<Record<string, A>> =>
  Object.assign({}, ...records);

const fitHead = (
  { name: network, activations, classes }: Network,
  name: string,
  { from, layers }: Head,
): FittedLayers => {
  const where = `head ${name} of ${network}`;
  checkAsked([from], activations, where);
  return fitLayers(named(name, layers), { where, input: activations[from] as Shape, classes });
};

const checkDistinct = (variables: readonly VariableSpec[], { name: network }: Network): void => {
  const twice = repeated(variables.map(({ name }) => name));
  if (twice === undefined) return;
  throw new FailureError(
    failure('plugin', `two variables are named ${twice}`, {
      where: `heads of ${network}`,
      remedy: 'Give the head another name.',
    }),
  );
};
