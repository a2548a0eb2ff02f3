import { expect, test } from 'vitest';
import { covers, drawnShapes, shapes } from '../../src/data/drawn-shapes.js';
import { load } from '../../src/data/load.js';

test('shapes cover as much of their square as they should', () => {
  const side = 400;
  const share = (shape: (typeof shapes)[number]): number => {
    let covered = 0;
    for (let i = 0; i < side * side; i++) {
      const [u, v] = [i % side, Math.floor(i / side)].map((at) => (2 * at + 1) / side - 1) as [number, number];
      if (covers(shape, u, v)) covered += 1;
    }
    return covered / (side * side);
  };
  expect(share('rectangle')).toBe(1);
  expect(share('ellipse')).toBeCloseTo(Math.PI / 4, 3);
  expect(share('triangle')).toBeCloseTo(1 / 2, 2);
  expect([covers('rectangle', 1.01, 0), covers('ellipse', 0.8, 0.8), covers('triangle', 0.9, -0.9)]).toEqual([
    false,
    false,
    false,
  ]);
});

test('drawn images are of all classes, of a few colours each, and the same of one seed', async () => {
  const of = { train: 300, test: 30, size: 16 };
  const set = await load(drawnShapes(of));
  expect(set).toMatchObject({ classes: shapes, image: { height: 16, width: 16, channels: 3 } });
  expect([set.train.count, set.test.count]).toEqual([300, 30]);
  const counts = shapes.map((_, label) => set.train.labels.filter((each) => each === label).length);
  for (const count of counts) expect(count).toBeGreaterThan(60);
  const coloursOf = (image: number): number => {
    const pixel = (p: number) => set.train.images.slice(3 * (256 * image + p), 3 * (256 * image + p) + 3).join();
    return new Set(Array.from({ length: 256 }, (_, p) => pixel(p))).size;
  };
  const colours = Array.from({ length: 300 }, (_, image) => coloursOf(image));
  expect(Math.max(...colours)).toBe(5);
  expect(colours.filter((count) => count > 1).length).toBeGreaterThan(290);
  expect((await load(drawnShapes(of))).fingerprint).toBe(set.fingerprint);
  expect((await load(drawnShapes({ ...of, seed: 1 }))).fingerprint).not.toBe(set.fingerprint);
});
