/** How steps run: operation by operation, as one graph, or as one graph that XLA compiles. */
export const executions = ['eager', 'graph', 'xla'] as const;
export type Execution = (typeof executions)[number];

/**
 * How a graphics card multiplies float32: as TF32, with ten bits after the point, or strictly as float32, several times
 * slower. A processor always does the latter.
 */
export const cardPrecisions = ['tf32', 'float32'] as const;
export type CardPrecision = (typeof cardPrecisions)[number];

/** Beyond so many threads, or processes, TensorFlow or the system ends the process without a word. */
export const mostThreads = 512;
