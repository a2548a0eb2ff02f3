import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import { contextOf } from '../../src/run/context.js';
import { openStore, type StagingDir } from '../../src/run/store.js';
import type { StageEvent, StageRun } from '../../src/run/types.js';
import { classifier } from '../../src/train/classifier.js';
import { crossEntropy } from '../../src/train/losses.js';
import { flip } from '../flip.js';
import { built, endOf, failureOf, sets, succeed } from '../train/bench.js';

beforeAll(async () => {
  await loadEngine();
});

let root: string;
let staging: StagingDir;
let events: StageEvent[];
let damages: string[];
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'undistill-context-'));
  [events, damages] = [[], []];
  staging = (await openStore(root, (_, file) => damages.push(file)).begin('a')) as StagingDir;
});
afterEach(async () => {
  await staging.release();
  rmSync(root, { recursive: true, force: true });
});

/** A new stageRun at the same stage: what a killed run begins with. */
const stageRun = (changes: Partial<StageRun> = {}) =>
  contextOf(
    {
      stage: 'a',
      staging,
      checkpointEvery: 2,
      emit: (event) => events.push(event),
      warn: () => undefined,
      ...changes,
    },
    key('stage'),
  );
/** A fit of nine steps; something happens before each. */
const spec = (onStep: () => void = () => undefined) => {
  const whole = classifier({
    learner: built({ epochs: 3 }),
    data: sets.train,
    validation: sets.validation,
    loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels) }),
  });
  const source: typeof whole.source = (from) => {
    const batches = whole.source(from);
    const at: typeof batches.at = (step) => {
      onStep();
      return batches.at(step);
    };
    return { ...batches, at };
  };
  return { ...whole, source };
};

describe('a fit in a stage', () => {
  test('that is finished is returned at once, the same to the last bit', async () => {
    const tensors = tf.memory().numTensors;
    const first = endOf(await succeed(stageRun().fit('student', spec())));
    let steps = 0;
    const again = endOf(
      await succeed(
        stageRun().fit(
          'student',
          spec(() => steps++),
        ),
      ),
    );
    expect(again).toEqual(first);
    expect(steps).toBe(0);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  test('that was begun goes on from its checkpoint, and removes it at the end', async () => {
    const whole = endOf(await succeed(stageRun().fit('student', spec())));
    await staging.remove('fits');
    let steps = 0;
    const crashing = spec(() => {
      if (++steps === 8) throw new Error('crash');
    });
    expect((await failureOf(stageRun().fit('student', crashing))).what).toBe('crash');
    expect(readdirSync(join(staging.folder, 'fits', 'student'))).toEqual(['checkpoint.safetensors']);
    steps = 100;
    const { seconds: _, ...resumed } = endOf(
      await succeed(
        stageRun().fit(
          'student',
          spec(() => steps++),
        ),
      ),
    );
    // Nine steps in all; six of them lay in the checkpoint.
    expect(steps).toBe(100 + 3);
    expect(resumed.last).toEqual(whole.last);
    expect(resumed.best).toEqual(whole.best);
    expect(readdirSync(join(staging.folder, 'fits', 'student')).sort()).toEqual(['result.json', 'weights.safetensors']);
  });

  test('whose checkpoint was damaged starts anew, and that is told', async () => {
    const whole = endOf(await succeed(stageRun().fit('student', spec())));
    await staging.remove('fits');
    let steps = 0;
    const crashing = spec(() => {
      if (++steps === 8) throw new Error('crash');
    });
    await failureOf(stageRun().fit('student', crashing));
    // A bit of the last number, with which it reads as other weights.
    flip(join(staging.folder, 'fits/student/checkpoint.safetensors'), -3);
    expect(endOf(await succeed(stageRun().fit('student', spec()))).last).toEqual(whole.last);
    expect(damages).toEqual([join('fits', 'student', 'checkpoint.safetensors')]);
  });

  test('tells each epoch, and logs it once however often it was interrupted', async () => {
    let steps = 0;
    const crashing = spec(() => {
      if (++steps === 8) throw new Error('crash');
    });
    await failureOf(stageRun().fit('student', crashing));
    endOf(await succeed(stageRun().fit('student', spec())));
    const log = readFileSync(join(staging.folder, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    expect(log.map((line) => JSON.parse(line).epoch)).toEqual([0, 1, 2]);
    expect(events.filter(({ type }) => type === 'epoch').length).toBeGreaterThanOrEqual(3);
    expect(events.filter(({ type }) => type === 'progress').length).toBeGreaterThanOrEqual(3);
  });

  test('has its own randomness by name, and each name comes once', async () => {
    const context = stageRun();
    const one = endOf(await succeed(context.fit('one', spec())));
    const two = endOf(await succeed(context.fit('two', spec())));
    expect(one.last).not.toEqual(two.last);
    expect(readdirSync(staging.folder)).toEqual(expect.arrayContaining(['metrics-one.jsonl', 'metrics-two.jsonl']));
    expect((await failureOf(context.fit('one', spec()))).what).toBe(
      'fit one is asked for twice: give each a name of its own',
    );
  });

  test.each(['../outside', '', 'a/b', '.'])('cannot be called %s', async (name) => {
    expect((await failureOf(stageRun().fit(name, spec()))).what).toContain('cannot be the name of a file');
    expect((await failureOf(stageRun().value(name, async () => 1))).what).toContain('cannot be the name of a file');
  });
});

describe('a value', () => {
  test('is made once, and is the same to a run that made it and to one that finds it', async () => {
    let made = 0;
    const make = async () => {
      made += 1;
      return { when: new Date(0), missing: undefined, number: 0.1 };
    };
    const first = await succeed(stageRun().value('numbers', make));
    expect(first).toEqual({ when: '1970-01-01T00:00:00.000Z', number: 0.1 });
    expect(await succeed(stageRun().value('numbers', make))).toEqual(first);
    expect(made).toBe(1);
  });

  test('that was not finished is not there', async () => {
    const failing = () => Promise.reject(new Error('crash'));
    expect(await failureOf(stageRun().value('numbers', failing))).toMatchObject({ kind: 'plugin', what: 'crash' });
    expect(await succeed(stageRun().value('numbers', async () => 7))).toBe(7);
  });
});

describe('images', () => {
  const shape = { height: 2, width: 2, channels: 1 };
  const lot = { images: Uint8Array.of(1, 2, 3, 4), shape, labels: [0], clipped: 0, updates: 1 };

  test('that were made before are in the pool, and are missed in words where they were altered since', async () => {
    await succeed(stageRun().images('lot', async () => lot));
    expect(await stageRun().pool()).toMatchObject([{ labels: [0] }]);
    const path = join(staging.folder, 'images', 'lot.png');
    writeFileSync(path, readFileSync(path).fill(0, 40));
    expect(await failureOf(stageRun().pool())).toMatchObject({
      kind: 'store',
      what: 'these images were altered on disk, and others may have been made from them',
      where: path,
      remedy: 'Run with --force and the label of the stage: it is made anew.',
    });
    expect(damages).toEqual(['images/lot.png']);
  });
});
