import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { FailureError } from '../../src/core/errors.js';
import type { Experiment } from '../../src/experiment/experiment.js';
import { experiment, kd, learner, nasty, none, scratch } from '../../src/index.js';
import { data, everyStage, forgetful, recipe, tiny, wrong } from './fixtures/plugins.js';
import { lasting, type Ran, ran, temporaryFolder, tensorsIn } from './helpers.js';

describe('an experiment with every kind of stage', () => {
  const root = temporaryFolder();
  const of = everyStage();
  let first: Ran;
  beforeAll(async () => {
    first = await ran(of, root);
  });
  const cell = (attack: string, defense: string, student = 'tiny') =>
    first.matrix.cells.find((each) => each.attack === attack && each.defense === defense && each.student === student);

  test('fills all cells, but those whose attack needs more than the defence exposes', () => {
    expect([...first.outcomes.values()].every(({ status }) => status === 'done')).toBe(true);
    expect(first.matrix.cells.length).toBe(4 * 4 * 2);
    for (const { attack, defense, status, accuracy } of first.matrix.cells) {
      const fits = defense !== 'labelOnly' || !['kd', 'partialKd'].includes(attack);
      expect([attack, defense, status], `${attack} on ${defense}`).toEqual([attack, defense, fits ? 'done' : 'n/a']);
      expect(accuracy?.count).toBe(fits ? 2 : undefined);
    }
    expect(cell('kd', 'labelOnly')?.reason).toBe('kd needs probabilities; labelOnly exposes label');
  });

  test('learns: a test that nothing passes through unseen', () => {
    expect(first.matrix.victims.find(({ defense }) => defense === 'none')?.accuracy?.mean).toBeGreaterThan(0.6);
    expect(cell('scratch', 'none')?.accuracy?.mean).toBeGreaterThan(0.5);
    expect(cell('kd', 'none')?.accuracy?.mean).toBeGreaterThan(0.5);
  });

  test('shares what is the same: honest students, and what only asks for labels', () => {
    const numbers = (attack: string, defense: string) => cell(attack, defense)?.seeds.map(({ student }) => student);
    expect(numbers('scratch', 'nasty')).toEqual(numbers('scratch', 'none'));
    expect(numbers('hardLabel', 'labelOnly')).toEqual(numbers('hardLabel', 'none'));
    expect(numbers('hardLabel', 'nasty + rounding')).toEqual(numbers('hardLabel', 'nasty'));
    expect(numbers('kd', 'nasty')).not.toEqual(numbers('kd', 'none'));
  });

  test('counts what was asked and what was owned', () => {
    // 72 images: 54 to train on, 18 held out.
    const seed = (attack: string) => cell(attack, 'none')?.seeds[0];
    expect(seed('kd')).toMatchObject({ queries: 2 * 54, trainImages: 54 });
    expect(seed('hardLabel')).toMatchObject({ queries: 2 * 54, trainImages: 54 });
    expect(seed('scratch')).toMatchObject({ queries: 0, trainImages: 54 });
    // Four steps an epoch, as on all images: of its 27, two passes.
    expect(seed('partialKd')).toMatchObject({ queries: 2 * 54, trainImages: 27 });
  });

  test('compares a student with itself at the same seed: trained on labels, and undefended', () => {
    const [one] = cell('kd', 'nasty')?.seeds ?? [];
    const accuracy = (attack: string, defense: string) => cell(attack, defense)?.seeds[0]?.student?.metrics.accuracy;
    expect(one?.toBaseline).toBe((accuracy('kd', 'nasty') as number) - (accuracy('scratch', 'none') as number));
    expect(one?.toUndefended).toBe((accuracy('kd', 'nasty') as number) - (accuracy('kd', 'none') as number));
    expect(cell('scratch', 'none')?.seeds[0]?.toBaseline).toBeUndefined();
    expect(first.matrix.attacks.map(({ label, baseline }) => [label, baseline])).toEqual([
      ['scratch', undefined],
      ['kd', 'scratch'],
      ['partialKd', expect.stringContaining('scratch on 50 %')],
      ['hardLabel', 'scratch'],
    ]);
  });

  test('records the last checkpoint and the best; an attacker without labels has the last alone', () => {
    const student = (attack: string) => cell(attack, 'none')?.seeds[0]?.student;
    expect(student('kd')).toMatchObject({ images: 30, last: expect.any(Number), best: expect.any(Number) });
    expect(student('kd')?.metrics.accuracy).toBe(student('kd')?.best);
    expect(student('hardLabel')?.best).toBeUndefined();
    expect(student('hardLabel')?.metrics.accuracy).toBe(student('hardLabel')?.last);
  });

  test('says how far a retrained teacher is from its adversary, and normal ones from each other', () => {
    for (const name of ['nasty', 'nasty + rounding']) {
      const [one] = first.matrix.victims.find(({ defense }) => defense === name)?.seeds ?? [];
      expect(one?.divergence, name).toEqual({ kl: expect.any(Number), normal: expect.any(Number) });
    }
  });

  test('is the same once more, with nothing made anew', async () => {
    const again = await ran(of, root);
    expect([...again.outcomes.values()].every(({ status }) => status === 'cached')).toBe(true);
    expect(again.matrix).toEqual(first.matrix);
  });

  test('after a file was altered makes that stage anew, says so, and gives the same', async () => {
    const before = tensorsIn(root);
    const victims = Object.keys(before).filter((name) => name.endsWith('/last.safetensors'));
    const altered = [victims[0], victims[5]] as [string, string];
    for (const name of altered) {
      const bytes = readFileSync(join(root, name));
      bytes[bytes.length - 2] = (bytes[bytes.length - 2] as number) ^ 64;
      writeFileSync(join(root, name), bytes);
    }
    const again = await ran(of, root);
    expect(again.damages).toEqual(['last.safetensors', 'last.safetensors']);
    expect([...again.outcomes.values()].filter(({ status }) => status === 'done').length).toBe(2);
    expect(lasting(again.matrix)).toEqual(lasting(first.matrix));
    expect(tensorsIn(root)).toEqual(before);
  });

  test('for the held-out images and then for the test images trains once, and evaluates each', async () => {
    const pilot = { ...of, report: 'validation' } as Experiment;
    const { by, matrix } = await ran(pilot, root);
    const made = Object.entries(by).filter(([, { status }]) => status === 'done');
    expect(made.every(([label]) => /\/(evaluate|answer|measure|divergence)$/.test(label))).toBe(true);
    expect(matrix.report).toBe('validation');
    expect(matrix.cells[0]?.seeds[0]?.student?.images).toBe(18);
    // The other way round: a store that has seen no test image lacks none for the report.
    const fresh = temporaryFolder();
    const seeds = of.seeds.slice(0, 1);
    await ran({ ...pilot, seeds }, fresh);
    const final = await ran({ ...of, seeds }, fresh);
    expect(final.matrix.cells[0]?.seeds[0]).toMatchObject({ status: 'done', student: { images: 30 } });
  });
});

test('an experiment that is stopped and crashes anywhere, again and again, ends with the same bits', async () => {
  const of = everyStage({ seeds: [0], students: [] });
  const root = temporaryFolder();
  const whole = await ran(of, root);
  const expected = tensorsIn(root);
  let disturbed = 0;

  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ crash: fc.boolean(), after: fc.integer({ min: 1, max: 12 }) }), {
        minLength: 2,
        maxLength: 5,
      }),
      fc.integer({ min: 1, max: 5 }),
      async (interruptions, checkpointEvery) => {
        const folder = temporaryFolder();
        for (const { crash, after } of interruptions) {
          const stop = new AbortController();
          let events = 0;
          // What throws here ends a stage as a crash would, with its last checkpoint and whatever was half done.
          const tell = ({ type }: { type: string }): void => {
            if (type !== 'stage' || ++events !== after) return;
            disturbed += 1;
            if (crash) throw new Error('crash');
            stop.abort();
          };
          await ran(of, folder, { signal: stop.signal, tell, checkpointEvery }).catch((error: unknown) => {
            expect((error as FailureError).failure.kind).toBe('interrupted');
          });
        }
        const end = await ran(of, folder, { checkpointEvery });
        expect(lasting(end.matrix)).toEqual(lasting(whole.matrix));
        expect(tensorsIn(folder)).toEqual(expected);
      },
    ),
    { numRuns: 2 },
  );
  // How many events a stage tells depends on the machine's speed; that some run was disturbed does not.
  expect(disturbed).toBeGreaterThan(0);
});

describe('plugins that go wrong', () => {
  test('are failed cells with their messages, and the others are done; no tensor stays behind', async () => {
    const root = temporaryFolder();
    const of = experiment({
      name: 'wrong',
      data,
      teacher: learner(tiny(), recipe()),
      students: [learner(tiny(2), recipe(2))],
      defenses: [none(), forgetful],
      attacks: [scratch(), kd(), ...Object.values(wrong)],
      seeds: [0],
    });
    const before = tf.memory().numTensors;
    const { matrix, by, outcomes } = await ran(of, root);
    expect(tf.memory().numTensors).toBe(before);

    const seed = (attack: string, defense: string) => {
      const { status, reason } = matrix.cells.find((c) => c.attack === attack && c.defense === defense)?.seeds[0] ?? {};
      return [status, reason];
    };
    expect(seed('scratch', 'none')).toEqual(['done', undefined]);
    expect(seed('kd', 'none')).toEqual(['done', undefined]);
    expect(seed('scratch', 'forgetful')).toEqual(['done', undefined]);
    expect(seed('kd', 'forgetful')).toEqual(['skipped', 'seed-0/forgetful/teacher failed']);
    for (const [attack, message] of [
      ['throwsAtOnce', 'thrown at once'],
      ['throwsLater', 'thrown later'],
      ['throwsInStep', 'thrown in a step'],
      ['lossIsNaN', 'loss became NaN in epoch 2, step '],
      ['weightsAreNaN', 'the trained weights are not finite (conv.weight)'],
      [
        'givesNoTask',
        'a plugin returns a promise or a task, such as context.fit gives, and this one returned something else',
      ],
      ['fitsTwice', 'fit student is asked for twice'],
    ] as const) {
      expect(seed(attack, 'none'), attack).toEqual(['failed', expect.stringContaining(message)]);
      const outcome = by[`seed-0/none/tiny/${attack}`];
      expect(outcome?.status === 'failed' && outcome.failure.kind).toBe(
        ['lossIsNaN', 'weightsAreNaN'].includes(attack) ? 'diverged' : 'plugin',
      );
    }
    expect(seed('lossIsNaN', 'forgetful')[0]).toBe('skipped');
    expect([...outcomes.values()].filter(({ status }) => status === 'done').length).toBe(9);

    // What diverged is a result and stays; what threw is tried again.
    const again = await ran(of, root);
    const record = (of: Ran, attack: string) => {
      const outcome = of.by[`seed-0/none/tiny/${attack}`];
      return outcome !== undefined && 'record' in outcome && outcome.record !== undefined;
    };
    expect(record(again, 'lossIsNaN')).toBe(true);
    expect(record(again, 'throwsAtOnce')).toBe(false);
    expect(lasting(again.matrix)).toEqual(lasting(matrix));
  });

  test('leave a folder that a corrected one goes on from', async () => {
    const root = temporaryFolder();
    const of = (attack: ReturnType<typeof kd>) =>
      experiment({
        name: 'corrected',
        data,
        teacher: learner(tiny(), recipe()),
        students: [learner(tiny(2), recipe(2))],
        defenses: [none()],
        attacks: [attack],
        seeds: [0],
      });
    let fails = true;
    const mended = {
      ...kd(),
      steal: ((victim, student, context) =>
        fails
          ? (wrong.throwsAtOnce as never as ReturnType<typeof kd>).steal(victim, student, context)
          : kd().steal(victim, student, context)) as ReturnType<typeof kd>['steal'],
    };
    expect((await ran(of(mended), root)).matrix.cells[0]?.status).toBe('failed');
    fails = false;
    expect((await ran(of(mended), root)).matrix.cells[0]?.status).toBe('done');
  });
});

test('memory is flat over a hundred stages in one process', async () => {
  const of = experiment({
    name: 'many',
    data,
    teacher: learner(tiny(), recipe(1)),
    students: [learner(tiny(2), recipe(1))],
    defenses: [none(), nasty({ omega: 0.001 })],
    attacks: [scratch(), ...Array.from({ length: 16 }, (_, i) => kd({ temperature: 1 + i }))],
    seeds: [0],
  });
  const alive: number[] = [];
  const { outcomes } = await ran(of, temporaryFolder(), {
    tell: ({ type }) => {
      if (type === 'end') alive.push(tf.memory().numTensors);
    },
  });
  expect(alive.length).toBeGreaterThan(100);
  expect(new Set(alive).size).toBe(1);
  expect([...outcomes.values()].every(({ status }) => status === 'done')).toBe(true);
});

test('a store in the way of a file ends the run with what to do', async () => {
  const root = join(temporaryFolder(), 'file');
  writeFileSync(root, '');
  expect(existsSync(root)).toBe(true);
  const error = await ran(everyStage({ seeds: [0] }), root).catch((thrown: unknown) => thrown);
  expect((error as FailureError).failure).toMatchObject({ kind: 'store', remedy: expect.stringContaining('--out') });
});
