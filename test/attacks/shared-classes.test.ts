import { expect, test } from 'vitest';
import { sameClasses, sharedClasses } from '../../src/attacks/shared-classes.js';

const victim = ['automobile', 'truck', 'T-shirt/top', '7'];

test('classes are shared by their words, whole or as a kind of the other', () => {
  const images = ['pickup_truck', 'Truck', 'cattle', 'top', '7', '70', 'auto', ''];
  expect(sharedClasses(victim, images)).toEqual(['pickup_truck', 'Truck', 'top', '7']);
  expect(sharedClasses(victim, ['lorry', 'unlabelled'])).toEqual([]);
  // Words that are apart are no name.
  expect(sharedClasses(['class 0'], ['class 3.0', 'class 0'])).toEqual(['class 0']);
});

test('they are the same whatever stands between the words', () => {
  expect(sameClasses(victim, ['pickup_truck', 'Truck', 't shirt top', '7', '--'])).toEqual([
    'Truck',
    't shirt top',
    '7',
  ]);
});
