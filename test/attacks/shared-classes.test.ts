import { expect, test } from 'vitest';
import { sameClasses, sharedClasses } from '../../src/attacks/shared-classes.js';

const victim = ['automobile', 'truck', 'T-shirt/top', '7'];

test('classes are shared by their words, whole or as a kind of the other', () => {
  const images = ['pickup_truck', 'Truck', 'cattle', 'top', '7', '70', 'auto', ''];
  expect(sharedClasses(victim, images)).toEqual(['pickup_truck', 'Truck', 'top', '7']);
  expect(sharedClasses(victim, ['lorry', 'unlabelled'])).toEqual([]);
});

test('they are the same whatever stands between the words', () => {
  expect(sameClasses(victim, ['pickup_truck', 'Truck', 't shirt top', '7', '--'])).toEqual([
    'Truck',
    't shirt top',
    '7',
  ]);
});
