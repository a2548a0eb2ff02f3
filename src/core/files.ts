import { stat } from 'node:fs/promises';

/** Whether a path leads to a file; false where there is nothing, or nothing that may be looked at. */
export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
