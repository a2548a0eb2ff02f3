import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRecordings } from '../../src/run/recordings.js';
import type { Recorded } from '../../src/train/recordings.js';

let root: string;
let said: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-answers-'));
  said = [];
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const opened = (limit = 1e9, folder = join(root, 'answers')) =>
  openRecordings(folder, { limit, say: (message) => said.push(message) });

const numbers = (count: number, from = 0): Float32Array => Float32Array.from({ length: count }, (_, i) => from + i / 3);
const recorded: Recorded = new Map([
  [300, numbers(6)],
  [256, numbers(9, 7)],
  [257, new Float32Array()],
]);
const files = (): readonly string[] =>
  readdirSync(join(root, 'answers'), { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'));
const fileOf = (question: string, part: number): string => join(root, 'answers', question, `${part}.safetensors`);

describe('recorded answers on disk', () => {
  test('are read as they were written, step by step', () => {
    opened().write('q', 1, recorded);
    expect(opened().read('q', 1)).toEqual(recorded);
    expect(opened().read('q', 0)).toEqual(new Map());
    expect(opened().read('another', 1)).toEqual(new Map());
    expect(said).toEqual([]);
  });

  test('replace what was kept of the same part', () => {
    const store = opened();
    store.write('q', 1, recorded);
    store.write('q', 1, new Map([[256, numbers(3)]]));
    expect(store.read('q', 1)).toEqual(new Map([[256, numbers(3)]]));
    expect(files()).toEqual(['q/1.safetensors']);
  });

  test.each(['a flipped bit', 'a missing end', 'nothing in it', 'another answer'])(
    'with %s are said and asked anew',
    (how) => {
      opened().write('q', 0, recorded);
      const file = fileOf('q', 0);
      const bytes = readFileSync(file);
      if (how === 'a flipped bit') bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
      writeFileSync(
        file,
        how === 'a missing end' ? bytes.subarray(0, -4) : how === 'nothing in it' ? new Uint8Array() : bytes,
      );
      if (how === 'another answer') {
        opened().write('other', 0, new Map([[0, numbers(6)]]));
        copyFileSync(fileOf('other', 0), file);
      }
      expect(opened().read('q', 0)).toEqual(new Map());
      expect(said).toEqual([`recorded answers were altered on disk (${file}): the victim is asked anew`]);
      expect(opened().read('q', 0)).toEqual(new Map());
      expect(said.length).toBe(1);
    },
  );

  test('of every byte that was altered are none', () => {
    opened().write('q', 0, recorded);
    const file = fileOf('q', 0);
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at++) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] as number) ^ 0x10;
      writeFileSync(file, altered);
      const found = opened().read('q', 0);
      // White space in the header says nothing.
      if (found.size > 0) expect(found).toEqual(recorded);
    }
  });

  test('that find no room on the disk are given up, once, and the run goes on', () => {
    writeFileSync(join(root, 'answers'), 'a file in the way');
    const store = opened();
    store.write('q', 0, recorded);
    store.write('q', 1, recorded);
    expect(said.length).toBe(1);
    expect(said[0]).toMatch(/^answers are no longer recorded: /);
    expect(store.read('q', 0)).toEqual(new Map());
  });

  test('take no more room than they may: what was used last stays', () => {
    opened().write('size', 0, new Map([[0, numbers(1000)]]));
    const { size } = statSync(fileOf('size', 0));
    rmSync(dirname(fileOf('size', 0)), { recursive: true });
    const store = opened(5.5 * size);
    const of = (question: number) => store.write(`q${question}`, 0, new Map([[0, numbers(1000, question)]]));
    const age = (question: number, seconds: number) => {
      const at = new Date(Date.now() - 1000 * seconds);
      utimesSync(fileOf(`q${question}`, 0), at, at);
    };
    for (const question of [0, 1, 2, 3, 4]) of(question);
    for (const question of [0, 1, 2, 3, 4]) age(question, 100 - question);
    // What is read is used.
    expect(store.read('q0', 0).size).toBe(1);
    of(5);
    for (const question of [1, 2]) expect(store.read(`q${question}`, 0).size).toBe(0);
    for (const question of [0, 3, 4, 5]) expect(store.read(`q${question}`, 0).size).toBe(1);
    expect(readdirSync(join(root, 'answers'))).not.toContain('q1');
    expect(said).toEqual([]);
  });

  test('are written beside another run that records the same', () => {
    const [one, other] = [opened(), opened()];
    one.write('q', 0, recorded);
    other.write('q', 0, recorded);
    expect(one.read('q', 0)).toEqual(recorded);
    // One that is being written by somebody else is no answer, and is left alone.
    const aside = `${fileOf('q', 0)}.123.tmp`;
    mkdirSync(dirname(aside), { recursive: true });
    writeFileSync(aside, 'half');
    opened(1).write('r', 0, recorded);
    expect(files()).toEqual(['q/0.safetensors.123.tmp']);
    const longAgo = new Date(Date.now() - 1e8);
    utimesSync(aside, longAgo, longAgo);
    opened(1).write('r', 0, recorded);
    expect(files()).toEqual([]);
  });
});
