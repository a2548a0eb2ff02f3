/**
 * Steps between two checkpoints of a stage, unless a run says otherwise. A killed run repeats that many steps at most.
 */
export const checkpointEvery = 200;

/** Bytes that recorded answers of victims may take in a store, unless a run says otherwise. */
export const answers = 4e9;
