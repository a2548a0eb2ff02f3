import * as v from 'valibot';
import { parsed, text, wholeAtLeast } from '../core/check.js';
import { attempt, orThrow, refusal, type Task } from '../core/errors.js';
import { checkDecoded } from './assemble.js';
import {
  anyAugmentation,
  anyNormalisation,
  type Dataset,
  type DatasetPlugin,
  type Examples,
  type LoadOptions,
  type Pixels,
} from './dataset.js';

const examples = v.pipe(
  v.looseObject({
    // Not looked into: there may be gigabytes of them.
    images: v.custom<Pixels>(
      (value) =>
        Number.isInteger((value as Pixels | undefined)?.length) && typeof (value as Pixels).slice === 'function',
      'they are no pixels, as a Uint8Array holds them',
    ),
    labels: v.custom<Examples['labels']>(
      (value) => value instanceof Uint8Array || value instanceof Uint16Array,
      'they are no labels in a Uint8Array or a Uint16Array',
    ),
    count: wholeAtLeast(0),
  }),
  v.title('{ images, labels, count }'),
);

/** What a data set has to be. */
const dataset = v.object({
  name: text,
  image: v.pipe(
    v.looseObject({ height: wholeAtLeast(1), width: wholeAtLeast(1), channels: wholeAtLeast(1) }),
    v.title('{ height, width, channels }'),
  ),
  classes: v.pipe(v.array(text), v.title('a list of names')),
  normalisation: anyNormalisation,
  augmentation: anyAugmentation,
  train: examples,
  test: examples,
  fingerprint: text,
});

/** The images of a data set. Rejects with a failure of kind `data`, also where `load` gives something else. */
export const load = (plugin: DatasetPlugin, options: LoadOptions = {}): Promise<Dataset> => {
  const where = `data: ${plugin.name}`;
  const run = async (): Promise<Dataset> => {
    const task: unknown = plugin.load(options);
    if (typeof task !== 'function')
      return refusal('data')(
        'its load gives no task',
        where,
        'Give a TaskEither of fp-ts, as the data sets of undistill do.',
      );
    const given = await orThrow(task as Task<Dataset>);
    parsed(`${where}: load`, dataset, { ...given }, 'data');
    checkDecoded(given, `${where}: load`);
    return given;
  };
  return orThrow(attempt('data', run, where));
};
