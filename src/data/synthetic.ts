import * as TE from 'fp-ts/lib/TaskEither.js';
import { between, checked, wholeAtLeast } from '../core/check.js';
import { attempt } from '../core/errors.js';
import { type Key, key } from '../core/random.js';
import { checkDecoded, type Decoded, type DecodedExamples, fingerprintOf, measuredNormalisation } from './assemble.js';
import type { Dataset, DatasetPlugin } from './dataset.js';

export interface SyntheticOptions {
  /** Training images, at least one a class. Default 256. */
  readonly train?: number;
  /** Test images. Default 128. */
  readonly test?: number;
  /** Default 4. */
  readonly classes?: number;
  /** Height and width. Default 8. */
  readonly size?: number;
  /** Default 1. */
  readonly channels?: number;
  /** How much of a pixel is noise and not its class's pattern, 0..255. Default 128. */
  readonly noise?: number;
  /** Other patterns and other noise. Default 0. */
  readonly seed?: number;
}

/**
 * Images made of nothing: each class has a random pattern, each image is its class's pattern under uniform noise. No data
 * set of the literature; for trying a plugin or a test in seconds.
 */
export const synthetic = ({
  train = 256,
  test = 128,
  classes = 4,
  size = 8,
  channels = 1,
  noise = 128,
  seed = 0,
}: SyntheticOptions = {}): DatasetPlugin => {
  const params = { train, test, classes, size, channels, noise, seed };
  checked(
    'synthetic',
    {
      train: wholeAtLeast(1),
      test: wholeAtLeast(1),
      classes: wholeAtLeast(2),
      size: wholeAtLeast(1),
      channels: wholeAtLeast(1),
      noise: between(0, 255),
      seed: wholeAtLeast(0),
    },
    params,
  );
  return {
    name: 'synthetic',
    params,
    load: () =>
      TE.map(
        (decoded: Decoded): Dataset => ({
          name: 'synthetic',
          ...decoded,
          fingerprint: fingerprintOf(decoded),
        }),
      )(
        attempt('data', () => {
          const root = key(`synthetic ${seed}`);
          const pixels = size * size * channels;
          const patterns = Array.from({ length: classes }, (_, c) =>
            bytes(root.split('pattern').split(c), pixels, 255),
          );
          const part = (name: string, count: number): DecodedExamples => {
            const images = new Uint8Array(count * pixels);
            const labels = new Uint8Array(count);
            for (let i = 0; i < count; i++) {
              const label = i % classes;
              labels[i] = label;
              const grain = bytes(root.split(name).split(i), pixels, noise);
              const pattern = patterns[label] as Uint8Array;
              for (let p = 0; p < pixels; p++) {
                images[i * pixels + p] = ((255 - noise) * (pattern[p] as number)) / 255 + (grain[p] as number);
              }
            }
            return { images, labels, count };
          };
          const examples = part('train', train);
          const decoded = {
            image: { height: size, width: size, channels },
            classes: Array.from({ length: classes }, (_, c) => `class ${c}`),
            normalisation: measuredNormalisation(examples, channels),
            augmentation: { crop: 0, flip: false },
            train: examples,
            test: part('test', test),
          };
          checkDecoded(decoded, 'synthetic()');
          return decoded;
        }),
      ),
  };
};

/** Uniform whole numbers from 0 to `most`. */
const bytes = (from: Key, count: number, most: number): Uint8Array => {
  const next = from.uniform();
  return Uint8Array.from({ length: count }, () => Math.floor(next() * (most + 1)));
};
