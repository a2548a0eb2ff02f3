import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { BoundLayer, Pass } from './layer.js';
import { atOnce, through, toldInTime } from './order.js';

/**
 * A convolution among its like: the batch norm before it, its bias and the batch norm after it, with their activations; or that norm
 * with a max-pooling and the activation after this.
 */
interface Around {
  readonly parts: readonly BoundLayer[];
  readonly filter: NonNullable<BoundLayer['filter']>;
  readonly before?: BesideConv;
  readonly after?: BesideConv;
  /** The max-pooling, with its activation. */
  readonly pool?: BoundLayer;
}
type BesideConv = NonNullable<BoundLayer['norm']> & {
  readonly activation?: ops.Activation | undefined;
  /** Of the convolution, which the norm takes away. */
  readonly bias?: string | undefined;
};

/**
 * What is around the convolution that comes next among some layers; undefined where none does, or nothing is around it and more comes
 * after it: to the result of the last one something may be added.
 */
const aroundConv = (parts: readonly BoundLayer[]): Around | undefined => {
  let at = 0;
  const normAt = (bias?: string): BesideConv | undefined => {
    const norm = parts[at]?.norm;
    if (norm === undefined) return undefined;
    const activation = parts[++at]?.activation;
    if (activation !== undefined) at++;
    return { ...norm, activation, bias };
  };
  const before = normAt();
  const filter = parts[at]?.filter;
  if (filter === undefined) return undefined;
  at++;
  const alone = at;
  const bias = parts[at]?.bias;
  if (bias !== undefined) at++;
  const after = normAt(bias);
  // A bias that no norm follows stays by itself.
  if (after === undefined) at = alone;
  if (before === undefined && after === undefined && at < parts.length) return undefined;
  const norm = at;
  if (after !== undefined && after.activation === undefined && parts[at]?.pools === 2) at++;
  if (at > norm && parts[at]?.activation !== undefined) at++;
  const [pool] = atOnce(parts.slice(norm, at));
  return {
    parts: parts.slice(0, at),
    filter,
    ...(before && { before }),
    ...(after && { after }),
    ...(pool && { pool }),
  };
};

/** A batch norm beside a convolution, for an operation that does both. */
const normIn = (pass: Pass, of: BesideConv | undefined, activation = of?.activation): ops.Norm | undefined => {
  if (of === undefined) return undefined;
  const at = (part: string) => pass.variables[`${of.name}.${part}`] as tf.Tensor;
  const [mean, variance] = [at('running_mean'), at('running_var')];
  pass.stats[`${of.name}.running_mean`] = mean;
  pass.stats[`${of.name}.running_var`] = variance;
  const without = of.bias === undefined ? mean : tf.sub(mean, pass.variables[of.bias] as tf.Tensor);
  return { variables: [at('weight'), at('bias'), without, variance], epsilon: of.epsilon, activation };
};

/** Layers around a convolution at once, where only answers are wanted. */
const finished = ({ parts, filter: { weight, ...places }, before, after, pool }: Around): BoundLayer => {
  const apart = toldInTime(atOnce(parts));
  const once = (x: tf.Tensor, pass: Pass, plus?: tf.Tensor, activation?: ops.Activation): tf.Tensor | undefined =>
    ops.finishedConv2d(
      x as tf.Tensor4D,
      pass.variables[weight] as tf.Tensor4D,
      { before: normIn(pass, before), after: normIn(pass, after, activation), plus },
      places,
    );
  return {
    output: (parts.at(-1) as BoundLayer).output,
    variables: [],
    run: (x, pass) => {
      const y = before === undefined && after === undefined ? undefined : once(x, pass);
      if (y === undefined) return through(apart, x, pass);
      if (pool === undefined) return y;
      const pooled = pool.run(y, pass);
      y.dispose();
      return pooled;
    },
    // Nothing can be added before an activation or a pooling, and no activation follows where there is no norm.
    ...(after?.activation === undefined && pool === undefined
      ? {
          adds: (x, pass, plus, activation) => {
            const sum = after !== undefined || activation === undefined ? once(x, pass, plus, activation) : undefined;
            if (sum !== undefined) return sum;
            const y = through(apart, x, pass);
            const both = ops.add(y as tf.Tensor4D, plus as tf.Tensor4D, activation);
            y.dispose();
            return both;
          },
        }
      : {}),
  };
};

/** Layers around a convolution and those around the next one, where nothing but a batch norm is between the two; else undefined. */
const finishedTwice = (one: Around, other: Around): BoundLayer | undefined => {
  if (one.after === undefined || one.pool !== undefined || other.before !== undefined || other.pool !== undefined)
    return undefined;
  const { weight, ...places } = one.filter;
  const { weight: second, stride, padding } = other.filter;
  if (stride !== places.stride || padding !== places.padding) return undefined;
  const [first, last] = [finished(one), finished(other)];
  const once = (x: tf.Tensor, pass: Pass, plus?: tf.Tensor, activation?: ops.Activation): tf.Tensor | undefined =>
    ops.finishedConv2dTwice(
      x as tf.Tensor4D,
      pass.variables[weight] as tf.Tensor4D,
      {
        ...{ before: normIn(pass, one.before), between: normIn(pass, one.after) as ops.Norm },
        ...{ second: pass.variables[second] as tf.Tensor4D, after: normIn(pass, other.after, activation), plus },
      },
      places,
    );
  const { adds } = last;
  return {
    output: last.output,
    variables: [],
    run: (x, pass) => once(x, pass) ?? through([first, last], x, pass),
    ...(adds && {
      adds: (x, pass, plus, activation) => {
        const sum = other.after !== undefined || activation === undefined ? once(x, pass, plus, activation) : undefined;
        if (sum !== undefined) return sum;
        const between = first.run(x, pass);
        const both = adds(between, pass, plus, activation);
        between.dispose();
        return both;
      },
    }),
  };
};

/** Layers in the order in which they run where only answers are wanted: convolutions with what is around them. */
export const forAnswers = (parts: readonly BoundLayer[]): readonly BoundLayer[] => {
  const done: BoundLayer[] = [];
  let others: BoundLayer[] = [];
  const settle = (): void => {
    done.push(...toldInTime(atOnce(others)));
    others = [];
  };
  for (let at = 0; at < parts.length; ) {
    const around = aroundConv(parts.slice(at));
    if (around === undefined) {
      others.push(parts[at++] as BoundLayer);
      continue;
    }
    settle();
    at += around.parts.length;
    const next = aroundConv(parts.slice(at));
    const both = next && finishedTwice(around, next);
    done.push(both ?? finished(around));
    if (both !== undefined) at += next?.parts.length ?? 0;
  }
  settle();
  return done;
};
