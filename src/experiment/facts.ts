import type { Dataset, DatasetPlugin, Examples } from '../data/dataset.js';
import type { Code } from './identity.js';
import type { Weights } from './pretrained.js';

/** What planning must know of the world; a plan is a pure function of this and the experiment. */
export interface Facts {
  readonly data: Pick<Dataset, 'fingerprint' | 'image' | 'classes'> & { readonly train: Pick<Examples, 'count'> };
  /** The other data sets that attackers own. */
  readonly others: ReadonlyMap<DatasetPlugin, Facts['data']>;
  /** Of a pretrained teacher. */
  readonly weights?: Weights | undefined;
  readonly code: Code;
  /** Hashes of the code that every stage runs through: training and evaluation, and measuring. */
  readonly harness: { readonly training: string; readonly measuring: string };
  /** `tensorflow-cpu` and so on: equal bits are promised within one class only. */
  readonly engine: string;
}
