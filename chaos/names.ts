import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tiny } from '../test/cli/project.js';
import { type Case, type Kind, must } from './case.js';
import { command, inPlace, mustBeWhole, mustHaveEnded, patience, run } from './runs.js';

/** Names that file systems, terminals, pages and tables mind, a few in each experiment. */
const names: Readonly<Record<string, readonly string[]>> = {
  paths: ['../../out', '/tmp/out', '..', '.', 'a/b', 'a\\b', 'C:\\out', '~', 'CON', 'a:b'],
  pages: ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '&amp;', '{{x}}', "it's", '</style>'],
  tables: ['=cmd|x!A1', 'a,b', 'a|b', 'a"b', '\\input{x}', '$x$', '+1', '-1', '@x'],
  texts: [
    'a'.repeat(300),
    '日本語',
    '👩‍👩‍👧',
    'e\u0301',
    '\u00e9',
    'İ',
    '__proto__',
    'constructor',
    'toString',
    'null',
    '0',
  ],
};

/** Names with which a terminal or an editor is steered: they are refused. */
const steering = ['\u001b[2J\u001b[31mred', '\u0007', 'a\rb', 'a\nb', '\u202egnp'];

const experimentWith = (some: readonly string[]): string =>
  tiny({ defenses: 'none()', attacks: some.map((label) => `kd({ label: ${JSON.stringify(label)} })`).join(', ') });

const refused =
  (label: string): Case['attempt'] =>
  () =>
    inPlace(
      async (at) => {
        const ran = await command(at, 'plan', 'tiny.ts', '--no-time');
        mustHaveEnded(ran);
        const said = ran.out + ran.err;
        must(
          'silent',
          ran.code === 1 && said.includes('the label'),
          () => `it is not refused: ${JSON.stringify(said)}`,
        );
        must('silent', !said.includes(label), () => `the refusal has the very characters: ${JSON.stringify(said)}`);
      },
      experimentWith([label]),
    );

const named =
  (some: readonly string[]): Case['attempt'] =>
  () =>
    inPlace(async (at) => {
      const before = await readdir(at.folder);
      const ran = await run(at);
      mustHaveEnded(ran);
      const made = (await readdir(at.folder)).filter((each) => !before.includes(each) && each !== 'runs');
      must('silent', made.length === 0, () => `it wrote outside of its folder: ${made}`);
      mustBeWhole(ran);
      const { attacks, cells } = await at.matrix('runs/tiny');
      const labels = attacks.map(({ label }) => label);
      must(
        'lost',
        some.every((each) => labels.includes(each)),
        () => `of ${JSON.stringify(some)} there are ${JSON.stringify(labels)}`,
      );
      must(
        'lost',
        cells.every(({ status }) => status === 'done'),
        () => 'a cell is not done',
      );
      const page = await readFile(join(at.folder, 'runs/tiny/report.html'), 'utf8');
      must('silent', !/<script>alert|<img src=x/.test(page), () => 'the page runs what a name says');
      return some.length;
    }, experimentWith(some));

/** What people may call things. */
export const labels: Kind = {
  name: 'names',
  about: 'names that file systems, terminals, pages and tables mind',
  limit: (2 * patience) / 1000,
  takes: 30,
  cases: () => [
    ...Object.entries(names).map(([name, some]) => ({ name, attempt: named(some) })),
    ...steering.map((name) => ({ name: JSON.stringify(name), attempt: refused(name) })),
  ],
};
