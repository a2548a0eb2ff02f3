import { inOneLine, showBytes, showSeconds } from '../../core/text.js';

/** How far a long operation is. */
export interface ProgressState {
  /** What is being done, as a person would say it: `downloading TensorFlow 2.21.0`. */
  readonly label: string;
  /** In the same unit as `total`: bytes for downloads and unpacking. */
  readonly done: number;
  readonly total: number;
  /** Since this label began. */
  readonly seconds: number;
}

/** Told how far an operation is: several times a second at most, and always at its beginning and its end. */
export type Progress = (state: ProgressState) => void;

/** One line: the label, a bar of `width` characters, the size, and the time left once it can be told. */
export const showProgress = ({ label, done, total, seconds }: ProgressState, width = 24): string => {
  const share = total > 0 ? Math.min(done / total, 1) : 0;
  const filled = Math.round(share * width);
  const bar = `${'█'.repeat(filled)}${'░'.repeat(width - filled)}`;
  const size = total > 1e5 ? `${showBytes(done)} of ${showBytes(total)}` : `${Math.round(share * 100)} %`;
  const left =
    share >= 1
      ? `in ${showSeconds(seconds)}`
      : share > 0.005 && seconds > 1
        ? `${showSeconds((seconds * (1 - share)) / share)} left`
        : '';
  return [inOneLine(label).padEnd(30), bar, size, left].filter((part) => part !== '').join('  ');
};

/**
 * A progress that writes to `stream`: one live line for each label on a terminal; elsewhere a plain line when a label
 * begins, ends, and passes each quarter.
 */
export const progressTo = (stream: {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}): Progress => {
  let label = '';
  let quarter = -1;
  return (state) => {
    const ended = state.done >= state.total;
    if (stream.isTTY) {
      const line = showProgress(state).slice(0, Math.max(20, (stream.columns ?? 80) - 1));
      stream.write(`\r\x1b[K${line}${ended ? '\n' : ''}`);
      return;
    }
    const now = state.total > 0 ? Math.floor((4 * state.done) / state.total) : 0;
    if (state.label === label && now <= quarter) return;
    label = state.label;
    quarter = now;
    stream.write(`${showProgress(state, 0).replace(/ {2,}/g, '  ')}\n`);
  };
};

/** Reports `label` from 0 to `total` to `progress`, with the seconds since the first report. */
export const meter = (progress: Progress | undefined, label: string, total: number): ((done: number) => void) => {
  const began = performance.now();
  return (done) =>
    progress?.({ label, done: Math.min(done, total), total, seconds: (performance.now() - began) / 1e3 });
};
