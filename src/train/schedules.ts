import * as v from 'valibot';
import { atLeast, between, choice, positive, share } from '../core/check.js';
import { type Options, option, required } from '../core/options.js';
import { type Argument, define, type Maker, type PluginSpec, pluginOption } from '../core/plugin.js';

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
  /** Its module's `import.meta.url`, so that what an older version trained is not reused. */
  readonly source: string;
  /** The same with a fraction of the epochs that it names; absent where it names none. */
  readonly scaled?: (factor: number) => Schedule;
  at(progress: Progress): number;
}

/** An amount of training: so many epochs, or a fraction of them all, which scales when a run is shortened. */
export type Extent = number | { readonly fraction: number };

const extent: v.GenericSchema<Extent> = v.pipe(
  v.union([atLeast(0), v.strictObject({ fraction: between(0, 1) })]),
  v.title('a number of epochs of at least 0, or { fraction } of them from 0 to 1'),
);

const rate = required(atLeast(0), 'The learning rate');
const warmup = option(
  extent,
  0,
  'Over this long, n steps, the rate rises linearly: step i (0-based) has (i + 1) / n of it',
);

/** A schedule but for what it declares. */
type Body = Pick<Schedule, 'at'>;

/**
 * A schedule declared once: its options, and the rate at each step out of them.
 *
 * ```ts
 * export const halving = defineSchedule({
 *   name: 'halving',
 *   source: import.meta.url,
 *   about: 'Half the rate in each epoch',
 *   options: { rate: required(positive, 'The learning rate of the first epoch') },
 *   positional: 'rate',
 *   make: ({ rate }) => ({ at: ({ epoch }) => rate / 2 ** epoch }),
 * });
 * halving(0.1);
 * ```
 */
export const defineSchedule = <
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>(
  spec: Omit<PluginSpec<Of, Presets, Alone, Body>, 'cosmetic'>,
): Maker<Schedule, Argument<Of, Alone>, Presets> =>
  define('schedule', spec, (identity, body): Schedule => ({ ...identity, ...body }));

/** The same rate throughout, after a warm-up if there is one. */
export const constant = defineSchedule({
  name: 'constant',
  source: import.meta.url,
  about: 'The same rate throughout, after a warm-up if there is one',
  options: { rate, warmup },
  positional: 'rate',
  scaled: ({ warmup }, factor) => ({ warmup: scaledExtent(warmup, factor) }),
  make: ({ rate, warmup }) => ({ at: (progress) => rate * rise(progress, warmup) }),
});

/**
 * The rate, multiplied by γ at each milestone.
 *
 * A milestone counts from the first step of the 0-based epoch that reaches it, as in Nasty Teacher's released schedule
 * (VITA-Group/Nasty-Teacher, train_scratch.py): with milestone 80, epoch 80 is the first at the lower rate.
 * `{ fraction: 0.5 }` of 160 epochs is 80, and of 5 epochs 2.5, so that epoch 3 is the first.
 */
export const multiStep = defineSchedule({
  name: 'multiStep',
  source: import.meta.url,
  about: 'The rate, multiplied by γ at each milestone',
  options: {
    rate,
    milestones: required(
      v.pipe(v.array(extent), v.title('a list of numbers of epochs, or of { fraction } of them')),
      'In any order; one that comes twice counts twice. From the first epoch on (0-based) that reaches it',
    ),
    gamma: required(atLeast(0), 'γ'),
    warmup,
  },
  scaled: ({ milestones, warmup }, factor) => ({
    milestones: milestones.map((milestone) => scaledExtent(milestone, factor)),
    warmup: scaledExtent(warmup, factor),
  }),
  make: ({ rate, milestones, gamma, warmup }) => ({
    at: (progress) => {
      const { epoch, epochs } = progress;
      const passed = milestones.filter((milestone) => epoch >= inEpochs(milestone, epochs)).length;
      return rate * gamma ** passed * rise(progress, warmup);
    },
  }),
});

/**
 * Half a cosine over the steps that follow the warm-up: from the rate at the first of them towards `floor`, which one
 * step after the last would have.
 */
export const cosine = defineSchedule({
  name: 'cosine',
  source: import.meta.url,
  about: 'Half a cosine over the steps after the warm-up, from the rate to the floor',
  options: { rate, warmup, floor: option(atLeast(0), 0, 'The rate that one step after the last would have') },
  positional: 'rate',
  scaled: ({ warmup }, factor) => ({ warmup: scaledExtent(warmup, factor) }),
  make: ({ rate, warmup, floor }) => ({
    at: (progress) => {
      const { step, stepsPerEpoch, epochs } = progress;
      const before = inSteps(warmup, progress);
      if (step < before) return rate * rise(progress, warmup);
      const done = Math.min(1, (step - before) / Math.max(1, stepsPerEpoch * epochs - before));
      return floor + ((rate - floor) * (1 + Math.cos(Math.PI * done))) / 2;
    },
  }),
});

/**
 * Straight lines: over the first part of all steps from `start` times the rate up to the rate, over the rest down to `end` times
 * it. The step that is reached at the peak has the rate itself, and the one after the last would have the end.
 *
 * Source: airbench (KellerJordan/cifar10-airbench), whose lines run from 0.2 to 1 over 23 % of the steps and to 0.07 after them.
 */
export const triangular = defineSchedule({
  name: 'triangular',
  source: import.meta.url,
  about: 'Straight lines: up to the rate over the first part of all steps, and down over the rest',
  options: {
    rate,
    peak: option(share, 0.3, 'The share of all steps after which the rate is reached'),
    start: option(between(0, 1), 0, 'The share of the rate that the first step has'),
    end: option(between(0, 1), 0, 'The share of it that one step after the last would have'),
  },
  positional: 'rate',
  make: ({ rate, peak, start, end }) => ({
    at: ({ step, stepsPerEpoch, epochs }) => {
      const all = stepsPerEpoch * epochs;
      // A whole step is the peak.
      const top = Math.floor(peak * all);
      const part = step < top ? onLine(start, 1, step / top) : onLine(1, end, (step - top) / Math.max(1, all - top));
      return rate * part;
    },
  }),
});

/**
 * PyTorch's OneCycleLR, step by step, without its cycling of momentum: from rate / `divide` up to the rate at the end of the first
 * part, and from there to the first step's rate / `final` at the last step.
 *
 * Source: Smith and Topin, Super-convergence, 2018; `torch.optim.lr_scheduler.OneCycleLR(cycle_momentum=False)`.
 */
export const oneCycle = defineSchedule({
  name: 'oneCycle',
  source: import.meta.url,
  about:
    'Up to the rate over the first part of all steps, and down to nearly nothing, by half cosines or straight lines',
  paper: 'Smith and Topin, Super-convergence, 2018',
  options: {
    rate,
    peak: option(share, 0.3, 'The share of all steps at whose end the rate is reached (pct_start)'),
    divide: option(positive, 25, 'The first step has the rate divided by this (div_factor)'),
    final: option(positive, 1e4, "The last step has the first one's rate divided by this (final_div_factor)"),
    shape: option(
      choice('cosine', 'linear'),
      'cosine',
      'Half a cosine either way, or straight lines (anneal_strategy)',
    ),
  },
  positional: 'rate',
  make: ({ rate, peak, divide, final, shape }) => {
    const along = (from: number, to: number, done: number): number =>
      shape === 'linear' ? onLine(from, to, done) : to + ((from - to) / 2) * (1 + Math.cos(Math.PI * done));
    return {
      at: ({ step, stepsPerEpoch, epochs }) => {
        const all = stepsPerEpoch * epochs;
        const [top, last] = [peak * all - 1, all - 1];
        const first = rate / divide;
        return step <= top
          ? along(first, rate, top === 0 ? 1 : step / top)
          : along(rate, first / final, (Math.min(step, last) - top) / (last - top));
      },
    };
  },
});

/** On the straight line from one rate to another. */
const onLine = (from: number, to: number, done: number): number => from + (to - from) * done;

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

/** A schedule among a plugin's options. */
export const anySchedule = pluginOption<Schedule>(
  (value) => typeof (value as Schedule | undefined)?.at === 'function',
  'this is no schedule',
  'a schedule, such as constant(1e-3)',
);
