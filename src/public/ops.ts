/**
 * Operations on tensors that are fast in every engine, beside TensorFlow.js's own (`@tensorflow/tfjs`).
 * `undistill/ops`.
 *
 * @module undistill/ops
 */

export * from '../engine/ops.js';
