import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeSafetensors } from '../../src/core/safetensors.js';
import { madeSoFar } from '../../src/run/begun.js';
import { checkpointName, loopStateName } from '../../src/run/context.js';
import { begunFolder } from '../../src/run/store.js';

let store: string;

beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'undistill-begun-'));
  await mkdir(begunFolder(store, 'a'));
});
afterEach(() => rm(store, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => writeFile(join(begunFolder(store, 'a'), name), content);
const checkpoint = (step: number) =>
  write(checkpointName, encodeSafetensors({}, { meta: JSON.stringify({ step, shuffled: 'anything' }) }));

describe('what there is of a stage in the making', () => {
  test('is nothing where it was not begun', async () => {
    expect(await madeSoFar(store, 'b')).toBe('');
  });

  test('is not its logs: without a checkpoint their steps are lost', async () => {
    for (const name of ['metrics.jsonl', 'metrics-student.jsonl', 'written.log', 'elapsed.json']) await write(name, '');
    expect(await madeSoFar(store, 'a')).toBe('');
  });

  test('is more with a file more, and with a checkpoint of a later step, not of the same', async () => {
    await write('asked.safetensors', '');
    const before = await madeSoFar(store, 'a');
    expect(before).not.toBe('');
    await checkpoint(5);
    const five = await madeSoFar(store, 'a');
    expect(five).not.toBe(before);
    await checkpoint(5);
    expect(await madeSoFar(store, 'a')).toBe(five);
    await checkpoint(10);
    expect(await madeSoFar(store, 'a')).not.toBe(five);
  });

  test('is more with an iteration more of a loop, whose files pass', async () => {
    await mkdir(join(begunFolder(store, 'a'), 'loops', 'rounds'), { recursive: true });
    const made = async (iterations: number) => {
      await write(`loops/rounds/${loopStateName}`, encodeSafetensors({}, { iterations: String(iterations) }));
      return madeSoFar(store, 'a');
    };
    const three = await made(3);
    expect(await made(3)).toBe(three);
    expect(await made(6)).not.toBe(three);
  });
});
