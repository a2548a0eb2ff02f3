/**
 * Steps between two checkpoints of a stage, unless a run says otherwise. A killed run repeats that many steps at most.
 */
export const checkpointEvery = 200;
