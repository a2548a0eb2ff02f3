import * as tf from '@tensorflow/tfjs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { deepInversion } from '../../src/attacks/deep-inversion.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { noise } from '../../src/attacks/noise.js';
import { skeptical } from '../../src/attacks/skeptical.js';
import { transfer } from '../../src/attacks/transfer.js';
import { key } from '../../src/core/random.js';
import type * as tree from '../../src/core/tree.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  flatten,
  marked,
  network,
  relu,
  sequential,
} from '../../src/models/layers.js';
import type { Network, NetworkPlugin } from '../../src/models/network.js';
import type { Publication, Victim, Wrapper } from '../../src/train/oracle.js';
import { type Recordings, recordingsInMemory, stepsInPart } from '../../src/train/recordings.js';
import { fresh, slow, sticking, tiring, turning } from '../defenses/answering.js';
import { data } from '../end-to-end/fixtures/plugins.js';
import { asking, fitted, hostOf, killedAt, network as taught, useVictims } from './asking.js';
import { built, context, endOf, sets, theftOf } from './bench.js';
import { how } from './runners.js';

vi.mock('../../src/engine/runner.js', () => import('./runners.js'));
const ways = ['eager', 3] as const;

const all = useVictims('eager');

interface Setting {
  readonly recordings?: Recordings;
  readonly victim?: Partial<Publication<'probabilities'>>;
  readonly epochs?: number;
  readonly student?: NetworkPlugin | undefined;
  readonly from?: string;
}

/** What a theft ends with, and how often the victim's net was called by JavaScript: once a step taken eagerly, or traced. */
const stolen = async (
  attack: AnyAttack,
  { recordings, victim: changes, epochs = 2, student: net = student(2), from }: Setting = {},
) => {
  let calls = 0;
  const counted: Network = {
    ...taught,
    apply: (...args) => {
      calls += 1;
      return taught.apply(...args);
    },
  };
  const victim = all.of(attack.needs, { network: counted, identity: 'a net', ...changes } as never) as Victim;
  const tried = context(key(from ?? 'stage'), recordings && { recordings });
  const given: AttackContext = { ...tried, data: sets as never, fullStepsPerEpoch: 3 };
  const learner = built({ epochs }, net);
  const { seconds: _, replayed, history, ...end } = endOf(await theftOf(attack, victim, learner, given));
  return { end: { ...end, history: history.map(({ stepsPerSecond: __, ...record }) => record) }, replayed, calls };
};

/** A student with an activation that a head can look at. */
const student = (channels: number): NetworkPlugin =>
  network({
    name: 'student',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      ...[conv('conv', channels, { kernel: 3, padding: 1 }), batchNorm('bn'), relu, marked('seen')],
      ...[flatten, features, classifier('fc')],
    ),
  });

/** Attacks whose questions do not depend on what the student has learnt. */
const sharing: readonly (readonly [string, AnyAttack])[] = [
  ['kd', kd()],
  ['kd at another temperature', kd({ temperature: 20, alpha: 0.3 })],
  ['partialKd', partialKd({ fraction: 0.5, steps: 'same' })],
  ['hardLabel', hardLabel()],
  ['transfer', transfer({ images: data })],
  ['skeptical', skeptical({ delayEpochs: 1, from: 'seen' })],
  ['noise', noise({ steps: 6 })],
];

describe.each(ways)('answers of before (%s)', (stride) => {
  beforeEach(() => {
    how.stride = stride;
  });

  test.each(sharing)('%s ends with the same bits, live, recording and replaying', async (_, attack) => {
    const recordings = recordingsInMemory();
    const live = await stolen(attack);
    const recorded = await stolen(attack, { recordings });
    const replayed = await stolen(attack, { recordings });
    expect(live.replayed).toBe(0);
    expect(recorded).toMatchObject({ end: live.end, replayed: 0 });
    expect(replayed).toMatchObject({ end: live.end, replayed: live.end.queries });
    expect(live.end.queries).toBeGreaterThan(0);
    expect(replayed.calls).toBe(0);
  });

  test('to a pool of images serve every student that is distilled on it', async () => {
    const recordings = recordingsInMemory();
    const attack = (temperature: number) =>
      deepInversion({ batch: 6, iterations: 3, batches: 2, steps: 6, temperature });
    const live = await stolen(attack(7));
    await stolen(attack(3), { recordings });
    const replayed = await stolen(attack(7), { recordings });
    expect(replayed).toMatchObject({ end: live.end, replayed: 6 * 12 });
    expect(live.end).toMatchObject({ queries: 0, forward: 6 * 12 });
  });

  test.each([
    ['fresh noise', fresh],
    ['noise that sticks', sticking],
    ['one that remembers', tiring],
    ['another order', turning],
  ])('are what the net gave before a defence (%s)', async (_, defense) => {
    const recordings = recordingsInMemory();
    const behind = { victim: { wrappers: [defense] } };
    const live = await stolen(kd(), behind);
    const open = await stolen(kd(), { recordings });
    const replayed = await stolen(kd(), { recordings, ...behind });
    expect(replayed).toMatchObject({ end: live.end, replayed: live.end.queries });
    expect(live.end.last).not.toEqual(open.end.last);
    expect(live.end.shift.l1).toBeGreaterThan(0);
  });

  test.each([
    ['fresh noise', [fresh]],
    ['noise that sticks', [sticking]],
    ['another order', [turning]],
    ['another order whose label is told, after noise', [fresh, { ...turning, preserves: 'label' }]],
    ["another order of which the net's own label is told", [{ ...turning, preserves: 'clean label' }]],
  ] as const)('of slow defences are recorded as they were told: %s', async (_, parts) => {
    let calls = 0;
    const counting = ({ answers, ...part }: Wrapper): Wrapper => ({
      ...part,
      answers: {
        ...answers,
        answer: (query) => {
          calls += 1;
          return answers.answer(query);
        },
      },
    });
    const recordings = recordingsInMemory();
    const victim = { wrappers: parts.map((part) => counting(slow(part))), telling: 'so' };
    await stolen(kd(), { recordings, victim });
    for (const attack of [kd({ temperature: 20 }), hardLabel()]) {
      const live = await stolen(attack, { victim });
      expect(calls).toBeGreaterThan(0);
      calls = 0;
      const found = await stolen(attack, { recordings, victim });
      expect(found).toMatchObject({ end: live.end, replayed: live.end.queries, calls: 0 });
      expect(calls).toBe(0);
    }
  });

  test('serve whoever asks the same, whatever it tells and learns', async () => {
    const recordings = recordingsInMemory();
    await stolen(hardLabel(), { recordings });
    for (const [attack, net] of [
      [kd(), student(2)],
      [kd({ alpha: 0.1 }), student(4)],
      [skeptical({ delayEpochs: 0, from: 'seen' }), student(2)],
    ] as const) {
      const live = await stolen(attack, { student: net });
      const found = await stolen(attack, { recordings, student: net });
      expect(found).toMatchObject({ end: live.end, replayed: live.end.queries });
    }
    expect(recordings.parts.size).toBe(2);
  });

  test('of a shorter training serve a longer one, which adds to them', async () => {
    const recordings = recordingsInMemory();
    await stolen(kd(), { recordings });
    const live = await stolen(kd(), { epochs: 5 });
    expect(await stolen(kd(), { recordings, epochs: 5 })).toMatchObject({ end: live.end, replayed: 2 * 34 });
    expect(await stolen(kd(), { recordings, epochs: 5 })).toMatchObject({ end: live.end, replayed: 5 * 34 });
  });

  test('that are only read are not added to', async () => {
    const recordings = recordingsInMemory();
    await stolen(kd(), { recordings });
    const before = new Map(recordings.parts);
    expect((await stolen(kd(), { recordings: { read: recordings.read }, epochs: 3 })).replayed).toBe(2 * 34);
    expect(recordings.parts).toEqual(before);
  });
});

describe('answers', () => {
  const replayedBy = async (...settings: readonly Setting[]): Promise<readonly number[]> => {
    const recordings = recordingsInMemory();
    const found: number[] = [];
    for (const setting of settings) found.push((await stolen(kd(), { recordings, ...setting })).replayed);
    return found;
  };

  test('of another net, or another seed, are never replayed', async () => {
    expect(await replayedBy({}, { victim: { identity: 'another net' } }, { from: 'another stage' }, {})).toEqual([
      0, 0, 0, 68,
    ]);
  });

  test('of a slow defence are its own; where it is not known, and of one that remembers, those of the net are recorded', async () => {
    const by = (part: Wrapper, telling?: string) => ({ victim: { wrappers: [slow(part)], telling } });
    expect(await replayedBy({}, by(fresh, 'one'), by(fresh, 'other'), by(fresh, 'one'))).toEqual([0, 0, 0, 68]);
    expect(await replayedBy({}, by(fresh), by(tiring, 'one'))).toEqual([0, 68, 68]);
  });

  test('of a net that is not known are not recorded', async () => {
    expect(await replayedBy({ victim: { identity: undefined } }, { victim: { identity: undefined } })).toEqual([0, 0]);
  });

  test('to a budget of fewer are those to the first batches', async () => {
    const budget = { victim: { budget: 50 } };
    const recordings = recordingsInMemory();
    await stolen(kd(), { recordings });
    const live = await stolen(kd(), budget);
    const replayed = await stolen(kd(), { recordings, ...budget });
    expect(replayed.end).toEqual(live.end);
    expect(replayed.end.queries).toBe(50);
    expect(replayed.replayed).toBe(50);
  });

  test('that do not fit the question are asked anew', async () => {
    const recordings = recordingsInMemory();
    const live = await stolen(kd());
    await stolen(kd(), { recordings });
    const cut: Recordings = {
      ...recordings,
      read: (...args) => new Map([...recordings.read(...args)].map(([step, values]) => [step, values.slice(1)])),
    };
    expect(await stolen(kd(), { recordings: cut })).toMatchObject({ end: live.end, replayed: 0 });
  });

  /** A fit whose questions are its own images, changed by what is given. */
  const spec = (changed: (sum: tf.Tensor, rate: tf.Tensor) => tf.Tensor) => {
    const asked = asking(all.of('logits', { identity: 'a net' }), () => []);
    return {
      ...asked,
      step: (({ victim }, { sum }, { pixels }, { learningRate }) => {
        const loss = tf.mean(victim.logits(tf.add(pixels, tf.mul(changed(sum, learningRate), 0.01)) as tf.Tensor4D));
        return { state: { sum: tf.add(tf.mul(sum, 0.75), loss) }, metrics: { loss } };
      }) as typeof asked.step,
      source: ((from) => ({ ...asked.source(from), identity: () => 'pictures' })) as typeof asked.source,
    };
  };
  const twice = async (of: ReturnType<typeof spec>) => {
    const recordings = recordingsInMemory();
    await fitted(of, hostOf({ recordings }));
    return [recordings.parts.size > 0, (await fitted(of, hostOf({ recordings }))).replayed > 0];
  };

  test('to images that depend on what the student has learnt are asked for each time', async () => {
    expect(await twice(spec(() => tf.scalar(1)))).toEqual([true, true]);
    expect(await twice(spec((sum) => sum))).toEqual([false, false]);
    expect(await twice(spec((_, rate) => rate))).toEqual([false, false]);
  });

  test('to images of which it is not known what they are too', async () => {
    const known = spec(() => tf.scalar(1));
    expect(await twice({ ...known, source: asking(all.of('label'), () => []).source })).toEqual([false, false]);
  });

  test('to images that depend on other tensors are those of their numbers', async () => {
    const of = (factor: number) => {
      const known = spec(() => tf.scalar(1));
      const frozen = { factor: tf.scalar(factor) };
      const step: typeof known.step = ({ victim, frozen: given }, { sum }, { pixels }) => {
        const seen = tf.mul<tf.Tensor4D>(pixels, (given as tree.Tree as typeof frozen).factor);
        const loss = tf.mean<tf.Scalar>(victim.logits(seen));
        return { state: { sum: tf.add(tf.mul(sum, 0.75), loss) }, metrics: { loss } };
      };
      return { ...known, step, frozen: frozen as never };
    };
    const recordings = recordingsInMemory();
    const found: number[] = [];
    for (const factor of [0.5, 0.7, 0.5]) {
      const one = of(factor);
      const live = await fitted(one, hostOf());
      const { replayed, ...rest } = await fitted(one, hostOf({ recordings }));
      expect({ ...rest, replayed: 0 }).toEqual(live);
      found.push(replayed);
      tf.dispose(one.frozen as never);
    }
    expect(found).toEqual([0, 0, 20]);
  });

  test('are kept when a fit is killed, and count once when it goes on', async () => {
    const known = spec(() => tf.scalar(1));
    const longer = { ...known, epochs: 4 };
    const live = await fitted(longer, hostOf());
    for (const at of [2, 5, 9]) {
      const recordings = recordingsInMemory();
      const host = hostOf({ recordings, checkpointEvery: 2 });
      await expect(fitted(killedAt(longer, at), host)).rejects.toThrow('killed');
      expect(await fitted(longer, host)).toEqual(live);
      // Nothing of what was taken before is missing.
      expect((await fitted(longer, hostOf({ recordings }))).replayed).toBe(40);
    }
  });

  test('of many steps lie in parts', async () => {
    const known = spec(() => tf.scalar(1));
    const recordings = recordingsInMemory();
    const epochs = Math.ceil((stepsInPart + 10) / 3);
    await fitted({ ...known, epochs }, hostOf({ recordings }));
    // Batches of two sizes are two questions.
    expect(recordings.parts.size).toBe(4);
    expect([...recordings.parts].map(([name]) => name.split(' ')[1]).sort()).toEqual(['0', '0', '1', '1']);
    const live = await fitted({ ...known, epochs });
    const { replayed, ...rest } = await fitted({ ...known, epochs }, hostOf({ recordings }));
    expect({ ...rest, replayed: 0 }).toEqual(live);
    expect(replayed).toBe(rest.queries);
  });
});
