/** Where the steps of the colours lie, in shares: a difference below the first has none. */
export const steps = [0.0025, 0.01, 0.03, 0.1] as const;

/** The step of a difference: 0 for next to nothing, negative where it is. */
export const stepOf = (difference: number): number => {
  const size = steps.filter((step) => Math.abs(difference) >= step).length;
  return size === 0 ? 0 : Math.sign(difference) * size;
};

const points = (i: number): number => 100 * (steps[i] as number);

/** The class of a step: `d-3`, `d0`, `d2`. */
export const classOf = (difference: number | undefined): string =>
  difference === undefined || !Number.isFinite(difference) ? '' : `d${stepOf(difference)}`;

/** The legend's steps, from the worst to the best. */
export const legend: readonly { readonly step: number; readonly label: string }[] = [
  ...[...steps.keys()].reverse().map((i) => ({ step: -(i + 1), label: `≤ −${points(i)}` })),
  { step: 0, label: 'equal' },
  ...[...steps.keys()].map((i) => ({ step: i + 1, label: `≥ +${points(i)}` })),
];
