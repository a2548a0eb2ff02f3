import { describe, expect, test } from 'vitest';
import { askingAgain } from '../../src/attacks/asking-again.js';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { dafl } from '../../src/attacks/dafl.js';
import { deepInversion } from '../../src/attacks/deep-inversion.js';
import { dfme } from '../../src/attacks/dfme.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { jbda } from '../../src/attacks/jbda.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { adaptiveKnockoff, knockoff } from '../../src/attacks/knockoff.js';
import { logitStandardisation } from '../../src/attacks/logit-standardisation.js';
import { maze } from '../../src/attacks/maze.js';
import { noise } from '../../src/attacks/noise.js';
import { scratch } from '../../src/attacks/scratch.js';
import { transfer } from '../../src/attacks/transfer.js';
import type { DatasetPlugin } from '../../src/data/dataset.js';
import { labelOnly, rounding } from '../../src/defenses/answers.js';
import { modelGuard } from '../../src/defenses/model-guard.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import type { Facts } from '../../src/experiment/facts.js';
import { type Plan, plan } from '../../src/experiment/plan.js';
import { sharings } from '../../src/experiment/sharing.js';
import type { Stage } from '../../src/experiment/stage.js';
import { imagesAsked } from '../../src/run/steps.js';
import { roomy } from '../attacks/stepping.js';
import { refusal } from '../failures.js';
import { normalised } from '../train/bench.js';
import { dataOf, learnerOf, made, thirds, tiny } from './helpers.js';

const facts: Facts = {
  data: thirds(),
  others: new Map(),
  code: { modules: new Map() },
  harness: { training: 'training 1', measuring: 'measuring 1' },
  engine: 'tensorflow-cpu',
};
const planOf = (changes: Parameters<typeof made>[0], world: Partial<Facts> = {}): Plan =>
  plan(made({ teacher: learnerOf(roomy()), ...changes }), { ...facts, ...world });

const stage = ({ stages }: Plan, label: string): Stage => {
  const found = stages.find((each) => each.label === label);
  if (found === undefined) throw new Error(`no stage ${label} among ${stages.map((each) => each.label).join('\n')}`);
  return found;
};

/** The labels of the stages that one plan has and another one has not. */
const changed = (one: Plan, other: Plan): string[] => {
  const ids = new Set(other.stages.map(({ id }) => id));
  return one.stages.filter(({ id }) => !ids.has(id)).map(({ label }) => label);
};

describe('a data-free attack is refused before anything is trained, with the net and the attack by name', () => {
  const another = 'Choose another network or data set, or take the attack out.';
  const whole = 'Give halfIterations 0.';

  test.each<readonly [string, AnyAttack, Parameters<typeof made>[0], Partial<Facts>, string, string, string]>([
    [
      'on a victim without batch norms',
      deepInversion({ batch: 2 }),
      { teacher: learnerOf(tiny()) },
      {},
      'tiny has no batch norm over images, whose statistics the images are made to fit',
      'attacks: deepInversion, students: tiny',
      another,
    ],
    [
      'for a class that is none',
      deepInversion({ batch: 2, labels: [0, 3] }),
      {},
      {},
      'label 3 is none of the 3 classes',
      'attacks: deepInversion, students: tiny',
      'Give labels from 0 to 2.',
    ],
    [
      'at half resolution on a net that takes images of one size only',
      deepInversion({ batch: 2, halfIterations: 1 }),
      { teacher: learnerOf(normalised()) },
      {},
      'normalised takes images of one size only',
      'attacks: deepInversion, students: tiny',
      whole,
    ],
    [
      'at half resolution in competition with such a net',
      deepInversion({ batch: 2, halfIterations: 1, adaptive: { scale: 0.2, every: 1 } }),
      {},
      {},
      'tiny takes images of one size only',
      'attacks: adaptiveDeepInversion, students: tiny',
      whole,
    ],
    [
      'by a generator, for images of sides that are not divisible by 4',
      dafl({ batch: 2 }),
      {},
      { data: thirds({ size: 6 }) },
      'its generator makes images of sides divisible by 4, not of 6×6',
      'attacks: dafl, students: tiny',
      another,
    ],
  ])('%s', (_, attack, changes, world, what, where, remedy) => {
    expect(refusal(() => planOf({ ...changes, attacks: [attack] }, world))).toEqual({
      _tag: 'Failure',
      kind: 'experiment',
      what,
      where,
      remedy,
    });
  });

  test('and in no other case', () => {
    const attacks = [deepInversion({ batch: 2, halfIterations: 1 }), dafl({ batch: 2 }), noise()];
    expect(planOf({ attacks }).cells.every(({ stages }) => stages !== undefined)).toBe(true);
  });
});

describe('the images of an attack that synthesises', () => {
  const attacks = [scratch(), kd(), dafl({ batch: 2 }), deepInversion({ batch: 2 })];
  const of = planOf({ attacks, defenses: [none(), nasty(), labelOnly()] });
  const cell = (attack: string, defense: string) =>
    of.cells.find((each) => each.attack === attack && each.defense === defense);

  test('are looked at in a stage of their own, with the victim and a net that saw real images', () => {
    for (const attack of ['dafl', 'deepInversion']) {
      const looked = stage(of, `seed-0/nasty/tiny/${attack}/images`);
      expect(looked.work.kind).toBe('inspect');
      const made = attack === 'dafl' ? 'nasty/tiny/dafl' : 'nasty/deepInversion/pool';
      expect(looked.inputs).toEqual({
        images: stage(of, `seed-0/${made}`).id,
        victim: stage(of, 'seed-0/nasty/teacher').id,
        verifier: stage(of, 'seed-0/tiny/scratch').id,
      });
      expect(cell(attack, 'nasty')?.stages?.inspect).toBe(looked.id);
    }
    expect(cell('kd', 'nasty')?.stages).not.toHaveProperty('inspect');
    expect(cell('scratch', 'none')?.stages).not.toHaveProperty('inspect');
  });

  test('are not looked at where the victim’s weights are not to be had', () => {
    expect(cell('dafl', 'labelOnly')).toMatchObject({ reason: 'dafl needs weights; labelOnly exposes label' });
    expect(of.stages.filter(({ work }) => work.kind === 'inspect').length).toBe(4);
  });

  test('are looked at anew when the looking changes, and the thefts stay', () => {
    const other = planOf(
      { attacks, defenses: [none(), nasty(), labelOnly()] },
      { harness: { ...facts.harness, measuring: 'measuring 2' } },
    );
    const anew = changed(other, of);
    expect(anew).toContain('seed-0/none/tiny/dafl/images');
    expect(anew.every((label) => /\/(images|measure|divergence)$/.test(label))).toBe(true);
  });
});

describe('images that are made of the victim alone', () => {
  const students = [learnerOf(roomy(2)), learnerOf(roomy(3))];
  const pools = (of: Plan) => of.stages.filter(({ work }) => work.kind === 'synthesise').map(({ label }) => label);

  test('are a stage of its own, which all students, temperatures and lengths of distillation share', () => {
    const attacks = [
      deepInversion({ batch: 2, label: 'deepInversion' }),
      deepInversion({ batch: 2, label: 'other', temperature: 7, steps: 9, augmentation: { crop: 1, flip: true } }),
      deepInversion({ batch: 2, pictureEvery: 3, label: 'watched' }),
    ];
    const of = planOf({ students, attacks, defenses: [none(), nasty()] });
    expect(pools(of)).toEqual(['seed-0/none/deepInversion/pool', 'seed-0/nasty/deepInversion/pool']);
    const thefts = of.stages.filter(({ work, inputs }) => work.kind === 'steal' && inputs.pool !== undefined);
    expect(thefts.length).toBe(2 * 2 * 2);
    expect(new Set(thefts.map(({ inputs }) => inputs.pool)).size).toBe(2);
  });

  test.each([
    ['other iterations', { iterations: 5 }],
    ['more batches', { batches: 3 }],
    ['another weight', { tv: 0.5 }],
    ['other classes', { labels: [1, 1] }],
  ])('are made anew for %s', (_, changes) => {
    const attacks = [deepInversion({ batch: 2, label: 'one' }), deepInversion({ batch: 2, ...changes, label: 'two' })];
    expect(pools(planOf({ attacks }))).toEqual(['seed-0/none/one/pool', 'seed-0/none/two/pool']);
  });

  test('are none of an attack that looks at its student', () => {
    const attacks = [deepInversion({ batch: 2, adaptive: { scale: 0.2, every: 2 } }), dafl({ batch: 2 })];
    expect(pools(planOf({ attacks }))).toEqual([]);
  });

  test('are made anew with the seed, and with the training', () => {
    const attacks = [deepInversion({ batch: 2 })];
    const [one, two] = [planOf({ attacks }), planOf({ attacks, seeds: [1] })];
    expect(changed(two, one)).toContain('seed-1/none/deepInversion/pool');
    const other = planOf({ attacks }, { harness: { ...facts.harness, training: 'training 2' } });
    expect(changed(other, one)).toContain('seed-0/none/deepInversion/pool');
  });
});

const foreign: DatasetPlugin = { ...dataOf(thirds()), name: 'foreign' };

describe('thefts that ask the same', () => {
  const groups = (changes: Parameters<typeof made>[0], world: Partial<Facts> = {}) =>
    sharings(planOf(changes, world)).map(({ victim, stages }) => [victim, stages.length]);

  test('are those of one victim, share, batch and seed, whatever is learnt of the answers', () => {
    const students = [learnerOf(tiny(2)), learnerOf(tiny(3)), learnerOf(tiny(4), { batch: 8 })];
    const attacks = [scratch(), kd(), kd({ temperature: 20 }), hardLabel(), partialKd({ fraction: 0.5 }), noise()];
    expect(groups({ students, attacks })).toEqual([
      // Three attacks on all images by the two students of one batch, and by the third.
      ['seed-0/teacher', 6],
      ['seed-0/teacher', 2],
      ['seed-0/teacher', 2],
      ['seed-0/teacher', 3],
    ]);
    expect(groups({ attacks: [scratch(), kd()] })).toEqual([]);
    expect(groups({ attacks: [scratch()], students })).toEqual([]);
  });

  test('are those on one net behind several defences, and on one pool', () => {
    const attacks = [kd(), deepInversion({ batch: 2 }), deepInversion({ batch: 2, temperature: 9 })];
    expect(groups({ attacks, defenses: [none(), rounding(1), rounding(2)] })).toEqual([
      ['seed-0/teacher', 3],
      ['seed-0/teacher', 2],
    ]);
  });

  test('are those on a slow defence apart from all others', () => {
    const attacks = [kd(), kd({ temperature: 9 })];
    expect(groups({ attacks, defenses: [none(), rounding(1), modelGuard(), modelGuard({ epsilon: 0.5 })] })).toEqual([
      ['seed-0/teacher', 4],
      ['seed-0/teacher behind modelGuard', 2],
      ['seed-0/teacher behind modelGuard', 2],
    ]);
  });

  test.each<readonly [string, AnyAttack]>([
    ['a generator’s images, by weights', dafl({ batch: 2 })],
    ['a generator’s images, by answers', dfme({ batch: 2 })],
    ['a generator’s images, by the slope of a clone', maze({ batch: 2 })],
    ['images that are moved by the student', jbda({ fraction: 0.2, rounds: 1 })],
    ['images whose making looks at the student', deepInversion({ batch: 2, adaptive: { scale: 0.2, every: 2 } })],
    ['images that are chosen by what the student learnt', adaptiveKnockoff({ images: foreign, queries: 4 })],
  ])('are none of an attack that asks about %s', (_, attack) => {
    const students = [learnerOf(roomy(2)), learnerOf(roomy(3))];
    const others = new Map([[foreign, { ...thirds(), fingerprint: 'foreign' }]]);
    expect(groups({ students, attacks: [attack] }, { others })).toEqual([]);
    // Beside others, which go on without it.
    expect(groups({ students, attacks: [attack, kd()] }, { others })).toEqual([['seed-0/teacher', 2]]);
  });

  test('are apart where each image is asked about more than once', () => {
    const again = askingAgain({ times: 3, of: 'views' });
    expect(groups({ attacks: [kd(), again, logitStandardisation()] })).toEqual([['seed-0/teacher', 2]]);
    const students = [learnerOf(roomy(2)), learnerOf(roomy(3))];
    expect(groups({ students, attacks: [again] })).toEqual([['seed-0/teacher', 2]]);
    const of = planOf({ attacks: [kd(), again] });
    const askedBy = (attack: string) => imagesAsked(stage(of, `seed-0/none/tiny/${attack}`), of, thirds());
    expect(askedBy('kd')).toBeGreaterThan(0);
    expect(askedBy('askingAgain')).toBe(3 * askedBy('kd'));
  });

  test('are those about out-of-distribution images', () => {
    const attacks = [transfer({ images: foreign }), knockoff({ images: foreign, queries: 4 })];
    const others = new Map([[foreign, { ...thirds(), fingerprint: 'foreign' }]]);
    expect(groups({ attacks }, { others })).toEqual([['seed-0/teacher', 2]]);
  });
});

describe('what an attacker has of another data set', () => {
  const known = (fingerprint: string, plugin = foreign): Partial<Facts> => ({
    others: new Map([[plugin, { ...thirds(), fingerprint }]]),
  });
  const attacks = [scratch(), transfer({ images: foreign })];
  const theft = 'seed-0/none/tiny/transfer';

  test('is part of a stage’s identity by its fingerprint, and of those that take from it', () => {
    const [one, same, other] = [
      planOf({ attacks }, known('one')),
      planOf({ attacks }, known('one')),
      planOf({ attacks }, known('other')),
    ];
    expect(stage(one, theft).parts.owned).toEqual({ kind: 'other', fingerprint: 'one' });
    expect(changed(one, same)).toEqual([]);
    expect(changed(other, one)).toEqual([theft, `${theft}/evaluate`, `${theft}/measure`]);
  });

  test('is compared with honest training on the victim’s own images', () => {
    expect(planOf({ attacks }, known('one')).baselines).toEqual({ scratch: 'scratch', transfer: 'scratch' });
  });

  test('may not be the victim’s own images', () => {
    const { fingerprint } = thirds();
    expect(refusal(() => planOf({ attacks }, known(fingerprint)))).toMatchObject({
      what: "the out-of-distribution images are the victim's own",
      where: 'attacks: transfer',
    });
  });

  test('may be several sets, each with a stage of its own', () => {
    const second: DatasetPlugin = { ...dataOf(thirds()), name: 'second' };
    const both = [transfer({ images: foreign, label: 'one' }), transfer({ images: second, label: 'two' })];
    const others = new Map([
      [foreign, { ...thirds(), fingerprint: 'one' }],
      [second, { ...thirds(), fingerprint: 'two' }],
    ]);
    const of = planOf({ attacks: both }, { others });
    expect(['one', 'two'].map((label) => stage(of, `seed-0/none/tiny/${label}`).parts.owned)).toEqual([
      { kind: 'other', fingerprint: 'one' },
      { kind: 'other', fingerprint: 'two' },
    ]);
  });
});
