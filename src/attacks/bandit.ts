/**
 * The gradient bandit of adaptive Knockoff nets, and what an answer is worth to it; after the adversarial-robustness-toolbox 23539e2c0
 * (knockoff_nets.py:189-398). All of it plain numbers.
 */

/** Preferences for actions, how often each was taken, and the mean reward of all so far. */
export interface Bandit {
  readonly preferences: readonly number[];
  readonly taken: readonly number[];
  readonly mean: number;
}

/** No preference among so many actions. */
export const indifferent = (actions: number): Bandit => ({
  preferences: Array<number>(actions).fill(0),
  taken: Array<number>(actions).fill(0),
  mean: 0,
});

/** How likely each action is: softmax of the preferences. */
export const likelihoods = ({ preferences }: Bandit): readonly number[] => softmax(preferences);

/** e^x / Σ e^x. */
export const softmax = (numbers: readonly number[]): readonly number[] => {
  const most = Math.max(...numbers);
  const weights = numbers.map((each) => Math.exp(each - most));
  const sum = weights.reduce((all, each) => all + each, 0);
  return weights.map((each) => each / sum);
};

/** The action that a uniform number in [0, 1) draws. */
export const drawn = (bandit: Bandit, uniform: number): number => {
  let left = uniform;
  const found = likelihoods(bandit).findIndex((each) => {
    left -= each;
    return left < 0;
  });
  return found === -1 ? bandit.preferences.length - 1 : found;
};

/**
 * After an action and its reward: the preferences move by α (r − r̄) along the gradient of the action's likelihood, where r̄ is the mean
 * with this reward in it, so that the first moves nothing, and α = 1 / how often the action was taken, for all of them.
 */
export const rewarded = (bandit: Bandit, action: number, reward: number): Bandit => {
  const pulls = bandit.taken.reduce((all, each) => all + each, 0) + 1;
  const mean = bandit.mean + (reward - bandit.mean) / pulls;
  const taken = bandit.taken.with(action, (bandit.taken[action] as number) + 1);
  const step = (reward - mean) / (taken[action] as number);
  const likely = likelihoods(bandit);
  const preferences = bandit.preferences.map(
    (each, i) => each + step * ((i === action ? 1 : 0) - (likely[i] as number)),
  );
  return { preferences, taken, mean };
};

export type Reward = 'certainty' | 'diversity' | 'loss' | 'all';

/** What rewards are measured by: the mean answer, and mean and variance of each reward so far. */
export interface Yardstick {
  readonly count: number;
  readonly answer: readonly number[];
  readonly means: readonly number[];
  readonly variances: readonly number[];
}

export const noYardstick = (classes: number): Yardstick => ({
  count: 0,
  answer: Array<number>(classes).fill(0),
  means: [0, 0, 0],
  variances: [0, 0, 0],
});

/**
 * What an answer is worth: how much the largest probability is above the second (`certainty`), Σ max(0, y − ȳ) over the mean ȳ of all
 * answers with this one in it (`diversity`), the cross-entropy of the student's probabilities with it (`loss`), or the mean of
 * the three, each less its mean and over its deviation so far (`all`; the first ones cut to [0, 1], and one that never varied is
 * worth nothing).
 *
 * @param answer the victim's probabilities
 * @param student the student's
 */
export const worth = (
  before: Yardstick,
  answer: readonly number[],
  student: readonly number[],
  reward: Reward,
): { readonly worth: number; readonly after: Yardstick } => {
  const count = before.count + 1;
  const mean = before.answer.map((each, k) => each + ((answer[k] as number) - each) / count);
  const [first = 0, second = 0] = [...answer].sort((a, b) => b - a);
  const certainty = first - second;
  const diversity = answer.reduce((sum, each, k) => sum + Math.max(0, each - (mean[k] as number)), 0);
  const loss = answer.reduce((sum, each, k) => sum - each * Math.log(Math.max(student[k] as number, 1e-7)), 0);
  const each = [certainty, diversity, loss];
  const means = before.means.map((m, i) => m + ((each[i] as number) - m) / count);
  const variances = before.variances.map((v, i) => v + (((each[i] as number) - (means[i] as number)) ** 2 - v) / count);
  const scaled = each.map((value, i) => {
    if (count === 1) return Math.min(1, Math.max(0, value));
    const deviation = Math.sqrt(variances[i] as number);
    return deviation === 0 ? 0 : (value - (means[i] as number)) / deviation;
  });
  const all = scaled.reduce((sum, value) => sum + value, 0) / 3;
  return { worth: { certainty, diversity, loss, all }[reward], after: { count, answer: mean, means, variances } };
};
