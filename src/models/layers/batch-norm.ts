import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { Named } from '../network.js';
import { constant } from './initial.js';
import type { BoundLayer, Layer, Variable } from './layer.js';
import { onlyAnswers, withActivation } from './order.js';

/** How a batch norm is laid out. */
export interface BatchNormLayer {
  /** Added to the variance; default 1e-5, PyTorch's. */
  readonly epsilon?: number;
  /** Whether it has a weight and a bias of its own, or a bias alone; default true. Without, they are 1 and 0. */
  readonly affine?: boolean | 'bias';
  /** The new batch's share in the running statistics; default 0.1, PyTorch's. */
  readonly momentum?: number;
}

/** Batch norm of images or vectors. */
export const batchNorm =
  (name: string, { epsilon = 1e-5, affine = true, momentum = 0.1 }: BatchNormLayer = {}): Layer =>
  ({ input, prefix }) => {
    const full = `${prefix}${name}`;
    const overImages = input.kind === 'image';
    const shape = [input.kind === 'image' ? input.channels : input.size];
    const variable = (part: string, kind: 'param' | 'stat', value: number): Variable => ({
      name: `${full}.${part}`,
      shape,
      kind,
      ...(kind === 'stat' ? { over: overImages ? 'images' : 'vectors' } : {}),
      layout: 'plain',
      initial: constant(value),
    });
    const running = { mean: `${full}.running_mean`, share: momentum };
    const fitted = (activation?: ops.Activation): BoundLayer => ({
      output: input,
      variables: [
        ...(affine === true ? [variable('weight', 'param', 1)] : []),
        ...(affine ? [variable('bias', 'param', 0)] : []),
        variable('running_mean', 'stat', 0),
        variable('running_var', 'stat', 1),
      ],
      running,
      listens: true,
      ...(activation === undefined && affine === true ? { norm: { name: full, epsilon } } : {}),
      with: (next) =>
        withActivation(activation, fitted)(next) ?? convolved(next, activation) ?? pooled(next, activation),
      run: (x, { variables, mode, asked, ...found }) => {
        const at = (part: string) => variables[`${full}.${part}`] as tf.Tensor;
        const [mean, variance] = [at('running_mean'), at('running_var')];
        const [scale, offset] = [
          affine === true ? at('weight') : tf.ones(shape),
          affine ? at('bias') : tf.zeros(shape),
        ];
        const [images, own] = [x as tf.Tensor4D, { scale, offset, mean, variance }];
        const batchStats = asked.batchStats === 'all' || (asked.batchStats === true && overImages);
        if (asked.imageStats && overImages) found.imageStats[full] = ops.momentsByImage(images);
        const result = () => {
          if (mode === 'train') {
            if (batchStats) found.batchStats[full] = ops.moments(x);
            return ops.batchNormTrain(images, own, { epsilon, momentum, activation });
          }
          if (!batchStats) return { y: ops.batchNormEval(images, own, { epsilon, activation }), mean, variance };
          const { y, ...moments } = ops.batchNormWithMoments(images, own, { epsilon, activation });
          found.batchStats[full] = moments;
          return { y, mean, variance };
        };
        const { y, ...statistics } = result();
        if (affine !== true) scale.dispose();
        if (!affine) offset.dispose();
        found.stats[`${full}.running_mean`] = statistics.mean;
        found.stats[`${full}.running_var`] = statistics.variance;
        return y;
      },
    });
    const ownOf = (variables: Named) => {
      const at = (part: string) => variables[`${full}.${part}`] as tf.Tensor;
      return { scale: at('weight'), offset: at('bias'), mean: at('running_mean'), variance: at('running_var') };
    };
    /** The same and the convolution after it, if that is what comes next. */
    const convolved = (next: BoundLayer, activation?: ops.Activation, tells = false): BoundLayer | undefined => {
      const { filter } = next;
      if (filter === undefined || affine !== true) return undefined;
      const norm = fitted(activation);
      const telling = tells ? undefined : convolved(next, activation, true);
      return {
        output: next.output,
        variables: [...norm.variables, ...next.variables],
        running,
        listens: true,
        ...(telling && { telling }),
        run: (x, pass) => {
          const { variables, mode, asked, stats } = pass;
          const { weight, ...places } = filter;
          const own = ownOf(variables);
          const training = mode === 'train';
          const found =
            !training || asked.batchStats || asked.imageStats
              ? undefined
              : ops.normalisedConv2d(x as tf.Tensor4D, variables[weight] as tf.Tensor4D, own, {
                  ...places,
                  epsilon,
                  momentum,
                  activation,
                  tells,
                });
          if (found === undefined) {
            const images = norm.run(x, pass);
            const y = ((tells ? next.telling : undefined) ?? next).run(images, pass);
            images.dispose();
            return y;
          }
          stats[`${full}.running_mean`] = found.mean;
          stats[`${full}.running_var`] = found.variance;
          return found.y;
        },
      };
    };
    /** The same, the max-pooling after it, if that is what comes next, and the activation after that. */
    const pooled = (
      next: BoundLayer,
      before: ops.Activation | undefined,
      activation?: ops.Activation,
    ): BoundLayer | undefined => {
      if (next.pools !== 2 || before !== undefined || affine !== true) return undefined;
      const norm = fitted();
      const ofBiased: BoundLayer['ofBiased'] = (x, { variables, stats }, bias) => {
        const own = ownOf(variables);
        stats[`${full}.running_mean`] = own.mean;
        stats[`${full}.running_var`] = own.variance;
        return ops.batchNormPoolEval(x as tf.Tensor4D, { ...own, bias }, { epsilon, activation });
      };
      return {
        output: next.output,
        variables: norm.variables,
        running,
        ofBiased,
        with: withActivation(activation, (given) => pooled(next, undefined, given) as BoundLayer),
        run: (x, pass) => {
          const answered = onlyAnswers(pass) ? ofBiased(x, pass) : undefined;
          if (answered !== undefined) return answered;
          const { variables, mode, asked, stats } = pass;
          const own = ownOf(variables);
          const found =
            mode === 'eval' || asked.batchStats || asked.imageStats
              ? undefined
              : ops.batchNormPoolTrain(x as tf.Tensor4D, own, { epsilon, momentum, activation });
          if (found === undefined) {
            const images = norm.run(x, pass) as tf.Tensor4D;
            const y = ops.maxPool(images, 2, 2, activation);
            images.dispose();
            return y;
          }
          stats[`${full}.running_mean`] = found.mean;
          stats[`${full}.running_var`] = found.variance;
          return found.y;
        },
      };
    };
    return fitted();
  };
