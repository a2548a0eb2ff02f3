import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../../core/errors.js';
import { instrumented } from '../../core/instrumented.js';
import { repeated } from '../../core/lists.js';
import type { Key } from '../../core/random.js';
import type {
  ApplyOptions,
  ImageShape,
  Named,
  Network,
  NetworkPlugin,
  Output,
  Shape,
  VariableSpec,
  Variables,
} from '../network.js';
import { type Layer, misfit, type Pass, show } from './layer.js';

/** What a network is made of. */
export interface NetworkDescription {
  readonly name: string;
  readonly params?: Readonly<Record<string, unknown>>;
  /** `import.meta.url` of the network's own module. */
  readonly source: string;
  /** Ends in one number per class, and marks its `features`. */
  readonly layers: Layer;
  /** Says why an image shape does not fit, where the layers themselves would not notice. */
  readonly check?: (input: ImageShape) => string | undefined;
}

/** A network's `check` that no side of its images is of fewer pixels than `least`: below, its last layers would see little but the border. */
export const sidesOf =
  (least: number): NonNullable<NetworkDescription['check']> =>
  ({ height, width }) =>
    height >= least && width >= least ? undefined : `it takes images of at least ${least}×${least}`;

/** A network plugin from its layers. */
export const network = ({ name, params = {}, source, layers, check }: NetworkDescription): NetworkPlugin => ({
  name,
  params,
  source,
  build: (input, classes) => fitNetwork(name, layers, input, classes, check?.(input)),
});

const fitNetwork = (
  name: string,
  layers: Layer,
  input: ImageShape,
  classes: number,
  problem: string | undefined,
): Network => {
  const image = { kind: 'image', ...input } as const;
  const where = `${name} on ${show(image)} images`;
  if (problem !== undefined) throw misfit(problem, where);
  const { output, variables, activations, init, run } = fitLayers(layers, { where, input: image, classes });
  if (output.kind === 'image' || output.size !== classes)
    throw misfit(
      `it ends in ${output.kind === 'image' ? 'an image of ' : ''}${show(output)}, where there are ${classes} classes`,
      where,
      "End its layers in classifier('fc'), which gives one number a class.",
    );
  return {
    name,
    input,
    classes,
    variables,
    activations,
    init,
    apply: (values, images, options) => {
      const { y, features: found = y, ...others } = run(values, images, options);
      return { logits: y as tf.Tensor2D, features: found as tf.Tensor2D, ...others };
    },
  };
};

/** Layers fitted to an input: all that a network is computed with, be it one of images or of vectors. */
export interface FittedLayers {
  /** What comes out, without the batch. */
  readonly output: Shape;
  readonly variables: readonly VariableSpec[];
  /** What can be asked for, by name, in the order of computation. */
  readonly activations: Readonly<Record<string, Shape>>;
  /** Fresh variables, owned by the caller; the same key gives the same bits. `images` as in `Network.init`. */
  init(key: Key, images?: () => tf.Tensor4D): Variables;
  /**
   * x: [batch, height, width, channels] or [batch, size]. What comes belongs to the enclosing `tf.tidy`, or to the caller.
   *
   * @throws FailureError of kind `plugin` when asked for an activation that they have not
   */
  run(variables: Variables, x: tf.Tensor, options: ApplyOptions): LayersOutput;
}

/** Every pass through fitted layers, for those who count them: through whose, and what they are. */
export const passes = instrumented<FittedLayers['run'], { readonly where: string; readonly layers: FittedLayers }>();

/** What layers give; the rest is as in a network's `Output`. */
export interface LayersOutput extends Pick<Output, 'stats' | 'batchStats' | 'imageStats' | 'activations'> {
  /** [batch, …] of the output's shape. */
  readonly y: tf.Tensor;
  /** Absent where no layer marks them. */
  readonly features?: tf.Tensor2D;
}

/**
 * Fits layers to the input that reaches the first of them. `where` says whose they are, for the failure of one that does
 * not fit; `classes` matter to `classifier` alone.
 *
 * @throws FailureError of kind `experiment` that names the layer which does not fit
 */
export const fitLayers = (
  layers: Layer,
  { where, input, classes = 0 }: { readonly where: string; readonly input: Shape; readonly classes?: number },
): FittedLayers => {
  const fitted = locate(where, () => layers({ input, prefix: '', classes }));
  const twice = repeated(fitted.variables.map(({ name }) => name));
  if (twice !== undefined)
    throw new FailureError(
      failure('experiment', `two of its layers are called ${twice.replace(/\.[^.]*$/, '')}`, {
        where,
        remedy: 'Give each layer a name of its own: its weights are kept under it.',
      }),
    );
  const { activations = {} } = fitted;
  const made: FittedLayers = {
    output: fitted.output,
    variables: fitted.variables.map(({ initial: _, ...spec }) => spec),
    activations,
    init: (key, images) => {
      const fresh = (kind: 'param' | 'stat'): Named =>
        Object.fromEntries(
          fitted.variables
            .filter((variable) => variable.kind === kind)
            .map(({ name: variable, shape, initial }) => [
              variable,
              tf.tensor(initial(key.split(variable), tf.util.sizeFromShape([...shape]), images), [...shape], 'float32'),
            ]),
        );
      return { params: fresh('param'), stats: fresh('stat') };
    },
    run: ({ params, stats }, x, { mode, ...asked }) => {
      checkAsked(asked.activations ?? [], activations, where);
      return tf.tidy(() => {
        const pass: Pass = {
          variables: { ...params, ...stats },
          mode,
          asked,
          stats: {},
          batchStats: {},
          imageStats: {},
          activations: {},
        };
        const y = fitted.run(x, pass);
        return {
          y,
          ...(pass.features === undefined ? {} : { features: pass.features }),
          stats: pass.stats,
          ...(asked.batchStats ? { batchStats: pass.batchStats } : {}),
          ...(asked.imageStats ? { imageStats: pass.imageStats } : {}),
          ...(asked.activations?.length ? { activations: pass.activations } : {}),
        };
      }) as unknown as LayersOutput;
    },
  };
  return { ...made, run: passes.of({ where, layers: made }, made.run) };
};

/** Throws when an activation is asked for that is none of those there are. */
export const checkAsked = (asked: readonly string[], there: Readonly<Record<string, Shape>>, where: string): void => {
  const unknown = asked.find((name) => !Object.hasOwn(there, name));
  if (unknown === undefined) return;
  const names = Object.keys(there);
  throw new FailureError(
    failure('plugin', `there is no activation “${unknown}”`, {
      where,
      remedy: names.length === 0 ? 'It marks none.' : `There are ${names.join(', ')}.`,
    }),
  );
};

/** Adds the network's name to where a layer failed to fit. */
const locate = <A>(where: string, run: () => A): A => {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof FailureError)) throw error;
    throw new FailureError({ ...error.failure, where: `${where}, ${error.failure.where}` });
  }
};
