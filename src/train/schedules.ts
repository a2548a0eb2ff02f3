import * as v from 'valibot';

/** Where training stands. */
export interface Progress {
  /** 0-based, below `epochs`. */
  readonly epoch: number;
  /** Steps taken since the start of training (not of the epoch), 0-based. */
  readonly step: number;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
}

/** The learning rate as a pure function of progress. */
export interface Schedule {
  readonly name: string;
  /** Plain JSON, for a stage's identity. */
  readonly params: Readonly<Record<string, unknown>>;
  /**
   * For a schedule of your own: its module's `import.meta.url`, so that what an older version trained is not reused.
   */
  readonly source?: string;
  /** The same with a fraction of the epochs that it names; absent where it names none. */
  readonly scaled?: (factor: number) => Schedule;
  at(progress: Progress): number;
}

/** An amount of training: so many epochs, or a fraction of them all, which scales when a run is shortened. */
export type Extent = number | { readonly fraction: number };

export interface WarmupOption {
  /** Over this long, n steps, the rate rises linearly: step i (0-based) has (i + 1) / n of it. None by default. */
  readonly warmup?: Extent;
}

/** The same rate throughout, after a warm-up if there is one. */
export const constant = (rate: number, { warmup = 0 }: WarmupOption = {}): Schedule => {
  assertRate('rate', rate);
  assertExtent('warmup', warmup);
  return {
    name: 'constant',
    params: { rate, warmup },
    scaled: (factor) => constant(rate, { warmup: scaledExtent(warmup, factor) }),
    at: (progress) => rate * rise(progress, warmup),
  };
};

/**
 * The rate, multiplied by γ at each milestone.
 *
 * A milestone counts from the first step of the 0-based epoch that reaches it, as in Nasty Teacher's released schedule
 * (VITA-Group/Nasty-Teacher, train_scratch.py): with milestone 80, epoch 80 is the first at the lower rate.
 * `{ fraction: 0.5 }` of 160 epochs is 80, and of 5 epochs 2.5, so that epoch 3 is the first.
 *
 * @param rate ≥ 0
 * @param milestones in any order; one that comes twice counts twice
 */
export const multiStep = ({
  rate,
  milestones,
  gamma,
  warmup = 0,
}: WarmupOption & {
  readonly rate: number;
  readonly milestones: readonly Extent[];
  readonly gamma: number;
}): Schedule => {
  assertRate('rate', rate);
  assertRate('gamma', gamma);
  assertExtent('warmup', warmup);
  for (const milestone of milestones) assertExtent('a milestone', milestone);
  return {
    name: 'multiStep',
    params: { rate, milestones, gamma, warmup },
    scaled: (factor) =>
      multiStep({
        rate,
        milestones: milestones.map((milestone) => scaledExtent(milestone, factor)),
        gamma,
        warmup: scaledExtent(warmup, factor),
      }),
    at: (progress) => {
      const { epoch, epochs } = progress;
      const passed = milestones.filter((milestone) => epoch >= inEpochs(milestone, epochs)).length;
      return rate * gamma ** passed * rise(progress, warmup);
    },
  };
};

/**
 * Half a cosine over the steps that follow the warm-up: from the rate at the first of them towards `floor`, which one
 * step after the last would have.
 *
 * @param rate ≥ 0
 * @param floor ≥ 0
 */
export const cosine = ({
  rate,
  warmup = 0,
  floor = 0,
}: WarmupOption & { readonly rate: number; readonly floor?: number }): Schedule => {
  assertRate('rate', rate);
  assertRate('floor', floor);
  assertExtent('warmup', warmup);
  return {
    name: 'cosine',
    params: { rate, warmup, floor },
    scaled: (factor) => cosine({ rate, warmup: scaledExtent(warmup, factor), floor }),
    at: (progress) => {
      const { step, stepsPerEpoch, epochs } = progress;
      const before = inSteps(warmup, progress);
      if (step < before) return rate * rise(progress, warmup);
      const done = Math.min(1, (step - before) / Math.max(1, stepsPerEpoch * epochs - before));
      return floor + ((rate - floor) * (1 + Math.cos(Math.PI * done))) / 2;
    },
  };
};

/** A schedule for a fraction of the epochs. */
export const scaledSchedule = (schedule: Schedule, factor: number): Schedule => schedule.scaled?.(factor) ?? schedule;

const scaledExtent = (extent: Extent, factor: number): Extent =>
  typeof extent === 'number' ? extent * factor : extent;

const inEpochs = (extent: Extent, epochs: number): number =>
  // A fraction such as 0.29 of 100 is 28.999999999999996 in binary: what is within rounding of an epoch is that epoch.
  typeof extent === 'number' ? extent : Math.round(extent.fraction * epochs * 1e9) / 1e9;

const inSteps = (extent: Extent, { stepsPerEpoch, epochs }: Progress): number =>
  Math.round(inEpochs(extent, epochs) * stepsPerEpoch);

const rise = (progress: Progress, warmup: Extent): number => {
  const steps = inSteps(warmup, progress);
  return progress.step < steps ? (progress.step + 1) / steps : 1;
};

const assertRate = (what: string, rate: number): void => {
  if (!(Number.isFinite(rate) && rate >= 0)) throw new Error(`${what} is a finite number of at least 0, not ${rate}`);
};

const assertExtent = (what: string, extent: Extent): void => {
  if (typeof extent === 'number' && !(Number.isFinite(extent) && extent >= 0))
    throw new Error(`${what} is a number of epochs of at least 0, not ${extent}`);
  if (typeof extent === 'object' && !(extent.fraction >= 0 && extent.fraction <= 1))
    throw new Error(`${what} is a fraction of the epochs in 0 … 1, not ${extent.fraction}`);
};

/** A schedule among a plugin's options. */
export const anySchedule = v.pipe(
  v.custom<Schedule>((value) => typeof (value as Schedule | undefined)?.at === 'function', 'this is no schedule'),
  v.title('a schedule, such as constant(1e-3)'),
);
