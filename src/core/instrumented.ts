/** Functions of one kind that can be watched while they are called: see `instrumented`. */
export interface Instrumented<F, About> {
  /** The function itself, but for what a watcher makes of it while there is one. */
  of(about: About, f: F): F;
  /** Runs `body`; until it returns, each call of such a function is one of what `around` makes of it. */
  watch<A>(around: (about: About, f: F) => F, body: () => A): A;
}

/**
 * A place at which measurements may look on, such as all passes through nets. Where nobody watches, a function is called as it is.
 *
 * @typeParam About what a watcher is told of a function
 */
export const instrumented = <F extends (...given: never[]) => unknown, About>(): Instrumented<F, About> => {
  let watching: ((about: About, f: F) => F) | undefined;
  return {
    of: (about, f) => ((...given) => (watching?.(about, f) ?? f)(...given)) as F,
    watch: (around, body) => {
      const before = watching;
      watching = around;
      try {
        return body();
      } finally {
        watching = before;
      }
    },
  };
};
