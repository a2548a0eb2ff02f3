import * as tf from '@tensorflow/tfjs';
import { deepStack } from '../core/errors.js';
import { type Binding, backend, type Raw, withBinding } from './backend.js';
import {
  type Form,
  formsOf,
  isOperation,
  neededBy,
  type Ref,
  type Trace,
  type TracedConstant,
  type TracedNode,
  type TracedOperation,
} from './trace.js';

/** What a computation does otherwise than when it was traced. */
export interface Change {
  /** As a clause: `a number that was 0 is 1 now`. */
  readonly what: string;
  /** The stack of the call. */
  readonly trace: string;
}

/** Ends a computation that was found to be another one. */
class Changed extends Error {
  constructor(readonly change: Change | undefined) {
    super('it is another computation');
  }
}

/**
 * Calls again what was traced, and tells what it does otherwise; undefined where it does the same, or keeps a tensor from the
 * first call, so that the two cannot be compared. Nothing is computed: each operation is given results of the forms that it gave
 * first. So it takes what JavaScript takes, and no more. What `body` gives is disposed of.
 */
export const changeSince = (
  traced: Trace,
  body: (inputs: readonly tf.Tensor[]) => readonly tf.Tensor[],
): Change | undefined => {
  const again = replay(traced, backend().binding);
  const copies = formsOf(traced).map((form) => backend().createOutputTensor(again.input(form)));
  return withBinding(again.replayed, () => {
    let made: readonly tf.Tensor[] = [];
    try {
      made = body(copies);
      again.end(backend().getInputTensorIds(made));
      return undefined;
    } catch (error) {
      if (error instanceof Changed) return error.change;
      throw error;
    } finally {
      tf.dispose([...made, ...copies]);
    }
  });
};

const replay = ({ nodes, outputs }: Trace, binding: Binding) => {
  /** By numbers below 0, which TensorFlow gives to no tensor. */
  const known = new Map<number, Ref>();
  let at = 0;
  const changed = (what: string): never => {
    throw new Changed({ what, trace: deepStack(what) });
  };
  const given = (form: Form, output = 0): Raw => {
    const id = -1 - known.size;
    known.set(id, { node: at, output });
    return { id, dtype: form.dtype, shape: [...form.shape] };
  };
  const refOf = (id: number): Ref => {
    const ref = known.get(id);
    // A tensor of the first call, which this one does not make.
    if (ref === undefined) throw new Changed(undefined);
    return ref;
  };
  const needed = neededBy(nodes, outputs);
  /**
   * Goes on to the node that this call makes now. What was made once and led to no result, such as a look at what the engine can
   * do, need not come again.
   *
   * @param differs how a node is another one, as a clause; undefined where it is the same
   */
  const reach = (differs: (node: TracedNode | undefined) => string | undefined): TracedNode => {
    const why = differs(nodes[at]);
    if (why === undefined) return nodes[at] as TracedNode;
    let later = at;
    while (later < nodes.length && !needed.has(later)) later += 1;
    for (let next = at + 1; next <= later; next++) {
      if (differs(nodes[next]) !== undefined) continue;
      at = next;
      return nodes[at] as TracedNode;
    }
    return changed(why);
  };
  const replayed: Pick<Binding, 'createTensor' | 'deleteTensor' | 'executeOp'> = {
    createTensor: (shape, dtype, values) => {
      const node = reach((was) => {
        if (was?.kind !== 'constant') return `${nameOf(was)} came where a number or a list of numbers comes now`;
        if (was.dtype !== dtype) return 'a constant is of another type now';
        if (was.shape.join() !== shape.join()) return `a constant of shape [${was.shape}] is of shape [${shape}] now`;
        const other = was.data.findIndex((value: number, i: number) => !Object.is(value, values[i]));
        return other < 0 ? undefined : `a number that was ${shown(was.data[other])} is ${shown(values[other])} now`;
      });
      const { id } = given(node as TracedConstant);
      at += 1;
      return id;
    },
    deleteTensor: (id) => {
      if (id >= 0) binding.deleteTensor(id);
    },
    executeOp: (name, attributes, inputs) => {
      const refs = inputs.map(refOf);
      const node = reach((was) => {
        if (!isOperation(was, name)) return `${nameOf(was)} came where ${name} comes now`;
        if (JSON.stringify(was.inputs) !== JSON.stringify(refs)) return `${name} is given other tensors`;
        const [old, now] = [was.attributes, attributes].map((each) => JSON.stringify(each));
        return old === now ? undefined : `${name} was told ${old} and is told ${now} now`;
      });
      const results = (node as TracedOperation).outputs.map(given);
      at += 1;
      return results;
    },
  };
  return {
    replayed,
    input: (form: Form): Raw => {
      const raw = given(form);
      at += 1;
      return raw;
    },
    /** It is over, and gives the tensors of these numbers. */
    end: (ids: readonly number[]): void => {
      const refs = ids.map(refOf);
      while (at < nodes.length && !needed.has(at)) at += 1;
      if (at < nodes.length) changed(`${nameOf(nodes[at])} came and does not come now`);
      if (JSON.stringify(refs) !== JSON.stringify(outputs)) changed('it gives other tensors');
    },
  };
};

const nameOf = (node: TracedNode | undefined): string => {
  if (node === undefined) return 'nothing';
  return node.kind === 'operation' ? node.name : 'a number or a list of numbers';
};

/** As many digits as float32 tells apart. */
const shown = (value: number | undefined): string => String(Number((value as number).toPrecision(7)));
