import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, expect } from 'vitest';
import type { EpochRecord } from '../src/train/fit-log.js';

type Numbers = Readonly<Record<string, number>>;

/**
 * What trainings log in their first epoch, as it was when last agreed to: an upgrade may only say that the numbers of a module are
 * what they were (numbers.json) while these hold. `UNDISTILL_GOLDEN=write` writes them anew, where numbers are meant to change.
 * Processors round differently, which is far less than what another formula gives.
 */
export const goldens = (file: URL): ((name: string, history: readonly EpochRecord[]) => void) => {
  const kept: Record<string, Numbers> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const found: Record<string, Numbers> = {};
  const isWriting = process.env.UNDISTILL_GOLDEN === 'write';
  if (isWriting) afterAll(() => writeFileSync(file, `${JSON.stringify({ ...kept, ...found }, null, 2)}\n`));
  return (name, history) => {
    // Of 24 images one more may be right for a last bit.
    const { accuracy: _, ...metrics } = (history[0] as EpochRecord).metrics;
    found[name] = Object.fromEntries(Object.entries(metrics).map(([of, value]) => [of, Number(value.toPrecision(6))]));
    if (isWriting) return;
    const before = kept[name] ?? {};
    expect(Object.keys(metrics).sort(), name).toEqual(Object.keys(before).sort());
    for (const [of, value] of Object.entries(metrics)) {
      const was = before[of] as number;
      const said = `${name}: ${of} is ${value}, and was ${was}`;
      expect(Math.abs(value - was), said).toBeLessThan(1e-5 + 1e-2 * Math.abs(was));
    }
  };
};
