import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deepInversion } from '../../src/attacks/deep-inversion.js';
import { loadEngine } from '../../src/engine/engine.js';
import { takesLong } from '../../src/experiment/stage.js';
import { prepare } from '../../src/harness/session.js';
import {
  type AnyAttack,
  askingAgain,
  bayesKd,
  type Defense,
  ddaeKd,
  experiment,
  gaussianNoise,
  kd,
  learner,
  none,
  rounding,
  scratch,
  synthetic,
} from '../../src/index.js';
import { forecast } from '../../src/run/forecast.js';
import { profileStage } from '../../src/run/profiling.js';
import { rehearse } from '../../src/run/rehearsal.js';
import { openStore } from '../../src/run/store.js';
import type { RunEnvironment } from '../../src/run/types.js';
import { roomy } from '../attacks/stepping.js';
import { everyStage, recipe, tiny, wrong } from '../end-to-end/fixtures/plugins.js';

let root: string;
let before: number;
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-forecast-'));
  before = tf.memory().numTensors;
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
  expect(tf.memory().numTensors).toBe(before);
});

const environmentOf = async (of: ReturnType<typeof everyStage>, answers?: number): Promise<RunEnvironment> => {
  const store = openStore(join(root, '.store'), () => undefined);
  return { ...(await prepare(of)), store, version: 'test', checkpointEvery: 100, answers };
};
const withAttacks = (...attacks: readonly AnyAttack[]) => against([none()], ...attacks);
const against = (defenses: readonly Defense[], ...attacks: readonly AnyAttack[]) =>
  experiment({
    name: 'forecast',
    data: synthetic({ train: 60, test: 20, classes: 3, size: 8, channels: 3 }),
    teacher: learner(roomy(4), recipe()),
    students: [learner(roomy(3), recipe(2))],
    defenses,
    attacks,
    seeds: [0],
  });

describe('a forecast', () => {
  const file = () => join(root, 'times.json');

  test('knows of every stage that takes its time, and leaves nothing but the times', async () => {
    const environment = await environmentOf(everyStage(), 1e9);
    const { stages } = environment.plan;
    const told: (readonly [number, number])[] = [];
    const made = await forecast(environment, stages, { file: file(), tell: (...each) => told.push(each) });
    expect(made.unknown).toBe(0);
    for (const stage of stages) if (takesLong(stage.work)) expect(made.seconds(stage), stage.label).toBeGreaterThan(0);
    expect(made.total).toBeCloseTo(
      stages.reduce((sum, stage) => sum + (made.seconds(stage) ?? 0), 0),
      9,
    );
    const [done, of] = told.at(-1) as readonly [number, number];
    // The two seeds, and students of a kind, are timed once.
    expect(done).toBe(of);
    expect(of).toBeLessThan(stages.filter(({ work }) => takesLong(work)).length);
    expect(existsSync(join(root, '.store'))).toBe(false);

    // The next time all is known, and the same.
    const again: unknown[] = [];
    const known = await forecast(environment, stages, { file: file(), tell: (...each) => again.push(each) });
    expect([known.total, again]).toEqual([made.total, [[0, 0]]]);
    // What is damaged is timed anew.
    writeFileSync(file(), readFileSync(file(), 'utf8').slice(1));
    expect((await forecast(environment, stages.slice(0, 1), { file: file() })).unknown).toBe(0);
  });

  test('takes thefts that will find their answers for what replaying takes', async () => {
    const of = withAttacks(scratch(), kd(), kd({ temperature: 20 }), kd({ temperature: 30 }));
    const [shared, alone] = [await environmentOf(of, 1e9), await environmentOf(of)];
    const seconds = async (environment: RunEnvironment) => {
      const { stages } = environment.plan;
      const made = await forecast(environment, stages, { file: file() });
      return stages.filter(({ label }) => /\/kd[^/]*$/.test(label)).map((stage) => made.seconds(stage) as number);
    };
    const [found, each] = [await seconds(shared), await seconds(alone)];
    expect(new Set(each).size).toBe(1);
    expect(found[0]).toBe(each[0]);
    expect(found[1]).toBe(found[2]);
    expect(found[1]).not.toBe(each[1]);
  });

  test('times apart what asks more often, or goes on for longer, and together what only weighs otherwise', async () => {
    const timed: string[] = [];
    const environment = await environmentOf(
      against(
        [gaussianNoise()],
        ...[1, 4, 9].map((temperature) => kd({ temperature })),
        ...[2, 9].map((times) => askingAgain({ times })),
        ...[1, 50].map((epochs) => ddaeKd({ epochs })),
      ),
    );
    const stages = environment.plan.stages.filter(
      ({ work }) => work.kind === 'steal' && work.attack.name !== 'scratch',
    );
    await forecast(environment, stages, {
      file: file(),
      time: async ({ label }) => {
        timed.push(label.replace(/.*\//, '').replace(/\(.*/, ''));
        return { live: 1, replayed: 1 };
      },
    });
    expect(timed.sort()).toEqual(['askingAgain', 'askingAgain', 'ddaeKd', 'ddaeKd', 'kd']);
  });

  test('says of how many stages nothing can be told, and goes on', async () => {
    const of = experiment({
      name: 'wrong',
      data: synthetic({ train: 60, test: 20, classes: 3, size: 4 }),
      teacher: learner(tiny(), recipe()),
      students: ['self'],
      defenses: [none()],
      attacks: [scratch(), kd(), wrong.throwsAtOnce as AnyAttack],
      seeds: [0],
    });
    const environment = await environmentOf(of);
    const made = await forecast(environment, environment.plan.stages, { file: file() });
    expect(made).toMatchObject({ unknown: 1, untimed: 0 });
    expect(made.total).toBeGreaterThan(0);
  });

  test('tries again what could not be timed, also what an earlier version gave up', async () => {
    const environment = await environmentOf(withAttacks(scratch(), kd()));
    const { stages } = environment.plan;
    const time = { live: 1, replayed: 1 };
    const asked: string[] = [];
    const made = (fails: boolean) =>
      forecast(environment, stages, {
        file: file(),
        time: async ({ label }) => {
          asked.push(label);
          return fails && label.endsWith('/kd') ? undefined : time;
        },
      });
    expect(await made(true)).toMatchObject({ unknown: 1, untimed: 0 });
    const times: Record<string, unknown> = JSON.parse(readFileSync(file(), 'utf8'));
    expect(Object.values(times)).not.toContain(null);
    asked.length = 0;
    expect(await made(false)).toMatchObject({ unknown: 0, untimed: 0 });
    expect(asked.map((label) => label.split('/').at(-1))).toEqual(['kd']);
    writeFileSync(file(), JSON.stringify(Object.fromEntries(Object.keys(times).map((name) => [name, null]))));
    expect(await made(false)).toMatchObject({ unknown: 0, untimed: 0 });
  });

  test('has its time limit, and says what it did not come to', async () => {
    const environment = await environmentOf(everyStage());
    const { stages } = environment.plan;
    const kept = stages.filter(({ work }) => takesLong(work) || work.kind === 'evaluate');
    const made = await forecast(environment, stages, { file: file(), limit: -1 });
    expect(made).toMatchObject({ total: 0, unknown: 0, untimed: kept.length });
  });
});

describe('a rehearsal', () => {
  test('looks at each fit with how often it is made', async () => {
    const environment = await environmentOf(
      withAttacks(scratch(), deepInversion({ batch: 4, iterations: 7, halfIterations: 3, batches: 5, steps: 6 })),
    );
    const fits = async (label: string) => {
      const stage = environment.plan.stages.find((each) => each.label === label);
      if (stage === undefined) throw new Error(`no ${label}`);
      const found: unknown[] = [];
      await rehearse(environment, stage, {
        fit: (name, { steps }, { times }) => void found.push([name, steps, times]),
      });
      return found;
    };
    expect(await fits('seed-0/none/deepInversion/pool')).toEqual([
      ['images-phase-0', 3, 5],
      ['images-phase-1', 7, 5],
    ]);
    expect(await fits('seed-0/none/roomy/deepInversion')).toEqual([['student', 6, 1]]);
    expect(await fits('seed-0/teacher')).toEqual([['teacher', undefined, 1]]);
  });

  test('asks an attacker’s copy of a defence once, which stands for all of its imagined answers', async () => {
    let told = 0;
    const counted: Defense = {
      ...rounding(2),
      label: 'counted',
      answers: {
        kind: 'stateful',
        init: () => ({ none: tf.scalar(0) }),
        answer: ({ logProbabilities, state, frozen }) => {
          if (frozen) told += 1;
          return { logProbabilities, state };
        },
      },
    };
    const environment = await environmentOf(against([none(), counted], scratch(), bayesKd()));
    const stage = environment.plan.stages.find(({ label }) => label.endsWith('/bayesKd'));
    if (stage === undefined) throw new Error('no bayesKd');
    const spent: number[] = [];
    await rehearse(environment, stage, { fit: () => undefined, spent: (seconds) => spent.push(seconds) });
    expect(told).toBe(1);
    expect(spent).toEqual(Array(3).fill(spent[0]));
  });

  test('goes through every kind of stage that fits something', async () => {
    const environment = await environmentOf(everyStage());
    for (const stage of environment.plan.stages.filter(({ work }) => takesLong(work))) {
      let fits = 0;
      await rehearse(environment, stage, {
        fit: () => {
          fits += 1;
        },
      });
      expect(fits, stage.label).toBeGreaterThan(0);
    }
  });
});

describe('a profile', () => {
  test('has all of the time by operation and by layer, and says whose each layer is', async () => {
    const environment = await environmentOf(withAttacks(scratch(), kd()));
    const stage = environment.plan.stages.find(({ label }) => label.endsWith('/kd'));
    if (stage === undefined) throw new Error('no kd');
    const found = await profileStage(environment, stage, 3);
    expect(found).toMatchObject({ stage: stage.label, fit: 'student', images: 16, steps: 3 });
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    expect(sum(found.operations.map(({ seconds }) => seconds))).toBeCloseTo(found.inOperations, 9);
    const { layers } = found;
    expect(sum(layers.map(({ forward, backward, update }) => forward + backward + update))).toBeCloseTo(
      found.inOperations,
      9,
    );
    expect(found.compiled).toBeGreaterThan(0);
    expect(found.eager).toBeGreaterThan(found.inOperations);
    const names = layers.map(({ net, layer }) => `${net} ${layer}`.trim());
    for (const name of ['input', 'victim conv1', 'victim fc', 'net conv1', 'net bn2', 'net fc', 'loss'])
      expect(names).toContain(name);
    // A victim learns nothing, and all of the student does.
    for (const { net, layer, forward, backward, update } of layers.filter(({ layer: name }) =>
      /^(conv|bn)/.test(name),
    )) {
      expect(forward, layer).toBeGreaterThan(0);
      expect([backward > 0, update > 0], `${net} ${layer}`).toEqual(net === 'net' ? [true, true] : [false, false]);
    }
  });
});
