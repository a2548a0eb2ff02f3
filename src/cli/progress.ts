import { counted, showSeconds } from '../core/text.js';
import type { Plan } from '../experiment/plan.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { isOfTheModel } from '../run/context.js';
import type { Outcome } from '../run/record.js';
import type { RunEvent } from '../run/scheduler.js';
import type { FitProgress } from '../train/fit.js';
import type { EpochRecord } from '../train/fit-log.js';
import { type Terminal, warn } from './terminal.js';

/** Milliseconds between two plain lines of one stage within an epoch, and between two epochs' lines. */
const quiet = { step: 30_000, epoch: 2_000 };

const shownMetric = ([name, value]: readonly [string, number]): string =>
  name === 'accuracy' ? `accuracy ${(100 * value).toFixed(1)} %` : `${name} ${value.toPrecision(4)}`;

/** What everybody looks at before the terms of a loss: a narrow terminal cuts a line at its end. */
const inOrder = (metrics: Readonly<Record<string, number>>) => {
  const all = Object.entries(metrics);
  const isMain = ([name]: readonly [string, number]): boolean => name === 'loss' || name === 'accuracy';
  return { main: all.filter(isMain).map(shownMetric), terms: all.filter((each) => !isMain(each)).map(shownMetric) };
};

/** `epoch 2/3  12 s left  loss 0.1234  accuracy 96.1 %  5,210 images/s  kl 0.0311` */
export const progressLine = ({ epoch, epochs, metrics, imagesPerSecond, secondsLeft }: FitProgress): string => {
  const { main, terms } = inOrder(metrics);
  const speed = `${Math.round(imagesPerSecond).toLocaleString('en')} images/s`;
  return [`epoch ${epoch + 1}/${epochs}`, `${showSeconds(secondsLeft)} left`, ...main, speed, ...terms].join('  ');
};

/** `epoch 2/3  loss 0.1234  accuracy 96.1 %  held out 95.8 %  kl 0.0311` */
export const epochLine = ({ epoch, metrics, validation }: EpochRecord, epochs: number): string => {
  const { main, terms } = inOrder(metrics);
  const heldOut = validation === undefined ? [] : [`held out ${(100 * validation).toFixed(1)} %`];
  return [`epoch ${epoch + 1}/${epochs}`, ...main, ...heldOut, ...terms].join('  ');
};

const endLine = (stage: Stage, outcome: Outcome, where: string, { paint }: Terminal): string | undefined => {
  switch (outcome.status) {
    case 'cached':
      return undefined;
    case 'done': {
      if (!takesLong(stage.work)) return undefined;
      const last = outcome.record.training?.history.at(-1);
      const epochs = last === undefined ? '' : `  ${epochLine(last, last.epoch + 1)}`;
      return `${paint.good('✓')} ${stage.label}${where}  ${showSeconds(outcome.record.seconds)}${epochs}`;
    }
    case 'failed':
      if (outcome.failure.kind === 'interrupted') return undefined;
      return `${paint.bad('✗')} ${stage.label}${where}: ${outcome.failure.what}`;
    case 'skipped':
      return takesLong(stage.work)
        ? `${paint.faint('-')} ${stage.label}: left out, because ${outcome.because} failed`
        : undefined;
  }
};

/** Less of a run tells nothing of its pace: seconds as they are expected, or a share of all that is. */
const telling = { seconds: 30, share: 0.02 };

/** `12 of 64 cells, about 8 min left`: what is done of a run as a whole, as its stages go on and end. */
const wholeOf = ({ stages, cells }: Plan, seconds: (stage: Stage) => number | undefined) => {
  const began = performance.now();
  const weights = new Map(stages.map((stage) => [stage.id, seconds(stage) ?? (takesLong(stage.work) ? 1 : 0)]));
  const measures = cells.flatMap(({ stages: own }) => own?.measure ?? []);
  const chosen = new Set(stages.map(({ id }) => id));
  const of = measures.filter((id) => chosen.has(id)).length;
  const left = new Map(weights);
  const all = [...weights.values()].reduce((sum, each) => sum + each, 0);
  const ended = new Set<string>();
  let made = 0;
  /** What is left of a stage, as a share of it. */
  const at = (id: string, share: number): void => {
    const weight = weights.get(id) ?? 0;
    made += (left.get(id) ?? 0) - share * weight;
    left.set(id, share * weight);
  };
  return {
    progress: (id: string, { step, steps }: FitProgress): void => {
      // Of several fits it is not known which share each is.
      at(id, Math.min((left.get(id) ?? 0) / (weights.get(id) || 1), 1 - step / Math.max(1, steps)));
    },
    end: (id: string, status: Outcome['status']): void => {
      ended.add(id);
      if (status === 'done') at(id, 0);
      else left.set(id, 0);
    },
    line: (): string => {
      const done = measures.filter((id) => ended.has(id)).length;
      const rest = [...left.values()].reduce((sum, each) => sum + each, 0);
      const elapsed = (performance.now() - began) / 1000;
      const isTold = made > 0 && made >= Math.min(telling.seconds, telling.share * all);
      const time = !isTold || rest === 0 ? '' : `, about ${showSeconds((rest * elapsed) / made)} left`;
      return `${done} of ${counted(of, 'cell')}${time}`;
    },
  };
};

/** Milliseconds between two lines of the whole. */
const wholeEvery = { live: 250, plain: 60_000 };

/**
 * Tells a run's events on a terminal: live lines where there can be, else plain ones.
 *
 * @param isFollowed stages are made on other machines: they begin where they say so
 */
export const progressReporter = (
  out: Terminal,
  plan: Plan,
  seconds: (stage: Stage) => number | undefined = () => undefined,
  isFollowed = false,
): ((event: RunEvent) => void) => {
  const whole = wholeOf(plan, seconds);
  let toldWhole = performance.now();
  const tellWhole = (): void => {
    if (performance.now() - toldWhole < (out.live ? wholeEvery.live : wholeEvery.plain)) return;
    toldWhole = performance.now();
    const line = `  ${whole.line()}`;
    if (out.live) out.foot(line);
    else out.log(line);
  };
  const of = plan.stages.filter(({ work }) => takesLong(work)).length;
  const saidAt = new Map<string, number>();
  /** The machine of each stage that is made on another one. */
  const places = new Map<string, string>();
  const where = ({ id }: Stage): string => (places.has(id) ? `  ${places.get(id)}` : '');
  const fitting = (stage: Stage, fit: string): string =>
    `${isOfTheModel(fit) ? stage.label : `${stage.label} ${fit}`}${where(stage)}`;
  /** Trainings that were there, and how many of them are said. */
  let [kept, said] = [0, 0];
  let number = 0;
  const say = (stage: Stage, line: string): void => {
    saidAt.set(stage.id, performance.now());
    out.log(line);
  };
  const since = (stage: Stage): number => performance.now() - (saidAt.get(stage.id) ?? 0);
  /** Many stages may be there already: they are counted, and said in one line before the next that is not. */
  const sayKept = (): void => {
    if (kept > said) out.log(out.paint.faint(`  ${kept} of ${of} trainings are there from before`));
    said = kept;
  };

  return (event) => {
    const { stage } = event;
    switch (event.type) {
      case 'start':
        // What is over in a moment is not worth a line, unless it fails.
        if (!takesLong(stage.work)) break;
        sayKept();
        number += 1;
        if (out.live) out.update(stage.id, `  ${stage.label}`);
        else if (!isFollowed) say(stage, `  ${stage.label}: begins (${number} of ${of})`);
        break;
      case 'waiting':
        if (out.live) out.update(stage.id, `  ${stage.label}: another process is at it`);
        say(stage, `  ${stage.label}: waiting for ${event.holder}`);
        break;
      case 'stage':
        if (event.event.type === 'warning') {
          warn(out, `${stage.label}: ${event.event.message}`);
        } else if (event.event.type === 'place') {
          places.set(stage.id, event.event.node);
          if (out.live) out.update(stage.id, `  ${stage.label}${where(stage)}`);
          else say(stage, `  ${stage.label}: begins on ${event.event.node}`);
        } else if (event.event.type === 'queued') {
          if (out.live) out.update(stage.id, `  ${stage.label}  waits: ${event.event.reason}`);
          else say(stage, `  ${stage.label}: waits: ${event.event.reason}`);
        } else if (event.event.type === 'note') {
          say(stage, `  ${stage.label}: ${event.event.message}`);
        } else if (event.event.type === 'progress') {
          whole.progress(stage.id, event.event.progress);
          const line = `  ${fitting(stage, event.event.fit)}  ${progressLine(event.event.progress)}`;
          if (out.live) out.update(stage.id, line);
          else if (since(stage) > quiet.step) say(stage, line);
        } else if (
          event.event.type === 'epoch' &&
          !out.live &&
          event.event.record.epoch + 1 < event.event.epochs &&
          since(stage) > quiet.epoch
        ) {
          // The last epoch's numbers come with the line that ends the stage.
          say(stage, `  ${fitting(stage, event.event.fit)}  ${epochLine(event.event.record, event.event.epochs)}`);
        }
        break;
      case 'end': {
        out.update(stage.id, undefined);
        if (event.outcome.status === 'cached' && takesLong(stage.work)) {
          kept += 1;
          number += 1;
        }
        const line = endLine(stage, event.outcome, where(stage), out);
        if (line !== undefined) out.log(line);
        if (event.ended === event.of) sayKept();
        whole.end(stage.id, event.outcome.status);
        if (event.ended === event.of) out.foot(undefined);
      }
    }
    if (event.type !== 'end' || event.ended < event.of) tellWhole();
  };
};
