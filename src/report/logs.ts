/** What a training wrote of an epoch. */
export interface Epoch {
  /** Counted from 0. */
  readonly epoch: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Accuracy on held-out images, 0..1. */
  readonly validation?: number;
}

/** The epochs of one fit of a stage; the fit of the stage's own model has the name ''. */
export interface Log {
  readonly fit: string;
  readonly epochs: readonly Epoch[];
}

/** The values of a text of a JSON value a line. A line that is still being written, or was never finished, is left out. */
export const jsonLines = (text: string, revive?: (name: string, value: unknown) => unknown): readonly unknown[] =>
  text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line, revive)];
    } catch {
      return [];
    }
  });

/** A later epoch is none of a training, and charts would have room for all before it. */
const mostEpochs = 1e6;

const epochOf = (value: unknown): readonly Epoch[] => {
  const { epoch, metrics, validation } = (value ?? {}) as Partial<Epoch>;
  if (!Number.isInteger(epoch) || (epoch as number) < 0 || (epoch as number) > mostEpochs) return [];
  const numbers = Object.entries(metrics ?? {}).filter(([, number]) => typeof number === 'number');
  return [
    {
      epoch: epoch as number,
      metrics: Object.fromEntries(numbers),
      ...(typeof validation === 'number' ? { validation } : {}),
    },
  ];
};

/** The epochs in the text of a fit's log, as far as it has been written. */
export const readLog = (text: string): readonly Epoch[] => jsonLines(text).flatMap(epochOf);
