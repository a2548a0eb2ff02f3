import { attempt, orThrow } from '../core/errors.js';
import { download } from '../data/download.js';
import {
  type PublishedFile,
  type PublishedName,
  published,
  publishedFolder,
  publishedPath,
} from '../data/published.js';
import { meter, progressTo } from '../engine/setup/progress.js';
import { standardError } from './output.js';
import { type Terminal, terminal } from './terminal.js';

/** Brings a data set from where it is published. `from`: the address of a folder that has the same files. */
export const getCommand = async (
  name: PublishedName,
  { from }: { readonly from?: string },
  out: Terminal = terminal(),
): Promise<number> => {
  const { files } = published[name];
  const urls = files.map(({ url }) => url).join(', ');
  const remedy = `Download it yourself from ${urls} and pass it with \`--data PATH\`, or put it into ${publishedFolder(name)}.`;
  const progress = progressTo(standardError);
  const get = async (file: PublishedFile): Promise<boolean> => {
    const path = publishedPath(name, file);
    const own = file.url.slice(file.url.lastIndexOf('/') + 1);
    const url = from === undefined ? file.url : `${from.replace(/\/$/, '')}/${own}`;
    let report: ReturnType<typeof meter> | undefined;
    const onProgress = (done: number, total: number): void => {
      report ??= meter(progress, `downloading ${own}`, total);
      report(done);
    };
    return orThrow(
      attempt('data', () => download({ ...file, url, path, remedy, onProgress, say: (line) => out.log(line) }), url),
    );
  };
  let fresh = false;
  for (const file of files) fresh = (await get(file)) || fresh;
  out.log(`${fresh ? 'Ready' : 'It is there already'}: ${publishedFolder(name)}`);
  return 0;
};
