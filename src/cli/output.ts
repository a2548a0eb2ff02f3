import type { WriteStream } from 'node:tty';
import { failure, showFailure } from '../core/errors.js';

/** What text can be written to, a terminal or not. */
export type Stream = { write(text: string): unknown } & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;

/** A stream of this process's. Where it cannot be written, `fail` is told of it once, and what is at work goes on. */
const sturdy = (of: () => WriteStream, fail: (error: NodeJS.ErrnoException) => void): Stream => {
  let failed = false;
  const onError = (error: NodeJS.ErrnoException): void => {
    if (failed) return;
    failed = true;
    fail(error);
  };
  let listening = false;
  return {
    get isTTY() {
      return of().isTTY;
    },
    get columns() {
      return of().columns;
    },
    write: (text) => {
      if (failed) return;
      const stream = of();
      if (!listening) stream.on('error', onError);
      listening = true;
      try {
        stream.write(text);
      } catch (error) {
        // Some versions of Node throw where others tell.
        onError(error as NodeJS.ErrnoException);
      }
    },
  };
};

/** Standard error. There is nobody to be told that it cannot be written. */
export const standardError = sturdy(
  () => process.stderr,
  () => undefined,
);

let lost = false;

/** Standard output. Whoever reads it may stop reading (`| head`), and of that nothing is said. */
export const standardOutput = sturdy(
  () => process.stdout,
  ({ code, message }) => {
    if (code === 'EPIPE') return;
    lost = true;
    const remedy = 'What is said from here on is lost. Free some space, or send the output elsewhere.';
    standardError.write(`${showFailure(failure('store', message, { where: 'standard output', remedy }))}\n`);
  },
);

/** Whether something of the output was lost, other than by a reader who wanted no more of it. */
export const outputLost = async (): Promise<boolean> => {
  // Of what was written last a stream tells later.
  await new Promise(setImmediate);
  return lost;
};
