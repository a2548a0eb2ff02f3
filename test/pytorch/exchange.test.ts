import { expect, test } from 'vitest';
import { exchange, nets } from './exchange.js';

/** A Python with torch, numpy and safetensors. */
const python = process.env.UNDISTILL_TORCH;

test.skipIf(!python)('weights go to PyTorch and come back (needs UNDISTILL_TORCH=python)', async () => {
  const { rows } = await exchange(python as string);
  expect(rows.map(({ net }) => net)).toEqual(nets.map(({ net }) => net));
  for (const { net, there, back } of rows) {
    expect(there.largest, `${net} there`).toBeLessThan(1e-4);
    expect(back.largest, `${net} back`).toBeLessThan(1e-4);
    // Two sides that answer nothing would agree too.
    expect(Math.min(there.logit, back.logit), net).toBeGreaterThan(0.01);
  }
});
