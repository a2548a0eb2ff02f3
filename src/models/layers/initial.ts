import { normals, uniforms } from '../../core/random.js';
import type { Initial } from '../network.js';

/** PyTorch's default for convolutions and dense layers: kaiming-uniform with a = √5, which is U(±1/√fan-in). */
export const kaimingUniform =
  (fanIn: number): Initial =>
  (key, size) =>
    uniforms(key, size, 1 / Math.sqrt(fanIn));

/** Numbers from N(0, deviation). */
export const normal =
  (deviation: number): Initial =>
  (key, size) =>
    normals(key, size).map((value) => value * deviation);

export const constant =
  (value: number): Initial =>
  (_, size) =>
    new Float32Array(size).fill(value);
