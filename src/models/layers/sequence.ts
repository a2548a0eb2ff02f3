import type { Shape } from '../network.js';
import { forAnswers } from './answers.js';
import { allOf, type BoundLayer, type Layer } from './layer.js';
import { marked } from './marks.js';
import { atOnce, onlyAnswers, selectedFirst, through, toldInTime } from './order.js';

/** Fitted layers one after the other. */
export const inOrder = (layers: readonly BoundLayer[], output: Shape): BoundLayer => {
  const parts = layers.flatMap((layer) => layer.parts ?? layer);
  const order = (asked: readonly string[]) =>
    selectedFirst(parts.filter(({ mark }) => mark === undefined || asked.includes(mark)));
  const bare = toldInTime(atOnce(order([])));
  const answering = forAnswers(order([]));
  const last = answering.at(-1);
  return {
    output,
    parts,
    variables: layers.flatMap(({ variables }) => variables),
    activations: allOf(layers),
    run: (x, pass) => {
      const { activations = [] } = pass.asked;
      if (activations.length > 0) return through(toldInTime(atOnce(order(activations))), x, pass);
      return through(onlyAnswers(pass) ? answering : bare, x, pass);
    },
    ...(last?.adds && {
      adds: (x, pass, plus, activation) => {
        const y = through(answering.slice(0, -1), x, pass);
        const sum = (last.adds as NonNullable<BoundLayer['adds']>)(y, pass, plus, activation);
        if (y !== x) y.dispose();
        return sum;
      },
    }),
  };
};

/** Layers one after the other. */
export const sequential =
  (...layers: readonly Layer[]): Layer =>
  (site) => {
    const fitted: BoundLayer[] = [];
    let output = site.input;
    for (const layer of layers) {
      const next = layer({ ...site, input: output });
      fitted.push(next);
      output = next.output;
    }
    return inOrder(fitted, output);
  };

/** The same layer under a name: `named('layer1', named(0, block))` has variables `layer1.0.…`. */
export const named =
  (name: string | number, layer: Layer): Layer =>
  (site) =>
    layer({ ...site, prefix: `${site.prefix}${name}.` });

/** `named`, and the output is the network's activation of that name, as PyTorch's forward hook on that module gives it. */
export const module = (name: string | number, layer: Layer): Layer => sequential(named(name, layer), marked(`${name}`));
