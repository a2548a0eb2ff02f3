import { signed } from '../numbers.js';

/** Where the steps of the colours lie, in shares: a difference below the first has none. */
export const steps = [0.0025, 0.01, 0.03, 0.1] as const;

/** The step of a difference: 0 for next to nothing, negative where it is. */
export const stepOf = (difference: number): number => {
  const size = steps.filter((step) => Math.abs(difference) >= step).length;
  return size === 0 ? 0 : Math.sign(difference) * size;
};

/** The class of a step: `d-3`, `d0`, `d2`. */
export const classOf = (difference: number | undefined): string =>
  difference === undefined || !Number.isFinite(difference) ? '' : `d${stepOf(difference)}`;

/** The legend's steps, from the worst to the best. */
export const legend: readonly { readonly step: number; readonly label: string }[] = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map(
  (step) => {
    const from = steps[Math.abs(step) - 1];
    return { step, label: from === undefined ? 'about equal' : signed(Math.sign(step) * from) };
  },
);
