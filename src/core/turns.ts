/** Milliseconds for which nobody else waits. */
const patience = 50;

/**
 * Gives others their turn, where work has held the event loop for a while: a native call blocks it, and signals, timers and the heartbeat of
 * locks wait meanwhile. To be awaited between the parts of the work.
 */
export const turns = (): (() => Promise<void>) => {
  let given = performance.now();
  return async () => {
    if (performance.now() - given <= patience) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    given = performance.now();
  };
};
