import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';

/**
 * What tfjs's native backend and its binding offer beyond the operations of tfjs. The package has no complete types, so
 * this is where they are asserted.
 */

/** A tensor of the binding, which tfjs may not know of. `dtype` is TensorFlow's number for it. */
export interface Raw {
  readonly id: number;
  readonly dtype: number;
  readonly shape: number[];
}

/** An attribute of an operation, as the binding takes it; `type` is one of the binding's `TF_ATTR_…`. */
export interface Attribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

export type TypedArray = Float32Array | Int32Array | Uint8Array;

export interface Binding {
  readonly TF_Version: string;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_SHAPE: number;
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_INT64: number;
  readonly TF_BOOL: number;
  readonly TF_UINT8: number;
  isUsingGpuDevice(): boolean;
  /** May keep the array's memory instead of copying it. */
  createTensor(shape: readonly number[], dtype: number, values: TypedArray): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): TypedArray;
  executeOp(name: string, attributes: readonly Attribute[], inputs: readonly number[], outputs: number): Raw[];
  /** Loads the `saved_model.pb` in a folder and gives its number; `tags` separated by commas. */
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(id: number): void;
  /** Runs it: `inputs` are tensors' numbers; names are `node:output`, separated by commas. */
  runSavedModel(id: number, inputs: readonly number[], inputNames: string, outputNames: string): Raw[];
}

export interface NativeBackend {
  /** Replaced by `withBinding`. */
  binding: Binding;
  readonly isUsingGpuDevice: boolean;
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[];
  createOutputTensor(raw: Raw): tf.Tensor;
  executeMultipleOutputs(
    name: string,
    attributes: readonly Attribute[],
    inputs: readonly tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

/** Whether TensorFlow runs the operations; otherwise tfjs's own implementations do. */
export const isNative = (): boolean => tf.getBackend() === 'tensorflow';

/**
 * Does work that must leave alone what computes. Rejects with a failure of kind `plugin` where it chose another backend, of which it is then
 * rid again: others' numbers would be of that one too.
 */
export const onOneBackend = <A>(work: () => Promise<A>): Promise<A> => {
  const before = tf.getBackend();
  return work().finally(async () => {
    const after = tf.getBackend();
    if (after === before) return;
    await tf.setBackend(before);
    throw new FailureError(
      failure('plugin', `it chose another backend of TensorFlow.js, ${after}, which computes other numbers`, {
        remedy: 'Take tf.setBackend out: what computes is chosen for the whole run.',
      }),
    );
  });
};

export const backend = (): NativeBackend => tf.backend() as unknown as NativeBackend;

/** Runs `body` with some of the binding's functions replaced. Its own properties cannot be written. */
export const withBinding = <A>(replaced: Partial<Binding>, body: () => A): A => {
  const { binding } = backend();
  const properties = Object.entries(replaced).map(([name, value]) => [name, { value }]);
  backend().binding = Object.create(binding, Object.fromEntries(properties));
  try {
    return body();
  } finally {
    backend().binding = binding;
  }
};

let forXla = false;

/** Runs `body`, whose operations XLA must know. */
export const underXla = <A>(body: () => A): A => {
  const before = forXla;
  forXla = true;
  try {
    return body();
  } finally {
    forXla = before;
  }
};

/** Whether only operations that XLA knows may be called. */
export const isUnderXla = (): boolean => forXla;

/** TensorFlow's own numbers for types, `DataType` in its `types.proto`. */
export const DTYPES = { float32: 1, int32: 3, uint8: 4, complex64: 8, int64: 9, bool: 10, bfloat16: 14 } as const;
