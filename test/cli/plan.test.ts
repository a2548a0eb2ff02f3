import { describe, expect, test } from 'vitest';
import { dafl } from '../../src/attacks/dafl.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd } from '../../src/attacks/kd.js';
import { noise } from '../../src/attacks/noise.js';
import { answersShared, scopeOf, timeLeft } from '../../src/cli/plan.js';
import { modelGuard } from '../../src/defenses/model-guard.js';
import { none } from '../../src/defenses/none.js';
import { type Plan, plan as planOf } from '../../src/experiment/plan.js';
import { ofSeeds } from '../../src/experiment/select.js';
import { learnerOf, made, thirds, tiny } from '../run/helpers.js';

/** A teacher and two attacks a seed, each a cell of two stages; a third attack has none. */
const plan = {
  stages: ['0', '1', '2'].flatMap((seed) => [
    { id: `teacher-${seed}`, label: `seed-${seed}/teacher`, inputs: {} },
    ...['kd', 'hardLabel'].flatMap((attack) => [
      { id: `${attack}-${seed}`, label: `seed-${seed}/none/net/${attack}`, inputs: { victim: `teacher-${seed}` } },
      {
        id: `m-${attack}-${seed}`,
        label: `seed-${seed}/none/net/${attack}/measure`,
        inputs: { of: `${attack}-${seed}` },
      },
    ]),
  ]),
  cells: ['0', '1', '2'].flatMap((seed) => [
    ...['kd', 'hardLabel'].map((attack) => ({ seed, attack, stages: { measure: `m-${attack}-${seed}` } })),
    { seed, attack: 'logits' },
  ]),
  victims: [],
} as unknown as Plan;

test('a plan says what it makes, and of how much', () => {
  expect(scopeOf(plan, plan)).toBe('6 cells (3 more n/a), 3 seeds; 15 stages');
  expect(scopeOf(plan, ofSeeds(plan, ['1']))).toBe('2 of 6 cells (3 more n/a), 1 of 3 seeds; 5 of 15 stages');
  const teachers = plan.stages.filter(({ label }) => label.endsWith('teacher'));
  expect(scopeOf(plan, { ...plan, stages: teachers })).toBe('0 of 6 cells (3 more n/a); 3 of 15 stages');
});

test('the time that is left is said as at least that, where some of it is not known, and why it is not', () => {
  const said = (unknown: number, untimed: number) => timeLeft({ total: 50, unknown, untimed });
  const bySteps = 'by a few steps of each kind on this machine';
  expect(said(0, 0)).toBe(`Time left: about 50 s, ${bySteps}.`);
  expect(said(1, 0)).toBe(`Time left: at least 50 s, ${bySteps}, without 1 stage that cannot be timed beforehand.`);
  expect(said(0, 12)).toBe(
    `Time left: at least 50 s, ${bySteps}, without 12 stages left untimed when timing was ended.`,
  );
  expect(said(2, 3)).toBe(
    `Time left: at least 50 s, ${bySteps}, without 2 stages that cannot be timed beforehand and 3 stages left untimed when timing was ended.`,
  );
});

describe('a plan says whom a run asks once', () => {
  const data = thirds({ train: 96_000 });
  const said = (
    changes: Parameters<typeof made>[0],
    limit: number | 'off' = 4e9,
    isCached: (label: string) => boolean = () => false,
  ): readonly string[] => {
    const of = planOf(made({ validation: 0, attacks: [kd(), hardLabel()], ...changes }), {
      ...{ data, others: new Map(), code: { modules: new Map() }, engine: 'tensorflow-cpu' },
      harness: { training: 'training 1', measuring: 'measuring 1' },
    });
    const states = of.stages.map(
      (stage) => ({ stage, state: isCached(stage.label) ? 'cached' : 'to do', reasons: [] }) as const,
    );
    return answersShared(of, data, states, limit);
  };
  // Two epochs of 96,000 images, of three numbers each.
  const asked = 'is asked about 192,000 images';
  const seeds = (count: number) => Array.from({ length: count }, (_, seed) => seed);

  test('for how many attacks, about how many images, and in how many bytes', () => {
    expect(said({})).toEqual([`seed-0/teacher ${asked} once for 2 attacks, recorded in 2 MB.`]);
    expect(said({ defenses: [none(), modelGuard()], attacks: [kd(), kd({ temperature: 9 })] })).toEqual([
      `seed-0/teacher ${asked} once for 2 attacks, recorded in 2 MB.`,
      `seed-0/teacher behind modelGuard ${asked} once for 2 attacks, recorded in 5 MB.`,
    ]);
    // Of what is asked by draws a plan has no number.
    const students = [learnerOf(tiny(4)), learnerOf(tiny(5))];
    expect(said({ students, attacks: [noise()] })).toEqual(['seed-0/teacher is asked once for 2 attacks.']);
  });

  test('where several that are to be made ask, and answers are kept', () => {
    expect(said({}, 'off')).toEqual([]);
    expect(said({}, 4e9, (label) => label.endsWith('/kd'))).toEqual([]);
    expect(said({ attacks: [kd(), dafl({ batch: 2 })] })).toEqual([]);
  });

  test('and which attacks each ask their victim, for lack of room beside the others', () => {
    const changes = { seeds: seeds(2) };
    const alone = `seed-1/teacher ${asked} by each of 2 attacks: there is no room to record the answers, 2 MB (--answers).`;
    expect(said(changes, 4e6)).toEqual([`seed-0/teacher ${asked} once for 2 attacks, recorded in 2 MB.`, alone]);
    expect(said(changes, 1e6)).toEqual([alone.replace('seed-1', 'seed-0'), alone]);
    // What is there already takes no room.
    expect(said({ seeds: seeds(3) }, 5e6, (label) => label.startsWith('seed-0/'))).toEqual(
      [1, 2].map((seed) => `seed-${seed}/teacher ${asked} once for 2 attacks, recorded in 2 MB.`),
    );
  });

  test('of many victims in a line or two', () => {
    const once = 'each is answered once and reused';
    expect(said({ seeds: seeds(10) })).toEqual([`20 attacks share 10 sets of queries: ${once} (23 MB).`]);
    expect(said({ seeds: seeds(10) }, 10e6)).toEqual([
      `8 attacks share 4 sets of queries: ${once} (9 MB).`,
      '12 attacks share 6 sets of queries: there is no room to record the answers, 14 MB (--answers).',
    ]);
  });
});
