import { showSeconds } from '../core/text.js';
import type { RunEvent } from '../run/scheduler.js';
import { type Terminal, warn } from './terminal.js';

/** A timer of more milliseconds ends at once. */
const longestTimer = 2 ** 31 - 1;

/** An environment variable that holds seconds, as milliseconds; undefined where it holds none. */
export const milliseconds = (variable: string): number | undefined => {
  const seconds = Number(process.env[variable]);
  return seconds > 0 ? Math.min(1000 * seconds, longestTimer) : undefined;
};

/** Milliseconds after which a stage of which nothing was heard is spoken of. */
const silence = 300_000;

/**
 * Does work whose events are told, and says when nothing was heard of a stage for five minutes (or so many seconds as
 * `UNDISTILL_SILENCE` says), and again each time that this has doubled. What to do is left to whoever reads it: a step may
 * be a long one.
 */
export const watching = async <A>(
  out: Terminal,
  tell: (event: RunEvent) => void,
  work: (tell: (event: RunEvent) => void) => Promise<A>,
  limit: number = milliseconds('UNDISTILL_SILENCE') ?? silence,
): Promise<A> => {
  const heard = new Map<string, { readonly at: number; readonly label: string; said: number }>();
  const look = (): void => {
    for (const each of heard.values()) {
      const silent = performance.now() - each.at;
      if (silent < limit || silent < 2 * each.said) continue;
      each.said = silent;
      warn(
        out,
        `${each.label}: no step for ${showSeconds(silent / 1000)}. Its plugin may compute for long, or wait for ever: Ctrl-C stops the run, and what is finished is kept`,
      );
    }
  };
  const timer = setInterval(look, limit / 4);
  try {
    return await work((event) => {
      const { id, label } = event.stage;
      // Another process's stage is not ours to watch, and a line already says that it is waited for.
      if (event.type === 'end' || event.type === 'waiting') heard.delete(id);
      else heard.set(id, { at: performance.now(), label, said: 0 });
      tell(event);
    });
  } finally {
    clearInterval(timer);
  }
};
