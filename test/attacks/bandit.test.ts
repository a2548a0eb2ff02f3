import { describe, expect, test } from 'vitest';
import { drawn, indifferent, likelihoods, noYardstick, rewarded, worth } from '../../src/attacks/bandit.js';

const t1 = [0.843795, 0.114195, 0.04201];
const t2 = [0.253716, 0.689672, 0.056612];
const s1 = [0.546549, 0.331499, 0.121952];

const close = (found: readonly number[], expected: readonly number[]) => {
  expect(found.length).toBe(expected.length);
  for (const [i, each] of found.entries()) expect(each).toBeCloseTo(expected[i] as number, 5);
};

describe('the bandit', () => {
  test('has the worked numbers', () => {
    const first = rewarded(indifferent(3), 0, 0.4);
    close(first.preferences, [0, 0, 0]);
    const second = rewarded(first, 1, 0.9);
    expect(second.mean).toBeCloseTo(0.65, 10);
    close(second.preferences, [-0.083333, 0.166667, -0.083333]);
    close(likelihoods(second), [0.304504, 0.390991, 0.304504]);
    const third = rewarded(second, 0, 0.1);
    expect(third.mean).toBeCloseTo(0.466667, 6);
    close(third.preferences, [-0.210841, 0.238348, -0.027508]);
    close(likelihoods(third), [0.265375, 0.415853, 0.318772]);
  });

  test('draws by its likelihoods, whatever the preferences are', () => {
    const bandit = { ...indifferent(3), preferences: [1000, 1000, -1000] };
    close(likelihoods(bandit), [0.5, 0.5, 0]);
    expect([0, 0.49, 0.51, 0.9999999999].map((uniform) => drawn(bandit, uniform))).toEqual([0, 0, 1, 1]);
    expect(drawn(indifferent(3), 1 - 2 ** -53)).toBe(2);
  });
});

describe('what an answer is worth', () => {
  const twice = (reward: 'certainty' | 'diversity' | 'loss') => {
    const first = worth(noYardstick(3), t1, s1, reward);
    return [first.worth, worth(first.after, t2, s1, reward).worth];
  };

  test('has the worked numbers', () => {
    expect(twice('certainty')[0]).toBeCloseTo(0.7296, 5);
    close(twice('diversity'), [0, 0.295039]);
    expect(twice('loss')[0]).toBeCloseTo(0.724243, 5);
  });

  test('of all three: at first what they are, then by how far they are from their means', () => {
    const first = worth(noYardstick(3), t1, s1, 'all');
    expect(first.worth).toBeCloseTo((0.7296 + 0 + 0.724243) / 3, 5);
    const again = worth(first.after, t1, s1, 'all');
    // Nothing varied so far.
    expect(again.worth).toBe(0);
    // Of two the mean is half way, and the deviation of what varied is 1 / √2 of how far the second is from it: certainty falls, the others rise.
    expect(worth(first.after, t2, s1, 'all').worth).toBeCloseTo((-Math.SQRT2 + Math.SQRT2 + Math.SQRT2) / 3, 6);
  });

  test('of a student that rules out what the victim says is finite', () => {
    expect(worth(noYardstick(3), [1, 0, 0], [0, 1, 0], 'loss').worth).toBeCloseTo(-Math.log(1e-7), 6);
  });
});
