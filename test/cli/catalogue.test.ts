import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { pluginsPage, publishedPage } from '../../docs/generate.js';
import * as catalogue from '../../src/cli/catalogue.js';
import { kinds } from '../../src/cli/choices.js';
import { items, listCommand } from '../../src/cli/list.js';
import { wordsOf } from '../../src/core/options.js';
import { schemaOf } from '../../src/core/plugin.js';
import * as index from '../../src/index.js';

const room = (name: string): string => fileURLToPath(new URL(`../../src/${name}`, import.meta.url));

/** The plugins that are declared in a room's files, by the name of their value. */
const declaredIn = (name: string): readonly string[] =>
  readdirSync(room(name))
    .filter((file) => file.endsWith('.ts') && file !== 'define.ts')
    .flatMap((file) => [
      ...readFileSync(join(room(name), file), 'utf8').matchAll(
        /^export const (\w+) = (?:define(?:Attack|Defense|Network)\(|Object\.assign\(\w+, \{ declaration)/gm,
      ),
    ])
    .map(([, value]) => value as string)
    .sort();

const exported = new Map<string, unknown>(Object.entries(index));

type AnyListed = readonly catalogue.Listed<unknown>[];

describe.each<readonly [string, AnyListed]>([
  ['attacks', catalogue.attacks],
  ['defenses', catalogue.defenses],
  ['models', catalogue.networks],
])('the catalogue of %s', (folder, listed) => {
  test('is the index, and that is what the files declare', () => {
    const names = listed.map(({ declaration }) => declaration.name);
    expect([...names].sort()).toEqual(declaredIn(folder));
    for (const { declaration } of listed) {
      expect(exported.get(declaration.name)).toHaveProperty('declaration', declaration);
    }
  });

  test('has something made of each, and a sentence on each and its options', () => {
    for (const { declaration, samples } of listed) {
      expect(samples.length, declaration.name).toBeGreaterThan(0);
      expect(declaration.about).toMatch(/^\S.*[^.\s]$/);
      for (const { name, takes, about } of wordsOf(declaration.options)) {
        expect(takes, `${declaration.name}: ${name}`).not.toBe('');
        expect(about, `${declaration.name}: ${name}`).toMatch(/^\S.*[^.\s]$/);
      }
    }
  });

  test('has presets that its plugins take', () => {
    for (const { declaration } of listed) {
      // What is insisted on is no part of a preset.
      const schema = v.partial(schemaOf(declaration));
      for (const [name, preset] of Object.entries(declaration.presets)) {
        expect(v.is(schema, preset), `${declaration.name}.presets.${name}`).toBe(true);
      }
    }
  });
});

describe('a list ends with what is written of its kind', () => {
  const lastOf = (which: readonly (typeof kinds)[number][]): string | undefined => {
    const lines: string[] = [];
    const out = { log: (line: string) => lines.push(line), paint: { faint: (text: string) => text } };
    listCommand(which, {}, out as never);
    return lines.at(-1);
  };
  test.each([
    [['attacks'], 'Of your own: undistill new attack NAME, undistill new data-free NAME.'],
    [['data'], 'Of your own: undistill new dataset NAME.'],
    [['schedules'], ''],
  ] as const)('%s', (which, last) => {
    expect(lastOf(which)).toBe(last);
  });
  test('all', () => {
    expect(lastOf(kinds)).toMatch(
      /^Of your own: undistill new KIND NAME, where KIND is attack, data-free, .*metric\.$/,
    );
  });
});

describe('JSON', () => {
  const printed = (() => {
    const lines: string[] = [];
    listCommand(kinds, { json: true }, {
      log: (line: string) => lines.push(line),
    } as never);
    return JSON.parse(lines.join('\n')) as Readonly<
      Record<string, readonly { readonly name: string; readonly presets?: object; readonly options?: object }[]>
    >;
  })();
  const validate = (kind: string, name: string) =>
    new Ajv({ allErrors: true }).compile(printed[kind]?.find((each) => each.name === name)?.options ?? {});

  test('lists everything', () => {
    for (const [kind, some] of Object.entries(items)) {
      expect(printed[kind]?.map(({ name }) => name)).toEqual(some().map(({ name }) => name));
    }
    expect(JSON.stringify(printed)).not.toContain('file:');
  });

  test('has schemas that take what the plugins take, and refuse what they refuse', () => {
    const kd = validate('attacks', 'kd');
    for (const taken of [{}, { temperature: 1, alpha: 1 }, { label: 'mine' }]) expect(kd(taken)).toBe(true);
    for (const refused of [{ temperature: 0 }, { alpha: 1.1 }, { alpha: 'much' }, { tau: 1 }, { label: 1 }]) {
      expect(kd(refused), JSON.stringify(refused)).toBe(false);
    }
    expect(validate('attacks', 'partialKd')({})).toBe(false);
    expect(validate('attacks', 'partialKd')({ fraction: 0.1, steps: 'same' })).toBe(true);
    expect(validate('networks', 'preResNet')({ depth: 21 })).toBe(false);
    expect(validate('networks', 'preResNet')({ depth: 20, label: 'mine' })).toBe(false);
  });

  test('describes what JSON cannot carry', () => {
    expect(printed.defenses?.find(({ name }) => name === 'nasty')?.options).toMatchObject({
      properties: {
        adversary: { title: 'a network, such as plainCnn()', description: expect.stringContaining('unlike') },
      },
    });
  });

  test('has the presets', () => {
    expect(printed.attacks?.find(({ name }) => name === 'kd')?.presets).toEqual(index.kd.presets);
  });
});

test('docs/plugins.md is what the plugins declare; `npm run docs:plugins` writes it', () => {
  expect(publishedPage()).toBe(pluginsPage());
});

describe('the card of an attack', () => {
  test('says whose it is and what it costs', () => {
    for (const { name, facts, paper } of items.attacks()) {
      expect(facts.cost, name).toBeTruthy();
      if (facts.needs !== 'none') expect(paper, name).toBeTruthy();
    }
  });

  test('counts right where it gives a number', () => {
    const card = (name: string): string => items.attacks().find((item) => item.name === name)?.facts.cost as string;
    const of = (name: string): Record<string, number> => {
      const [{ declaration }] = catalogue.attacks.filter((each) => each.declaration.name === name) as [AnyListed[0]];
      return Object.fromEntries(wordsOf(declaration.options).map(({ name, initial }) => [name, initial])) as never;
    };
    const says = (name: string, ...counts: readonly number[]): void => {
      const numbers = [...card(name).matchAll(/\d[\d,]{2,}/g)].map(([number]) => Number(number.replaceAll(',', '')));
      expect(numbers, name).toEqual(counts);
    };
    // Epochs where no budget says, in their options' words.
    const [ofDfme, ofMaze, ofDual, ofDisguide] = [224, 100, 224, 521];
    const {
      batch: b1 = 0,
      generatorSteps = 0,
      directions: m1 = 0,
      studentSteps: s1 = 0,
      stepsPerEpoch: p1 = 0,
    } = of('dfme');
    const dfme = b1 * (generatorSteps * (1 + m1) + s1);
    says('dfme', dfme, dfme * p1 * ofDfme);
    const { batch: b2 = 0, directions: m2 = 0, studentSteps: s2 = 0, stepsPerEpoch: p2 = 0 } = of('maze');
    says('maze', b2 * (m2 + s2), b2 * (m2 + s2) * p2 * ofMaze);
    for (const [name, epochs] of [
      ['dualStudents', ofDual],
      ['disguide', ofDisguide],
    ] as const) {
      const { batch = 0, studentSteps = 0, stepsPerEpoch = 0 } = of(name);
      says(name, batch * studentSteps, batch * studentSteps * stepsPerEpoch * epochs);
    }
    for (const name of ['dfad', 'dfq', 'zskt', 'dafl']) {
      const { batch = 0, epochs = 0, stepsPerEpoch = 0, studentSteps = 0 } = of(name);
      const passes = { dafl: 1, zskt: 2 }[name] ?? 1 + studentSteps;
      says(name, passes * batch * epochs * stepsPerEpoch);
    }
    const { batch: b3 = 0, batches: n3 = 0, iterations: i3 = 0, stepsBetween: d3 = 0 } = of('cmi');
    says('cmi', n3 * b3 * (2 * i3 + d3));
    const { batch: b4 = 0, batches: n4 = 0, iterations: i4 = 0, stepsBetween: d4 = 0, warmup = 0 } = of('fast');
    says('fast', b4 * (n4 * i4 + (n4 - warmup) * d4));
    const { batch: b5 = 0, epochs: e5 = 0 } = of('dfms');
    says('dfms', 20_000, Math.ceil(20_000 / b5) * b5 * e5);
  });
});
