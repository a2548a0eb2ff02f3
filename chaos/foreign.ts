import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { main } from '../src/cli/main.js';
import type { Project, Ran } from '../test/cli/project.js';
import { changed, placesIn, wrong } from '../test/mutations.js';
import { withDetails } from '../test/report/html/details.js';
import { type Case, type Kind, must, type Random } from './case.js';
import { filesBelow, inState, mustHaveEnded } from './runs.js';

/** The command line in this process: many commands in the time of one. */
const command = async (folder: string, ...args: readonly string[]): Promise<Ran> => {
  const before = process.cwd();
  const said: string[] = [];
  const streams = [process.stdout, process.stderr] as const;
  const writes = streams.map((stream) => stream.write);
  process.chdir(folder);
  for (const stream of streams)
    stream.write = ((text: string | Uint8Array, ...rest: readonly unknown[]) => {
      said.push(String(text));
      const done = rest.at(-1);
      if (typeof done === 'function') done();
      return true;
    }) as typeof stream.write;
  try {
    return { code: await main(args), out: said.join(''), err: '' };
  } finally {
    streams.forEach((stream, i) => {
      stream.write = writes[i] as typeof stream.write;
    });
    process.chdir(before);
  }
};

/** What reads a run that somebody sent; `serve` is a kind of its own. */
const readers: readonly (readonly string[])[] = [
  ...(['text', 'md', 'csv', 'json', 'tex'] as const).map((format) => ['matrix', 'tiny', '--format', format]),
  ['matrix', 'tiny', '--undefended', '--metric', 'agreement'],
  ['report', 'tiny'],
  ['images', 'tiny', '--gif'],
  ['images', 'tiny', '--sheet'],
  ['tensorboard', 'tiny'],
  ['charts', 'tiny'],
  ['export', 'tiny', '--stage', 'seed-0/teacher', '--out', 'exported.safetensors'],
  ['compare', 'tiny', 'tiny', '--format', 'html'],
  ['join', 'tiny', 'tiny', '--out', 'runs/joined'],
  ['rank', 'tiny', '--format', 'html'],
  ['rank', 'tiny', '--check', 'tiny'],
  ['logs', 'tiny', 'teacher'],
  ['jobs', 'tiny'],
  ['clean'],
];

/** What reads the stages below a run, and believes of them what their manifests say. */
const takers: readonly (readonly string[])[] = [
  ['diagnose', 'tiny.ts', '--threads', '1'],
  ['export', 'tiny', '--stage', 'seed-0/teacher', '--out', 'exported.safetensors'],
  ['clean'],
];

/** What reads the files of a ranking. */
const rankers: readonly (readonly string[])[] = (['text', 'md', 'html', 'json'] as const).map((format) => [
  ...['rank', 'runs/ranked/ranking.json', '--format', format],
]);

/** The kinds of files of a run that others read, and may have written. */
const files: Readonly<Record<string, RegExp>> = {
  'matrix.json': /^tiny\/matrix\.json$/,
  'plan.json': /^tiny\/plan\.json$/,
  'images.json': /^tiny\/.*images\.json$/,
  'record.json': /^tiny\/.*record\.json$/,
  'metrics.jsonl': /^tiny\/.*metrics\.jsonl$/,
  'ranking.json': /^ranked\/ranking\.json$/,
  "a stage's manifest.json, record.json or result.json": /^\.store\/\w+\/(manifest|record|result)\.json$/,
};

/** A run somebody sent, and its ranking. */
const sent = async (at: Project): Promise<string> => {
  const ran = await command(at.folder, 'rank', 'tiny', '--out', 'runs/ranked');
  if (ran.code !== 0) throw new Error(`rank: ${ran.out}${ran.err}`);
  return join(at.folder, 'runs');
};

const readerOf = (name: string, random: Random): readonly string[] =>
  random.of(name.startsWith('ranked/') ? rankers : name.startsWith('.store/') ? takers : readers);

/** Texts that somebody may have put where a name is. */
const hostile = [
  ...[
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    '../../../../etc/passwd',
    '/etc/passwd',
    'a\0b',
    '\u001b[2J\u001b[31m',
  ],
  ...[
    '\u202egnp.exe',
    '=cmd|calc!A1',
    '\\input{/etc/passwd}',
    '|',
    '`',
    'x'.repeat(100_000),
    '__proto__',
    'constructor',
    '\ud800',
  ],
];

/** How often a file is changed in one case. */
const times = 12;

/** A run's file with something else in one place, read by a command: shown, or refused in words; no text of it becomes a command. */
const other =
  (of: RegExp, values: readonly unknown[], isText: boolean): Case['attempt'] =>
  (random: Random, shared) =>
    inState(shared, 'finished', async (at) => {
      const runs = await sent(at);
      const outside = await readdir(at.folder);
      for (let i = 0; i < times; i++) {
        const name = random.of((await filesBelow(runs)).filter((each) => of.test(each)));
        const path = join(runs, name);
        const text = await readFile(path, 'utf8');
        const lines = name.endsWith('.jsonl') ? text.trimEnd().split('\n') : [text];
        const line = random.below(lines.length);
        const value: unknown = JSON.parse(lines[line] as string);
        const all = placesIn(value);
        const texts = all.filter((place) => typeof valueAt(value, place) === 'string');
        const places = isText && texts.length > 0 ? texts : all;
        const [place, to] = [random.of(places), random.of(values)];
        await writeFile(path, lines.with(line, JSON.stringify(changed(value, place, to)) ?? '').join('\n'));
        const args = readerOf(name, random);
        const ran = await command(at.folder, ...args);
        const what = () =>
          `${name}: ${place.join('.')} is ${String(JSON.stringify(to)).slice(0, 60)}: ${args.join(' ')}`;
        try {
          mustHaveEnded(ran);
        } catch (error) {
          throw Object.assign(error as Error, { message: `${what()}: ${(error as Error).message}` });
        }
        must('silent', !ran.out.includes('\u001b[2J'), () => `${what()}: the terminal is steered`);
        if (ran.code === 0 && (args[0] === 'report' || args.includes('html'))) {
          const page = args[0] === 'report' ? await readFile(join(runs, 'tiny', 'report.html'), 'utf8') : ran.out;
          must(
            'silent',
            !/<script>alert|<img src=x/.test(withDetails(page)),
            () => `${what()}: the page runs what a name says`,
          );
        }
        const made = (await readdir(at.folder)).filter(
          (each) => !outside.includes(each) && each !== 'exported.safetensors',
        );
        must('silent', made.length === 0, () => `${what()}: wrote ${made}`);
        await writeFile(path, text);
      }
      return times;
    });

const valueAt = (value: unknown, place: readonly (string | number)[]): unknown =>
  place.reduce((inner, name) => (inner as Readonly<Record<string | number, unknown>>)[name], value);

const numbered = (name: string, attempt: Case['attempt'], count: number): readonly Case[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${name} (${i + 1})`, attempt }));

/** Files that are no JSON, or of another size or kind than one thinks. */
const broken: readonly Case[] = Object.entries(files).map(([name, of]) => ({
  name: `${name}: no JSON`,
  attempt: (random, shared) =>
    inState(shared, 'finished', async (at) => {
      const runs = await sent(at);
      const texts = [
        '',
        '{',
        'null',
        '[]',
        '5',
        '"x"',
        '{"version":1}',
        '{"version":99}',
        '\0'.repeat(100),
        '['.repeat(100_000),
      ];
      for (const text of texts) {
        const name = random.of((await filesBelow(runs)).filter((each) => of.test(each)));
        const path = join(runs, name);
        const before = await readFile(path);
        await writeFile(path, text);
        mustHaveEnded(await command(at.folder, ...readerOf(name, random)));
        await writeFile(path, before);
      }
      return texts.length;
    }),
}));

/** Runs of somebody else's, as they are sent around. */
export const foreign: Kind = {
  name: 'foreign',
  about: "somebody else's run: other values, hostile names and no JSON in each of its files, read by every command",
  limit: 300,
  takes: 30,
  cases: () => [
    ...Object.entries(files).flatMap(([name, of]) => [
      ...numbered(`${name}: another value`, other(of, wrong, false), 4),
      ...numbered(`${name}: a hostile text`, other(of, hostile, true), 4),
    ]),
    ...broken,
  ],
};
