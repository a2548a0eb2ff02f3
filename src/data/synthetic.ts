import { between, wholeAtLeast, wholeBetween } from '../core/check.js';
import { option } from '../core/options.js';
import { type Key, key } from '../core/random.js';
import { datasetOf, labelArray } from './assemble.js';
import { defineDataset, pixels } from './define.js';

/**
 * Images made of nothing: each class has a random pattern, each image is its class's pattern under uniform noise. No data
 * set of the literature; for trying a plugin or a test in seconds.
 */
export const synthetic = defineDataset({
  name: 'synthetic',
  source: import.meta.url,
  about: 'Images made of nothing, for trying a plugin in seconds',
  options: {
    train: option(wholeBetween(1, 1e6), 256, 'Training images, at least one a class'),
    test: option(wholeBetween(1, 1e6), 128, 'Test images'),
    classes: option(wholeBetween(2, 65536), 4, 'Classes'),
    size: option(pixels, 8, 'Height and width'),
    channels: option(wholeBetween(1, 64), 1, 'Channels'),
    noise: option(between(0, 255), 128, "How much of a pixel is noise and not its class's pattern"),
    seed: option(wholeAtLeast(0), 0, 'Other patterns and other noise'),
  },
  make: ({ train, test, classes, size, channels, noise, seed }) => ({
    load: () =>
      datasetOf('synthetic', () => {
        const root = key(`synthetic ${seed}`);
        const values = size * size * channels;
        const patterns = Array.from({ length: classes }, (_, c) => bytes(root.split('pattern').split(c), values, 255));
        const part = (name: string, count: number) => {
          const images = new Uint8Array(count * values);
          const labels = labelArray(count, classes);
          for (let i = 0; i < count; i++) {
            const label = i % classes;
            labels[i] = label;
            const grain = bytes(root.split(name).split(i), values, noise);
            const pattern = patterns[label] as Uint8Array;
            for (let p = 0; p < values; p++) {
              images[i * values + p] = ((255 - noise) * (pattern[p] as number)) / 255 + (grain[p] as number);
            }
          }
          return { images, labels, count };
        };
        return {
          image: { height: size, width: size, channels },
          // Another seed's patterns are other classes.
          classes: Array.from({ length: classes }, (_, c) => (seed === 0 ? `class ${c}` : `class ${seed}.${c}`)),
          train: part('train', train),
          test: part('test', test),
        };
      }),
  }),
});

/** Uniform whole numbers from 0 to `most`. */
const bytes = (from: Key, count: number, most: number): Uint8Array => {
  const next = from.uniform();
  return Uint8Array.from({ length: count }, () => Math.floor(next() * (most + 1)));
};
