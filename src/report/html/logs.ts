/** What a training wrote of an epoch. */
export interface Epoch {
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

const epochOf = (line: string): Epoch | undefined => {
  try {
    const { epoch, metrics, validation } = JSON.parse(line) as Partial<Epoch>;
    if (typeof epoch !== 'number') return undefined;
    const numbers = Object.entries(metrics ?? {}).filter(([, value]) => typeof value === 'number');
    return {
      epoch,
      metrics: Object.fromEntries(numbers),
      ...(typeof validation === 'number' ? { validation } : {}),
    };
  } catch {
    // A line that is still being written.
    return undefined;
  }
};

/** The epochs in the text of a `metrics.jsonl`, as far as it has been written. */
export const readLog = (text: string): readonly Epoch[] => text.split('\n').flatMap((line) => epochOf(line) ?? []);
