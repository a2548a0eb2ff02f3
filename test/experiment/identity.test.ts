import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { FailureError } from '../../src/core/errors.js';
import { determined } from '../../src/core/plugin.js';
import { synthetic } from '../../src/data/synthetic.js';
import { rounding } from '../../src/defenses/answers.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { type Code, canonical, readSources, type Source, sourcesIn } from '../../src/experiment/identity.js';
import { plan, plannedValues } from '../../src/experiment/plan.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { sgd } from '../../src/train/optimizers.js';
import { cosine } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { made, thirds } from '../run/helpers.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'undistill-identity-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const readSource = async (url: string): Promise<Source> => (await readSources([url])).get(url) as Source;

const write = (name: string, text: string): string => {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  return pathToFileURL(path).href;
};

const plugin = (body = 'twice(x) + 1') => `import { twice } from './helper.js';
import seedrandom from 'seedrandom';
export const attack = (x: number): number => ${body} + seedrandom('a')();
`;
const helper = (body = '2 * x') => `export const twice = (x: number): number => ${body};
export const unused = (x: number): number => x;
`;

describe("a module's code", () => {
  const hash = async (main = plugin(), other = helper(), at = 'here') => {
    write(`${at}/helper.ts`, other);
    return (await readSource(write(`${at}/plugin.ts`, main))).hash;
  };

  test('changes with the module, and with what it imports locally', async () => {
    const before = await hash();
    expect(await hash(plugin('twice(x) + 2'))).not.toBe(before);
    expect(await hash(plugin(), helper('3 * x'))).not.toBe(before);
    expect(await hash()).toBe(before);
  });

  test('does not change with comments, spaces, types and what is not used of an import', async () => {
    const before = await hash();
    expect(await hash(`// About this attack.\n${plugin().replaceAll('\n', '\n\n')}/* the end */`)).toBe(before);
    expect(await hash(plugin(), `/** Twice as much. */\n${helper()}`)).toBe(before);
    expect(await hash(plugin(), helper().replace('=> x;', '=> x + 1;'))).toBe(before);
    expect(await hash(plugin().replace('(x: number): number', '(x: 1 | 2): number'))).toBe(before);
  });

  test('does not depend on where it lies', async () => {
    const before = await hash();
    expect(await hash(plugin(), helper(), 'some/other/place')).toBe(before);
  });

  test('names its files, to say which of them changed', async () => {
    await hash();
    const { files } = await readSource(pathToFileURL(join(folder, 'here', 'plugin.ts')).href);
    expect(Object.keys(files).map((path) => path.slice(path.lastIndexOf('/') + 1))).toEqual(['helper.ts', 'plugin.ts']);
  });

  test('that is not there, or does not compile, is a failure with the file and what to do', async () => {
    const failed = async (url: string) => {
      const error = await readSource(url).catch((thrown: unknown) => thrown);
      return error instanceof FailureError ? error.failure : undefined;
    };
    expect(await failed(pathToFileURL(join(folder, 'none.ts')).href)).toMatchObject({
      kind: 'experiment',
      where: join(folder, 'none.ts'),
      remedy: 'A plugin names its own module: source: import.meta.url.',
    });
    expect((await failed(write('broken.ts', 'export const = 1;')))?.what).toContain('Expected identifier');
  });

  test("is in the identity of what a user's attack steals, and in no other's", async () => {
    const planned = async (text: string) => {
      write('helper.ts', helper());
      const attack = { ...kd(), name: 'mine', source: write('mine.ts', text) };
      const of = made({ attacks: [scratch(), kd(), attack], defenses: [none()] });
      const modules = await readSources(sourcesIn(plannedValues(of)));
      return plan(of, {
        data: thirds(),
        others: new Map(),
        code: { modules },
        harness: { training: '', measuring: '' },
        engine: 'tensorflow-cpu',
      });
    };
    const before = await planned(plugin());
    const ids = (of: typeof before) => of.stages.map(({ id }) => id);
    expect(ids(await planned(`// Edited.\n${plugin()}`))).toEqual(ids(before));
    const after = new Set(ids(await planned(plugin('0'))));
    expect(before.stages.filter(({ id }) => !after.has(id)).map(({ label }) => label)).toEqual([
      'seed-0/none/tiny/mine',
      'seed-0/none/tiny/mine/evaluate',
      'seed-0/none/tiny/mine/measure',
    ]);
  });
});

describe('a value as JSON', () => {
  const code: Code = { modules: new Map([['file:///a.ts', { hash: 'a', files: {} }]]) };
  const text = (value: unknown) => JSON.stringify(canonical(value, code));

  test('does not depend on the order of its fields, nor on those that are undefined', () => {
    expect(text({ b: 1, a: [true, null, 'x'], c: undefined })).toBe(text({ a: [true, null, 'x'], b: 1 }));
    expect(text({ a: [1, 2] })).not.toBe(text({ a: [2, 1] }));
  });

  test('keeps numbers apart, also those that JSON has not', () => {
    const numbers = [0, 1, 0.1, 0.1 + Number.EPSILON, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect(new Set(numbers.map((each) => text({ each }))).size).toBe(numbers.length);
  });

  test('has a plugin by its name, parameters and code, without its label', () => {
    const one = { name: 'one', params: { k: 1 }, source: 'file:///a.ts', label: 'mine' };
    expect(canonical({ one }, code)).toEqual({ one: { name: 'one', params: { k: 1 }, source: 'a' } });
    expect(text(sgd())).toBe(text({ ...sgd(), label: 'mine' }));
    expect(text(sgd())).not.toBe(text(sgd({ momentum: 0.5 })));
  });

  test('has what no declaration made of a plugin by its text, whatever its module says', () => {
    const changed = [
      kd(),
      { ...kd(), steal: () => Promise.reject(new Error('never')) },
      { ...kd(), steal: () => Promise.reject(new Error('ever')) },
      { ...kd(), data: { kind: 'none' } },
      { ...kd(), steal: kd({ temperature: 1 }).steal },
      { ...kd(), steal: kd({ temperature: 2 }).steal },
      { ...cosine({ rate: 1 }), at: () => 1 },
      { ...cosine({ rate: 1 }), at: () => 2 },
      { ...sgd(), update: () => 1 },
      { ...sgd(), update: () => 2 },
      { ...synthetic(), load: () => Promise.reject(new Error('never')) },
      { ...synthetic(), load: () => Promise.reject(new Error('ever')) },
      { ...plainCnn(), build: () => plainCnn({ width: 2 }).build({ height: 8, width: 8, channels: 1 }, 2) },
      { ...nasty(), exposes: 'label' },
      { ...rounding(2), answers: { kind: 'pure', answer: () => 1 } },
      { ...rounding(2), answers: { kind: 'pure', answer: () => 2 } },
    ];
    expect(new Set(changed.map(text)).size).toBe(changed.length);
    expect(text(kd())).toBe(text({ ...kd(), scaled: () => kd() }));
    // All that a declaration made is told by the parameters, whichever object it is.
    for (const make of [kd, nasty, plainCnn, sgd, synthetic]) expect(canonical(make(), code)).not.toHaveProperty('own');
  });

  test('has the file of the experiment in what is not declared, which may take anything from it', () => {
    const mine = { name: 'mine', params: {}, source: 'file:///a.ts', at: () => 1 };
    const within = (hash: string) => ({ ...code, experiment: { hash, files: {} } });
    expect(canonical(mine, within('1'))).not.toEqual(canonical(mine, within('2')));
    expect(canonical(kd(), within('1'))).toEqual(canonical(kd(), within('2')));
  });

  test('keeps parameters that are called label and source', () => {
    const of = (label: number, source: string) => text({ name: 'n', params: { label, source } });
    expect(new Set([of(1, 'x'), of(2, 'x'), of(1, 'y')]).size).toBe(3);
    expect(sourcesIn([{ name: 'n', params: { source: 'x' } }])).toEqual(new Set());
  });

  test.each([
    ['a function', { weight: () => 1 }],
    ['a map', { weights: new Map([[1, 2]]) }],
    ['a typed array', { weights: new Float32Array([1]) }],
    ['a date', { weights: new Date(0) }],
    ['a big integer', { weights: 1n }],
  ])('%s among the parameters is refused: two of them would look alike', (_, params) => {
    const { kind, what, remedy } = refusal(() => canonical({ name: 'n', params }, code));
    expect([kind, what]).toEqual([
      'experiment',
      expect.stringMatching(/^weights? is neither plain JSON nor a plugin$/),
    ]);
    expect(remedy).toContain('numbers, strings, lists and records');
  });

  test('an instance of a class is refused as a plugin: two of them would look alike, whatever they hide', () => {
    class Decay {
      readonly name = 'decay';
      readonly params = {};
      readonly source = 'file:///a.ts';
      readonly #rate: number;
      constructor(rate: number) {
        this.#rate = rate;
      }
      at(): number {
        return this.#rate;
      }
    }
    const { kind, what, where, remedy } = refusal(() => canonical({ schedule: new Decay(0.1) }, code));
    expect([kind, where]).toEqual(['experiment', 'decay']);
    expect(what).toContain('an instance of a class');
    expect(remedy).toContain('a plain object');
    // Whose author says that its parameters and its module are all there is to it is believed.
    expect(canonical(determined(new Decay(0.1)), code)).toEqual({ name: 'decay', params: {}, source: 'a' });
  });

  test('the modules of nested plugins are found, each once', () => {
    const net = { name: 'net', params: {}, source: 'file:///net.ts' };
    expect(sourcesIn({ attack: { name: 'a', params: { net }, source: 'file:///a.ts' }, again: [net, net] })).toEqual(
      new Set(['file:///a.ts', 'file:///net.ts']),
    );
  });
});
