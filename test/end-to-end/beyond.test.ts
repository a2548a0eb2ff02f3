import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Matrix, SeedResult } from '../../src/results/types.js';
import { lasting, type Project, project, tensorsIn } from '../cli/project.js';

/**
 * MNIST in a minute, in a user's folder. `STOP="dfme 3"` makes the run and its worker be killed when the learner of that name asks for
 * the rate of that step: at the same place in every run, and without a change of any identity.
 */
const file = `\
import {
  cmi, constant, dfme, experiment, gaussianNoise, hardLabel, kd, learner, mnist, modelGuard, none, plainCnn, scratch,
  sgd, skeptical,
} from 'undistill';

const [whose, at] = (process.env.STOP ?? '').split(' ');
const rate = (who: string) => {
  const plain = constant(0.05);
  return {
    ...plain,
    at: (progress) => {
      if (who === whose && progress.step === Number(at))
        for (const each of [process.ppid, process.pid]) process.kill(each, 'SIGKILL');
      return plain.at(progress);
    },
  };
};
const net = (who: string, width: number, epochs: number) =>
  learner(plainCnn({ width }), { epochs, batch: 50, optimizer: sgd({ momentum: 0.9 }), schedule: rate(who) });

export default experiment({
  name: 'beyond',
  data: mnist({ size: 12 }),
  fraction: 0.01,
  teacher: net('teacher', 4, 6),
  students: [net('student', 2, 2)],
  defenses: [
    none(),
    gaussianNoise({ label: 'fresh' }),
    gaussianNoise({ draw: 'sticky', label: 'sticky' }),
    modelGuard({ label: 'W' }),
    modelGuard({ variant: 'S', epsilon: 0.5, capacity: 16, label: 'S' }),
  ],
  attacks: [
    scratch(),
    kd(),
    skeptical(),
    hardLabel(),
    dfme({
      batch: 8, epochs: 2, stepsPerEpoch: 4, studentSteps: 2, directions: 2, latent: 8, width: 4, keep: 16,
      schedule: rate('dfme'),
    }),
    cmi({
      batch: 8, iterations: 6, rate: 0.01, latent: 8, width: 4, batches: 2, stepsBetween: 5, capacity: 12, negatives: 6,
      embedding: 4,
    }),
  ],
  seeds: [0],
});
`;

let at: Project;
let whole: Matrix;
/** Step by step: to compile these steps would take longer than all of them. */
const options = ['--threads', '1', '--execution', 'eager', '--checkpoint-every', '2'];
const run = (out: string) => ['run', 'beyond.ts', ...options, '--out', out];
beforeAll(async () => {
  at = project();
  await at.write('beyond.ts', file);
  const { code, err } = await at.undistill(run('whole/beyond'));
  expect({ code, err }).toEqual({ code: 0, err: '' });
  whole = await at.matrix('whole/beyond');
});
afterAll(() => at.remove());

const seedOf = (attack: string, defense: string): SeedResult => {
  const cell = whole.cells.find((each) => each.attack === attack && each.defense === defense);
  if (cell === undefined) throw new Error(`no cell of ${attack} on ${defense}`);
  return cell.seeds[0] as SeedResult;
};
const defenses = ['none', 'fresh', 'sticky', 'W', 'S'] as const;
const wrapped = defenses.slice(1);

describe('two attacks, three students and two defences more, on MNIST', () => {
  test('fill all cells but those that need weights', () => {
    for (const { attack, defense, status } of whole.cells)
      expect(status, `${attack} on ${defense}`).toBe(attack === 'cmi' && defense !== 'none' ? 'n/a' : 'done');
    expect(whole.cells.length).toBe(6 * 5);
  });

  test('ask what they say', () => {
    // 540 images, since a tenth is held out; two epochs, of which the skeptical student listens in one.
    const queries = { scratch: 0, kd: 1080, skeptical: 540, hardLabel: 1080, dfme: 8 * 8 * (3 + 2) };
    for (const [attack, expected] of Object.entries(queries))
      for (const defense of defenses) expect(seedOf(attack, defense).queries, `${attack} on ${defense}`).toBe(expected);
    // Two batches of six steps with two views each, and five steps of the student on 8, and then on 16 images.
    const views = 2 * 6 * 2 * 8;
    expect(seedOf('cmi', 'none')).toMatchObject({
      queries: 0,
      forward: views + 5 * 8 + 5 * 16,
      backward: views,
      trainImages: 16,
    });
    for (const attack of ['kd', 'skeptical', 'hardLabel']) expect(seedOf(attack, 'none').trainImages).toBe(540);
    expect(seedOf('dfme', 'none').trainImages).toBe(0);
  });

  test('tell what the defences changed, in the answers to the attack and to the test images', () => {
    const measured = (defense: string) =>
      whole.victims.find((each) => each.defense === defense)?.seeds[0]?.measures?.metrics ?? {};
    for (const attack of ['kd', 'skeptical', 'dfme'])
      for (const defense of wrapped) {
        const { l1, kl, changed } = seedOf(attack, defense).answers ?? { l1: 0, kl: 0, changed: 0 };
        expect(l1, `${attack} on ${defense}`).toBeGreaterThan(0);
        expect(kl, `${attack} on ${defense}`).toBeGreaterThan(0);
        if (defense === 'W') expect(l1).toBeLessThanOrEqual(1 + 1e-5);
        if (defense === 'W' || defense === 'S') expect(changed).toBe(0);
        else expect(changed).toBeGreaterThan(0);
      }
    for (const attack of ['kd', 'skeptical', 'dfme']) expect(seedOf(attack, 'none').answers).toBeUndefined();
    for (const defense of ['fresh', 'sticky', 'W']) {
      expect(measured(defense).answerL1, defense).toBeGreaterThan(0);
      expect(measured(defense).answerKl, defense).toBeGreaterThan(0);
    }
    expect(measured('W').answerL1).toBeLessThanOrEqual(1 + 1e-5);
    expect(measured('W').answerChanged).toBe(0);
    // Guards keep the victim's accuracy to the last image; noise does not.
    expect(measured('W').accuracy).toBe(measured('none').accuracy);
    expect(measured('S').accuracy).toBe(measured('none').accuracy);
    expect(measured('fresh').accuracy).not.toBe(measured('none').accuracy);
  });

  test('share what does not differ: labels that a guard leaves as they are', () => {
    const student = (attack: string, defense: string) => seedOf(attack, defense).student?.metrics;
    for (const defense of ['W', 'S']) expect(student('hardLabel', defense)).toEqual(student('hardLabel', 'none'));
    expect(student('hardLabel', 'fresh')).not.toEqual(student('hardLabel', 'none'));
    for (const attack of ['kd', 'skeptical', 'dfme']) {
      const all = defenses.map((defense) => JSON.stringify(student(attack, defense)));
      expect(new Set(all).size, attack).toBe(5);
    }
    expect(new Set(defenses.map((defense) => JSON.stringify(student('scratch', defense)))).size).toBe(1);
  });

  test('the owner’s look at a guard that remembers finds what it answers after its training images, by the same labels', () => {
    const { answerL1, answerChanged } =
      whole.victims.find(({ defense }) => defense === 'S')?.seeds[0]?.measures?.metrics ?? {};
    expect(answerL1).toBeGreaterThan(1e-3);
    expect(answerL1).toBeLessThan(0.5);
    expect(answerChanged).toBe(0);
  });

  test('keep pictures of what was made', async () => {
    for (const attack of ['dfme', 'cmi']) {
      const { id } = JSON.parse(await at.read(`whole/beyond/stages/seed-0/none/plainCnn/${attack}/record.json`));
      const files = await readdir(join(at.folder, 'whole/.store', id), { recursive: true });
      expect(files.filter((name) => name.endsWith('.png')).length, attack).toBeGreaterThan(2);
    }
  });
});

test('killed in every kind of theft and between them, it ends with the same numbers to the last digit', async () => {
  // At a step of a fit, by itself; or from outside, when it says that a theft begins.
  const moments: readonly ({ readonly step: string } | { readonly begins: string })[] = [
    { step: 'teacher 31' },
    { step: 'student 13' },
    { begins: 'S/plainCnn/kd' },
    { step: 'student 20' },
    { begins: 'W/plainCnn/skeptical' },
    { step: 'student 13' },
    { step: 'dfme 5' },
    { step: 'dfme 2' },
    { begins: 'S/plainCnn/dfme' },
    // What is left is cmi, whose student learns after each batch.
    { step: 'student 3' },
    { step: 'student 7' },
  ];
  for (const moment of moments) {
    const { code } = await at.undistill(
      run('killed/beyond'),
      'step' in moment
        ? { env: { STOP: moment.step } }
        : {
            watch: (said, child) => {
              if (said.includes(`seed-0/${moment.begins}: begins`)) child.kill('SIGKILL');
            },
          },
    );
    expect(code, JSON.stringify(moment)).toBe('SIGKILL');
  }
  expect((await at.undistill(run('killed/beyond'))).code).toBe(0);
  expect(lasting(await at.matrix('killed/beyond'))).toEqual(lasting(whole));
  const [broken, sound] = await Promise.all(
    ['killed', 'whole'].map((name) => tensorsIn(join(at.folder, name, '.store'))),
  );
  for (const [name, bytes] of broken ?? []) expect(sound?.get(name)?.equals(bytes), name).toBe(true);
  expect(broken?.size).toBe(sound?.size);
});
