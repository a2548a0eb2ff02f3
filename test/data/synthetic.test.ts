import { expect, test } from 'vitest';
import { load } from '../../src/data/load.js';
import { synthetic } from '../../src/data/synthetic.js';

test('made images have as many classes as they are asked for', async () => {
  const { train, classes } = await load(synthetic({ train: 600, test: 300, classes: 300, size: 1 }));
  expect(classes).toHaveLength(300);
  expect([train.labels[255], train.labels[256], train.labels[299], train.labels[300]]).toEqual([255, 256, 299, 0]);
});
