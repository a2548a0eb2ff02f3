import type * as tf from '@tensorflow/tfjs';
import { backend, type Raw } from './backend.js';
import { TAG } from './saved-model.js';

/** A graph that TensorFlow has loaded, with values in its variables. */
export interface Session {
  run(feeds: readonly tf.Tensor[], feedNames: readonly string[], fetches: readonly string[]): tf.Tensor[];
  /** What its variables hold is of no more use. */
  close(): void;
}

interface Loaded {
  readonly folder: string;
  readonly id: number;
  /** What its variables hold. */
  readonly bytes: number;
}

/**
 * Closed ones are kept for the next to ask for the same graph, as every further seed, temperature and weight does: the first
 * run of each call takes TensorFlow 20 to 200 ms. The one closed last is the last. As many as the strongest attackers have, some 7 MB
 * each for a small net: with 12, a stage of four steps takes 0.26 s instead of 0.15 and a process holds 180 MB less.
 */
const idle: Loaded[] = [];
const most = { sessions: 40, bytes: 256e6 } as const;

const keep = (closed: Loaded): void => {
  idle.push(closed);
  const bytes = (): number => idle.reduce((sum, each) => sum + each.bytes, 0);
  while (idle.length > most.sessions || bytes() > most.bytes)
    backend().binding.deleteSavedModel((idle.shift() as Loaded).id);
};

/**
 * Opens the graph in a folder, whose name is that of its content; no variable has a value that means anything.
 *
 * @param bytes what its variables will hold
 */
export const openSession = (folder: string, bytes: number): Session => {
  const at = idle.findIndex((each) => each.folder === folder);
  const { binding } = backend();
  const id = at === -1 ? binding.loadSavedModel(folder, TAG) : (idle.splice(at, 1)[0] as Loaded).id;
  let failed = false;
  return {
    run: (feeds, names, fetches) => {
      try {
        return binding
          .runSavedModel(id, backend().getInputTensorIds(feeds), names.join(), fetches.join())
          .map((raw: Raw) => backend().createOutputTensor(raw));
      } catch (error) {
        failed = true;
        throw error;
      }
    },
    close: () => {
      if (failed) binding.deleteSavedModel(id);
      else keep({ folder, id, bytes });
    },
  };
};
