import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { percentage } from '../src/core/text.js';
import { version } from '../src/core/version.js';
import { gitState } from '../src/run/git.js';
import { campaign, closingLine, countOf, measurementsOf, omissionsOf, tableOf, triesOf } from './campaign.js';
import { sorts } from './case.js';

const usage = `npm run chaos -- [--share FRACTION] [--seed N] [--minutes N] [--only KIND[/CASE]] [--jobs N] [--out FILE]

Does to undistill what must do it no harm, in a folder of its own each time, and says what did: something finished that is lost,
an end without a word of its own, or something wrong that was taken in silence. The seed, by default the day, chooses the
share, and the days that follow choose the rest; it also draws what is left to chance. --out writes the table as Markdown.`;

const today = (): number => Math.floor(Date.now() / 86_400_000);

/** Gives the exit code: 1 where there is a defect, or nothing was tried. */
const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      share: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(today()) },
      minutes: { type: 'string' },
      only: { type: 'string' },
      jobs: { type: 'string', default: '2' },
      out: { type: 'string' },
      kinds: { type: 'string', default: fileURLToPath(new URL('kinds.ts', import.meta.url)) },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const number = (name: 'share' | 'seed' | 'minutes' | 'jobs', least: number): number => {
    const value = Number(values[name]);
    if (!(value >= least && Number.isFinite(value))) throw new Error(`--${name}: give a number of at least ${least}`);
    return value;
  };
  const [share, seed] = [number('share', 0), number('seed', 0)];
  const rows = await campaign({
    ...{ share, seed, jobs: number('jobs', 1), kinds: values.kinds, only: values.only, say: console.log },
    minutes: values.minutes === undefined ? undefined : number('minutes', 0),
  });
  const end = closingLine(rows);
  const repeated = `seed ${seed}${share < 1 ? `, ${percentage(share)} of all cases` : ''}`;
  const text = [
    ...[tableOf(rows), ...measurementsOf(rows), ...omissionsOf(rows)],
    `${repeated}: npm run chaos -- --seed ${seed} --share ${share}`,
  ];
  console.log(`\n${[...text, end].join('\n\n')}`);
  if (values.out !== undefined) {
    const { commit } = (await gitState(fileURLToPath(import.meta.url))) ?? { commit: 'no commit' };
    const made = `undistill ${await version()} (${commit}), Node ${process.version}, ${process.platform}, ${cpus()[0]?.model.trim()}, ${cpus().length} cores`;
    await writeFile(values.out, `# Reliability\n\n${about}\n\n${[...text, made, `**${end}**`].join('\n\n')}\n`);
  }
  const isTried = triesOf(rows) > 0;
  if (!isTried) console.log(rows.length === 0 ? 'No case was chosen.' : 'No case was tried.');
  return sorts.some((sort) => countOf(rows, sort) > 0) || !isTried ? 1 : 0;
};

const about = `What \`npm run chaos\` did to undistill, and what became of it. A case survives where numbers, pictures and files are in the end to
the bit what they are without it, or where it is refused in words that say what and where. Otherwise something that was
finished is **lost** or differs, the program is **aborted** (a crash, a raw stack, a hang), or something wrong is taken in
**silence**.

What a run shows in its own folder (\`matrix.json\`, records, pictures) has no checksums: a digit that turns over there is shown until the
experiment is run again, which makes it anew out of the store. A case survives where nothing worse comes of it.`;

process.exitCode = await main();
