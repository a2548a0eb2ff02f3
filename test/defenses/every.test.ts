import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { defenses } from '../../src/cli/catalogue.js';
import { type Declared, isDeclared } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { type Defense, partsOf, wrappersOf } from '../../src/defenses/defense.js';
import { canBeImitated, imitationOf } from '../../src/defenses/imitation.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as index from '../../src/index.js';
import { batchNorm, classifier, conv, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { Variables } from '../../src/models/network.js';
import { classifier as fitOf } from '../../src/train/classifier.js';
import { fit } from '../../src/train/fit.js';
import { distillationKl } from '../../src/train/losses.js';
import { publish, rank, retire, sessionOf, type Victim, type Wrapper } from '../../src/train/oracle.js';
import { expectSameWhereverKilled, untimed } from '../attacks/killing.js';
import { aged, expectCompiled } from '../attacks/stepping.js';
import { bitsOf } from '../engine/bits.js';
import { goldens } from '../goldens.js';
import { dataOf, recipe, thirds } from '../run/helpers.js';
import { type AnySpec, context, endOf, type Fitting, imagesOf, succeed } from '../train/bench.js';

const data = thirds({ train: 32, test: 8, size: 8 });
const outliers = dataOf(thirds({ train: 24, test: 8, size: 8 }));

const plugin = (channels: number) =>
  network({
    name: 'small',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv1', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn1'),
      relu,
      flatten,
      features,
      classifier('fc'),
    ),
  });
const net = plugin(4).build(data.image, 3);
const learner = { network: net, recipe: recipe({ epochs: 2, batch: 8 }) };

/** The smallest use of each defence, by name. */
const uses: Readonly<Record<string, unknown>> = {
  adaptiveMisinformation: { outliers },
  adversarialSparse: { steps: 3, step: 0.1 },
  antidistillation: { surrogate: plugin(3), images: 16 },
  compose: undefined,
  dcp: {},
  emma: { epochs: 2, surrogate: plugin(3), surrogateEpochs: 2 },
  gaussianNoise: {},
  grad2: { surrogate: plugin(3) },
  highConfidence: {},
  ini: { outliers, epsilon: 10 },
  keepArgmax: { defense: index.randomClass() },
  labelOnly: {},
  mad: { oracle: 'extreme' },
  meco: {},
  mildlyNasty: { part: 'half' },
  misleader: {
    members: [
      { lambda: 0.05, temperature: 4, alpha: 0.1 },
      { network: plugin(3), lambda: 0.5, temperature: 2, alpha: 0.3 },
    ],
    passes: 2,
    crop: 1,
    surrogate: plugin(3),
  },
  modelGuard: { variant: 'S', capacity: 4 },
  nasty: {},
  none: {},
  productOfExperts: { surrogate: plugin(3) },
  randomClass: {},
  reversedLogits: {},
  reverseSigmoid: { beta: 0.21, gamma: 0.2 },
  rounding: 1,
  safeDistillationBox: {},
  selfDistilled: { alpha: 0.1 },
  smoothTeacher: {},
  stingy: { ratio: 0.7 },
  topK: 2,
};

const makers = Object.values(index).filter(isDeclared) as readonly Declared[];
const defenseOf = (name: string): Defense => {
  if (name === 'compose') return index.compose(index.smoothTeacher(), index.grad2(), index.rounding(2));
  const make = makers.find(
    ({ declaration }) => declaration.kind === 'defense' && declaration.name === name,
  ) as Declared;
  return make(uses[name] as never) as Defense;
};

const setOf = imagesOf(data);

/** What the owner of a teacher has at hand beside a context. */
const owned = ({ outliers }: Defense, variables: Variables) => ({
  train: setOf(0, 24),
  validation: setOf(24, 32),
  ...(outliers === undefined ? {} : { outliers: { ...setOf(0, 24), labelled: false } as never }),
  adversary: { learner, variables },
});

let cache = '';
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
  cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterAll(() => rmSync(cache, { recursive: true, force: true }));

const agreed = goldens(new URL('every.json', import.meta.url));

test('every defence that is exported goes through these tests', () => {
  expect(Object.keys(uses).sort()).toEqual(defenses.map(({ declaration }) => declaration.name).sort());
});

/** Why answers that a defence changes cannot be undone. */
const lost: Readonly<Record<string, string>> = {
  adaptiveMisinformation: 'it looks at the image',
  antidistillation: 'it looks at the image',
  gaussianNoise: 'what was added is not told',
  grad2: 'it looks at the image',
  highConfidence: 'what is not told is lost',
  meco: 'it looks at the image',
  misleader: 'it looks at the image',
  modelGuard: 'what it was quantised from is lost',
  productOfExperts: 'it looks at the image',
  rounding: 'what is not told is lost',
  stingy: 'what is not told is lost',
  topK: 'what is not told is lost',
};

test('whose answers can be undone, brings how; of all others that change answers it is said why not', () => {
  const changing = Object.keys(uses).filter((name) => defenseOf(name).answers !== undefined);
  const undoable = changing.filter((name) => defenseOf(name).recover !== undefined);
  expect(undoable.sort()).toEqual(['dcp', 'emma', 'mad', 'randomClass', 'reverseSigmoid', 'reversedLogits']);
  expect(changing.filter((name) => !undoable.includes(name)).sort()).toEqual(Object.keys(lost));
});

describe.each(Object.keys(uses).sort())('%s', (name) => {
  test('trains, prepares and answers the same in a graph, to the bit; its answers are finite, and no tensor stays behind', async () => {
    const before = tf.memory().numTensors;
    const seen = new Set<string>();
    const checked: Fitting = async (fitted, spec, run) => {
      if (!seen.has(fitted))
        expectCompiled(spec, eager, (stride) => (step, frozen) => compile(step, frozen, { cache, stride }));
      seen.add(fitted);
      const result = await run();
      agreed(`${name}: ${fitted}`, result.history);
      return result;
    };
    const held: tree.Tree[] = [];
    const own = <T extends tree.Tree>(of: T): T => {
      held.push(of);
      return of;
    };
    let variables = own(aged(net, 'teacher'));
    const wrappers: Wrapper[] = [];
    const defense = defenseOf(name);
    try {
      for (const part of partsOf(defense)) {
        const tried = context(key(`stage ${part.name}`), { normalisation: data.normalisation, fitting: checked });
        const given = { ...tried, ...owned(part, variables) };
        if (part.protect !== undefined) {
          const { last, best } = await succeed(part.protect({ learner, variables }, given));
          if (best !== undefined) own(best.kept);
          variables = own(last);
        }
        const prepared =
          part.prepare === undefined
            ? {}
            : own((await succeed(part.prepare({ learner, variables }, given))) as tree.Tree);
        if (part.answers !== undefined)
          wrappers.push({ name: part.name, answers: part.answers, preserves: part.preserves, prepared });
      }
      const access = rank[defense.exposes] > rank.probabilities ? 'probabilities' : defense.exposes;
      const victim = publish({
        network: net,
        variables,
        normalisation: data.normalisation,
        access: access as 'probabilities',
        wrappers,
      });
      try {
        const asks = fitOf({
          learner,
          data: setOf(0, 24),
          victim: victim as unknown as Victim<'probabilities'>,
          target: ({ victim, pixels }) => ({
            teacher:
              access === 'probabilities'
                ? victim.logProbabilities(pixels)
                : (tf.log(tf.oneHot(victim.labels(pixels), 3, 1, 0, 'float32')) as tf.Tensor2D),
          }),
          loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature: 2 }),
        });
        expectCompiled(
          asks as unknown as AnySpec,
          eager,
          (stride) => (step, frozen) => compile(step, frozen, { cache, stride }),
        );
        const { last, history, shift } = await fit(asks, {
          key: key('asked'),
          checkpointEvery: 1000,
          load: async () => undefined,
          save: async () => undefined,
          epoch: async () => undefined,
          progress: () => undefined,
          warn: () => undefined,
        });
        own(last);
        agreed(`${name}: answers`, history);
        expect(history.every(({ metrics }) => Object.values(metrics).every(Number.isFinite))).toBe(true);
        expect(shift.invalid).toBe(0);
        expect(sessionOf(victim).asked.queries).toBe(48);
        if (wrappers.at(-1)?.preserves === 'label' && wrappers.length === 1 && !wrappers[0]?.answers.unnormalised)
          expect(shift.changed).toBe(0);
        for (const { name, recover } of partsOf(defense)) {
          if (recover === undefined) continue;
          const own = wrappers.find((wrapper) => wrapper.name === name)?.prepared;
          tf.tidy(() => {
            const told = tf.logSoftmax(tf.tensor2d([2, 0, -1, 0.1, 0, 0.2], [2, 3])) as tf.Tensor2D;
            const undo = recover(own);
            // A step that reads numbers runs operation by operation.
            const reads = vi.spyOn(tf.backend(), 'readSync');
            const clean = undo(told);
            expect(reads).not.toHaveBeenCalled();
            reads.mockRestore();
            const sums = tf.sum(tf.exp(clean), 1).dataSync();
            for (const sum of sums) expect(sum).toBeCloseTo(1, 3);
          });
        }
      } finally {
        retire(victim);
      }
    } finally {
      tree.dispose(held);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  const parts = partsOf(defenseOf(name));
  const isTrained = parts.some(({ protect, prepare }) => protect !== undefined || prepare !== undefined);
  test.runIf(isTrained)('is trained and prepared to the same bits wherever it is killed', async () => {
    const variables = aged(net, 'teacher');
    const teacher = { learner, variables };
    for (const part of parts) {
      const { protect, prepare } = part;
      if (protect !== undefined)
        await expectSameWhereverKilled(
          async (contextOf) =>
            untimed(endOf(await succeed(protect(teacher, { ...contextOf(), ...owned(part, variables) })))),
          { everyNth: 4 },
        );
      if (prepare !== undefined)
        await expectSameWhereverKilled(
          async (contextOf) => {
            const prepared = (await succeed(
              prepare(teacher, { ...contextOf(), ...owned(part, variables) }),
            )) as tree.Tree;
            const bits = bitsOf(prepared);
            tree.dispose(prepared);
            return bits;
          },
          { everyNth: 4 },
        );
    }
    tree.dispose(variables);
  });

  test.runIf(canBeImitated(defenseOf(name)))(
    'is imitated to the same bits wherever who does it is killed',
    async () => {
      const variables = aged(net, 'stand-in');
      const standIn = { teacher: { learner, variables }, train: setOf(0, 24), validation: setOf(24, 32) };
      await expectSameWhereverKilled(
        async (contextOf) => {
          const before = tf.memory().numTensors;
          const copy = await imitationOf(wrappersOf(defenseOf(name)), standIn, contextOf(), {
            outliersOf: ({ outliers }) => (outliers === undefined ? {} : { outliers: standIn.train as never }),
            ran: (start) => succeed(start()),
          });
          const told = tf.tidy(() => {
            const clean = tf.logSoftmax(tf.tensor2d([2, 0, -1, 0.1, 0, 0.2], [2, 3])) as tf.Tensor2D;
            return [...copy.tell(clean, tf.fill([2, 8, 8, 1], 0.5)).dataSync()];
          });
          copy.release();
          expect(tf.memory().numTensors).toBe(before);
          expect(told.every((each) => each <= 1e-6)).toBe(true);
          return told;
        },
        { everyNth: 4 },
      );
      tree.dispose(variables);
    },
  );
});
