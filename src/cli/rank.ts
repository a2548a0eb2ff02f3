import { join, resolve } from 'node:path';
import { isFile, readPlain } from '../core/files.js';
import { rankingCharts } from '../report/charts/ranking.js';
import { csvOf, svgOf } from '../report/charts/render.js';
import { rankingPage } from '../report/html/ranking.js';
import { inMarkdown } from '../report/markdown.js';
import { rankingLayout } from '../report/ranking.js';
import { inText } from '../report/table.js';
import { type Ranking, rankingOf, together } from '../results/ranking.js';
import { writeWhole } from '../run/store.js';
import type { RankFormat } from './choices.js';
import { shown } from './paths.js';
import { chartFiles, decodeMatrix, decodeRanking, jsonText, matrixPath } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface RankOptions {
  readonly format: RankFormat;
  readonly out?: string;
  readonly check?: string;
}

/** The files that `--out` writes. */
export const rankingFiles = { json: 'ranking.json', md: 'ranking.md', html: 'ranking.html' } as const;

/** A ranking out of a run, or of a file that holds a matrix or a ranking. */
const readRanking = async (of: string): Promise<Ranking> => {
  const path = (await isFile(resolve(of))) ? resolve(of) : await matrixPath(of, 'rank');
  const text = String(await readPlain(path));
  return /^\s*\{\s*"version":\s*\d+,\s*"runs":/.test(text)
    ? decodeRanking(text, path)
    : rankingOf(decodeMatrix(text, path));
};

/**
 * Ranks the defences of runs, beside those of other rankings. `--check` says whether another ranking has the numbers of this one, and is
 * a failure where it has not.
 */
export const rankCommand = async (
  runs: readonly string[],
  { format, out: folder, check }: RankOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const ranking = together(await Promise.all(runs.map(readRanking)));
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

/** Says of each student of the other ranking whether it has the same accuracy here, seed by seed, as far as it was made here. */
const checked = (own: Ranking, other: Ranking, out: Terminal): number => {
  let [same, different] = [0, 0];
  for (const entry of other.entries) {
    const mine = own.entries.find(
      ({ defense, student, params }) =>
        defense === entry.defense &&
        student === entry.student &&
        JSON.stringify(params) === JSON.stringify(entry.params),
    );
    for (const { attack, ...theirs } of entry.students) {
      const found = mine?.students.find((each) => each.attack === attack);
      for (const numbers of ['accuracy', 'heldOut'] as const)
        for (const [seed, value] of Object.entries(theirs[numbers])) {
          const here = found?.[numbers][seed];
          if (here === undefined) continue;
          if (here === value) same += 1;
          else {
            different += 1;
            const words = numbers === 'accuracy' ? 'accuracy' : 'accuracy on held-out images';
            out.log(
              `${out.paint.bad('✗')} ${attack} on ${entry.defense}, ${entry.student}, seed ${seed}: ${words} ${value}, here ${here}`,
            );
          }
        }
    }
  }
  out.log(
    `${same} numbers of ${same + different} that both have are the same${same + different === 0 ? ': there is nothing to compare' : ''}.`,
  );
  return different > 0 || same === 0 ? 1 : 0;
};
