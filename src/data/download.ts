import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FailureError, failure } from '../core/errors.js';
import { makeFolder, sha256Of } from '../core/files.js';
import { showHolder, withLock } from '../core/lock.js';
import { counted } from '../core/text.js';

export interface DownloadOptions {
  readonly url: string;
  /** Where the file goes. It is there whole and checked, or not at all. */
  readonly path: string;
  /** In hexadecimal. */
  readonly sha256: string;
  /** Bytes that it has. A server that sends more is not listened to. */
  readonly size: number;
  /** What to do instead, where there is no network. */
  readonly remedy: string;
  /** Told, in a sentence, that another process downloads it, and is waited for. */
  readonly say?: (line: string) => void;
  /** Bytes so far and in all; called for every piece. */
  readonly onProgress?: (done: number, total: number) => void;
}

const fail = (what: string, where: string, remedy: string): never => {
  throw new FailureError(failure('data', what, { where, remedy }));
};

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );

/** Whoever put a file there keeps it, whatever it is. */
const checkThere = async ({ path, sha256, url }: DownloadOptions): Promise<void> => {
  const found = await sha256Of(path);
  if (found === sha256) return;
  const remedy = `Delete it and run again, to have that of ${url}; one of your own is passed with \`--data PATH\`.`;
  fail(`the file that is there already has the SHA-256 ${found}, and not ${sha256}`, path, remedy);
};

/** What keeps a connection from being made, or breaks it, in a few words. */
const networkFault = (thrown: unknown): string => {
  const { cause, message } = thrown as {
    readonly cause?: { readonly code?: string; readonly message?: string };
    message: string;
  };
  return cause?.code ?? cause?.message ?? message;
};

/** Asks for a file from byte `from` on. */
const request = async (url: string, from: number, remedy: string): Promise<Response> => {
  const headers = from > 0 ? { range: `bytes=${from}-` } : {};
  try {
    return await fetch(url, { headers });
  } catch (thrown) {
    return fail(`the server cannot be reached (${networkFault(thrown)})`, url, remedy);
  }
};

/** The rest of a file to what there is of it in `part`; all of it where the server knows of no rest. */
const fetchInto = async (part: string, { url, size, remedy, onProgress }: DownloadOptions): Promise<void> => {
  const left = await sizeOf(part);
  // What is longer than the file is a part of something else.
  if (left > size) await rm(part);
  const from = left > size ? 0 : left;
  if (from === size) return;
  const response = await request(url, from, remedy);
  // There is no rest: the part is whole, or of something else, as the checksum will tell.
  if (response.status === 416) return;
  if (!response.ok || response.body === null) {
    fail(`the server answers ${response.status} ${response.statusText}`.trim(), url, remedy);
  }
  const resumed = response.status === 206;
  const length = Number(response.headers.get('content-length') ?? 0);
  let done = resumed ? from : 0;
  const total = done + length;
  const refuseLarger = async (found: number): Promise<void> => {
    if (found <= size) return;
    await rm(part, { force: true });
    fail(
      `the server sends more than the ${counted(size, 'byte')} that this file has; nothing of it was kept`,
      url,
      remedy,
    );
  };
  if (total > size) await response.body?.cancel();
  await refuseLarger(total);
  const file = await open(part, resumed ? 'a' : 'w');
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      await refuseLarger(done + chunk.length);
      await file.writeFile(chunk);
      done += chunk.length;
      onProgress?.(done, total);
    }
  } catch (thrown) {
    if (thrown instanceof FailureError) throw thrown;
    if ((thrown as NodeJS.ErrnoException).code === 'ENOSPC') {
      fail('the disk is full', part, 'Make room, and run again: what was downloaded is kept.');
    }
    fail(`the connection broke (${networkFault(thrown)})`, url, 'Run again: what was downloaded is kept.');
  } finally {
    await file.close();
  }
  if (done < total) fail('the connection broke early', url, 'Run again: what was downloaded is kept.');
};

/**
 * Downloads a file, going on where an earlier attempt stopped, and checks it before it gets its name. Says whether there was
 * anything to do. Rejects with a failure of kind `data`: no network, a server that has no such file, a wrong checksum, also
 * of a file that was there already.
 */
export const download = async (options: DownloadOptions): Promise<boolean> => {
  const { path, sha256, url, remedy, say } = options;
  const folder = dirname(path);
  await makeFolder(folder).catch((error: NodeJS.ErrnoException) =>
    fail(`the folder cannot be made (${error.code})`, folder, 'Set XDG_DATA_HOME to a folder that can be written.'),
  );
  const load = async (): Promise<boolean> => {
    if ((await sizeOf(path)) > 0) {
      await checkThere(options);
      return false;
    }
    const part = `${path}.part`;
    await fetchInto(part, options);
    const found = await sha256Of(part);
    if (found !== sha256) {
      await rm(part, { force: true });
      fail(
        `the file that came has the SHA-256 ${found}, and not ${sha256}; it was deleted`,
        url,
        `Run again. ${remedy}`,
      );
    }
    await rename(part, path);
    return true;
  };
  return withLock(`${path}.lock`, load, {
    onWait: (holder) => say?.(`It is being downloaded. Waiting for ${showHolder(holder)}.`),
  });
};
