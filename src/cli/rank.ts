import { join, resolve } from 'node:path';
import { FailureError, failure } from '../core/errors.js';
import { isFile, readText } from '../core/files.js';
import { jsonText } from '../core/text.js';
import { rankingCharts } from '../report/charts/ranking.js';
import { csvOf, svgOf } from '../report/charts/render.js';
import { rankingPage } from '../report/html/ranking.js';
import { inMarkdown } from '../report/markdown.js';
import { rankingLayout } from '../report/ranking.js';
import { inText } from '../report/table.js';
import { checkedBy } from '../results/check.js';
import { merged, rankingOf } from '../results/rank.js';
import type { Ranking } from '../results/ranking.js';
import { writeWhole } from '../run/store.js';
import type { RankFormat } from './choices.js';
import { shown } from './paths.js';
import { chartFiles, decodeRankable, matrixPath } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface RankOptions {
  readonly format: RankFormat;
  readonly out?: string;
  readonly check?: string;
}

/** The files that `--out` writes. */
export const rankingFiles = { json: 'ranking.json', md: 'ranking.md', html: 'ranking.html' } as const;

/** Whether a file is code, such as an experiment's. */
const isModule = (path: string): boolean => /\.[cm]?[jt]sx?$/.test(path);

/** A ranking out of a run, or of a file that holds a matrix or a ranking. */
export const readRanking = async (of: string): Promise<Ranking> => {
  const path = (await isFile(resolve(of))) ? resolve(of) : await matrixPath(of, 'rank');
  if (isModule(path))
    throw new FailureError(
      failure('usage', 'the file is an experiment, and what is ranked is a run of it', {
        where: of,
        remedy: `Run it, undistill run ${of}, and give the name of its run: undistill rank NAME.`,
      }),
    );
  const found = decodeRankable(await readText(path), path);
  return 'runs' in found ? found : rankingOf(found);
};

/**
 * Ranks the defences of runs, beside those of other rankings. `--check` says whether another ranking has the numbers of this one and the
 * scores that they give, and is a failure where it has not.
 */
export const rankCommand = async (
  runs: readonly string[],
  { format, out: folder, check }: RankOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const ranking = merged(await Promise.all(runs.map(readRanking)));
  if (check !== undefined) return checked(ranking, await readRanking(check), out);
  if (folder !== undefined) {
    const place = resolve(folder);
    const write = async (name: string, text: string): Promise<void> => {
      await writeWhole(join(place, name), text);
      out.log(shown(join(place, name)));
    };
    await write(rankingFiles.json, jsonText(ranking));
    await write(rankingFiles.md, inMarkdown(rankingLayout(ranking)));
    await write(rankingFiles.html, await rankingPage(ranking));
    for (const chart of rankingCharts(ranking)) {
      await write(`${chart.name}${chartFiles.endings.svg}`, await svgOf(chart));
      await write(`${chart.name}${chartFiles.endings.data}`, csvOf(chart));
    }
    return 0;
  }
  if (format === 'text') out.log(inText(rankingLayout(ranking), out.width).trimEnd());
  else if (format === 'md') out.print(inMarkdown(rankingLayout(ranking)));
  else if (format === 'html') out.print(await rankingPage(ranking));
  else out.print(jsonText(ranking));
  return 0;
};

/** Says how another ranking compares with one's own. */
const checked = (own: Ranking, other: Ranking, out: Terminal): number => {
  const { same, different, lacking } = checkedBy(own, other);
  for (const each of different) out.log(`${out.paint.bad('✗')} ${each}`);
  out.log(
    [
      `${same} numbers that both have are the same, ${different.length} ${different.length === 1 ? 'thing is' : 'things are'} different`,
      ...(lacking === 0 ? [] : [`${lacking} of its numbers were not made here`]),
      ...(same + different.length === 0 ? ['there is nothing to compare'] : []),
    ]
      .join('; ')
      .concat('.'),
  );
  return different.length > 0 || same === 0 ? 1 : 0;
};
