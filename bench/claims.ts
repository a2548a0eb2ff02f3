import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { readRanking } from '../src/cli/rank.js';
import { inMarkdown } from '../src/report/markdown.js';
import { boardsOf } from '../src/results/boards.js';
import { merged } from '../src/results/rank.js';
import { claimsOf } from './verdicts.js';

const usage = `npm run claims -- RANKING… [--out FILE]

What was published of defences, and whether it held: for each claim what is compared, by how much, with 95 % intervals over seeds.
RANKING is what undistill rank takes: a run, a matrix.json or a ranking.json. --out writes Markdown.`;

const main = async (): Promise<number> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { out: { type: 'string' }, help: { type: 'boolean', default: false } },
  });
  if (values.help || positionals.length === 0) {
    console.log(usage);
    return values.help ? 0 : 2;
  }
  const boards = boardsOf(merged(await Promise.all(positionals.map(readRanking))));
  const text = inMarkdown({
    title: 'What was published of defences, and what held here',
    about: '',
    caption: [],
    blocks: claimsOf(boards),
    footnotes: [],
    notes: [
      'Accuracies of students on the reported images, in points of a hundred, paired by seed, with 95 % intervals. A claim is compared where its numbers can be: papers have larger nets and harder data.',
      'held: the mean and its whole interval are as claimed, of three seeds or more; in direction: the mean is; not seen: it is not, and the interval reaches there; did not hold: nor does the interval.',
      'Intervals are over seeds. Where the lowest or the furthest of several is compared, it is that one’s own, which takes no account of the choice; nor do they of how many rows there are.',
      'A passive attacker takes answers as they are told, by distillation at α 0.9 and the temperature of the defence’s paper; the strongest is chosen on held-out images.',
    ],
  });
  if (values.out === undefined) console.log(text);
  else await writeFile(values.out, text);
  return 0;
};

process.exitCode = await main();
