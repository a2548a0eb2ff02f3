import { dirname } from 'node:path';
import { attempt, orThrow } from '../core/errors.js';
import { download } from '../data/download.js';
import { type PublishedName, published, publishedPath } from '../data/published.js';
import { meter, progressTo } from '../engine/progress.js';
import { type Terminal, terminal } from './terminal.js';

/** Brings a data set from where it is published. `from`: another place that has the same file. */
export const getCommand = async (
  name: PublishedName,
  { from }: { readonly from?: string },
  out: Terminal = terminal(),
): Promise<number> => {
  const { url, md5 } = published[name];
  const path = publishedPath(name);
  const progress = progressTo(process.stderr);
  let report: ReturnType<typeof meter> | undefined;
  const onProgress = (done: number, total: number): void => {
    report ??= meter(progress, `downloading ${name}`, total);
    report(done);
  };
  const remedy = `Download it yourself from ${url} and pass it with \`--data PATH\`, or put it into ${dirname(path)}.`;
  const fresh = await orThrow(
    attempt('data', () => download({ url: from ?? url, path, md5, remedy, onProgress }), url),
  );
  out.log(`${fresh ? 'Ready' : 'It is there already'}: ${path}`);
  return 0;
};
