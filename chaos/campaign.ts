import { type ChildProcess, fork } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { key, permutation } from '../src/core/random.js';
import { counted, showSeconds } from '../src/core/text.js';
import { type Kind, type Sort, shareOf, sorts } from './case.js';

/** What became of a case. */
export type Fate =
  | { readonly status: 'survived'; readonly tries: number; readonly measured?: string }
  /** This machine cannot try it, or there was no time left. */
  | { readonly status: 'left out'; readonly why: string }
  | { readonly status: Sort; readonly why: string };

/** What a process that makes cases is told. */
export interface Order {
  readonly kind: string;
  readonly name: string;
  readonly seed: number;
  /** A folder of this case alone, and one that all share. */
  readonly folder: string;
  readonly shared: string;
}

export interface CampaignOptions {
  /** The module whose `kinds` are tried. */
  readonly kinds: string;
  readonly share: number;
  readonly seed: number;
  /** `kills`, or one case of them: `kills/main: before rename, at 1 of 4`. */
  readonly only?: string | undefined;
  /** After so many no case is begun. */
  readonly minutes?: number | undefined;
  /** Cases at once. */
  readonly jobs: number;
  readonly say: (line: string) => void;
}

/** What became of the cases of a kind. */
export interface Row {
  readonly kind: Kind;
  readonly fates: readonly Fate[];
  readonly seconds: number;
}

interface Task {
  readonly kind: Kind;
  readonly name: string;
}

/** The cases that are tried, in an order of the seed: a limit of time hits all kinds alike. */
export const chosen = (kinds: readonly Kind[], { share, seed, only }: Omit<CampaignOptions, 'kinds'>): Task[] => {
  const all = kinds.flatMap((kind) => {
    const cases = kind
      .cases()
      .filter(({ name }) => only === undefined || [kind.name, `${kind.name}/${name}`].includes(only));
    return shareOf(cases, only?.includes('/') ? 1 : share, seed).map(({ name }): Task => ({ kind, name }));
  });
  return Array.from(permutation(key(`chaos/${seed}`), all.length), (at) => all[at] as Task);
};

/** Tries a share of all cases, a few at once, each kind in its limit of time; says each defect as it is found. */
export const campaign = async (options: CampaignOptions): Promise<readonly Row[]> => {
  const { kinds }: { readonly kinds: readonly Kind[] } = await import(pathToFileURL(options.kinds).href);
  const tasks = chosen(kinds, options);
  const end = options.minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + 60_000 * options.minutes;
  const left = () => (end - performance.now()) / 1000;
  const ended: { readonly task: Task; readonly fate: Fate; readonly seconds: number }[] = [];
  const [started, count] = [performance.now(), tasks.length];
  const folder = await mkdtemp(join(tmpdir(), 'undistill-chaos-'));
  const shared = join(folder, 'shared');
  await mkdir(shared);
  const worker = async (i: number): Promise<void> => {
    const host = hostIn(options.kinds);
    for (;;) {
      const task = tasks.shift();
      if (task === undefined) return host.close();
      const began = performance.now();
      const own = join(folder, String(i));
      await mkdir(own);
      const order: Order = { kind: task.kind.name, name: task.name, seed: options.seed, folder: own, shared };
      const fate: Fate =
        left() < task.kind.takes
          ? { status: 'left out', why: 'no time was left for it' }
          : await host.attempt(order, task.kind.limit);
      ended.push({ task, fate, seconds: (performance.now() - began) / 1000 });
      if (isDefect(fate)) options.say(defectLine(task, fate, options));
      if (ended.length % 100 === 0)
        options.say(
          `${ended.length} of ${counted(count, 'case')}, ${showSeconds((performance.now() - started) / 1000)} so far`,
        );
      await rm(own, { recursive: true, force: true, maxRetries: 5 });
    }
  };
  try {
    await Promise.all(Array.from({ length: options.jobs }, (_, i) => worker(i)));
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
  return kinds
    .map((kind) => {
      const own = ended.filter(({ task }) => task.kind === kind);
      return {
        kind,
        fates: own.map(({ fate }) => fate),
        seconds: own.reduce((sum, { seconds }) => sum + seconds, 0),
      };
    })
    .filter(({ fates }) => fates.length > 0);
};

const isDefect = (fate: Fate): fate is Extract<Fate, { readonly status: Sort }> =>
  (sorts as readonly string[]).includes(fate.status);

const defectLine = (
  { kind, name }: Task,
  { status, why }: Extract<Fate, { status: Sort }>,
  { seed }: CampaignOptions,
) =>
  `✗ ${status}: ${kind.name}/${name}: ${why.trim()}\n  again: npm run chaos -- --seed ${seed} --only '${kind.name}/${name.replaceAll("'", "'\\''")}'`;

/** A process that makes cases one after another; one that dies or hangs takes its case with it, and is followed by another. */
export const hostIn = (kinds: string) => {
  let child: ChildProcess | undefined;
  let said = '';
  const start = (): ChildProcess => {
    const started = fork(fileURLToPath(new URL('host.ts', import.meta.url)), [kinds], { silent: true });
    for (const stream of [started.stdout, started.stderr])
      stream?.on('data', (data) => {
        said = `${said}${data}`.slice(-2_000);
      });
    // Also between two cases, where nobody else listens.
    started.on('error', () => undefined);
    return started;
  };
  /** The process that is there, unless it ended after its last case. */
  const alive = (): ChildProcess | undefined =>
    child?.connected && child.exitCode === null && child.signalCode === null ? child : undefined;
  return {
    attempt: (order: Order, limit: number): Promise<Fate> =>
      new Promise((resolve) => {
        const host = alive() ?? start();
        child = host;
        said = '';
        const finish = (fate: Fate, isUsable: boolean): void => {
          clearTimeout(timer);
          host.off('message', answered).off('exit', ended).off('error', unreached);
          if (!isUsable) {
            child = undefined;
            host.kill('SIGKILL');
          }
          resolve(fate);
        };
        const timer = setTimeout(
          () => finish({ status: 'aborted', why: `it hangs: no end after ${Math.round(limit)} s. ${said}` }, false),
          1000 * limit,
        );
        const answered = (fate: Fate): void => finish(fate, true);
        const ended = (code: number | null, signal: NodeJS.Signals | null): void =>
          finish({ status: 'aborted', why: `its process ended (${signal ?? code}): ${said}` }, false);
        const unreached = ({ message }: Error): void =>
          finish({ status: 'aborted', why: `its process cannot be reached (${message}): ${said}` }, false);
        host.on('message', answered).on('exit', ended).on('error', unreached);
        host.send(order);
      }),
    close: (): void => {
      alive()?.disconnect();
    },
  };
};

/** How many things that were tried in some rows had a fate. */
export const countOf = (rows: readonly Row[], status: Fate['status']): number =>
  rows
    .flatMap(({ fates }) => fates)
    .filter((fate) => fate.status === status)
    .reduce((sum, fate) => sum + (fate.status === 'survived' ? fate.tries : 1), 0);

/** How many things were tried in some rows. */
export const triesOf = (rows: readonly Row[]): number =>
  (['survived', ...sorts] as const).reduce((sum, status) => sum + countOf(rows, status), 0);

/** The rows as a Markdown table. */
export const tableOf = (rows: readonly Row[]): string => {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  const columns = ['survived', ...sorts, 'left out'] as const;
  const counts = (of: readonly Row[]) => columns.map((status) => countOf(of, status));
  const seconds = (of: readonly Row[]) => Math.round(of.reduce((sum, row) => sum + row.seconds, 0));
  return [
    line(['kind', 'tries', ...columns, 'seconds']),
    line(['---', ...Array(columns.length + 2).fill('---:')]),
    ...rows.map((row) => line([row.kind.about, triesOf([row]), ...counts([row]), seconds([row])])),
    line(['all', triesOf(rows), ...counts(rows), seconds(rows)]),
  ].join('\n');
};

/** Why cases were left out, and how many for each reason. */
export const omissionsOf = (rows: readonly Row[]): readonly string[] => {
  const reasons = new Map<string, number>();
  for (const { kind, fates } of rows)
    for (const fate of fates)
      if (fate.status === 'left out') {
        const reason = `${kind.name}: ${fate.why}`;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
  return [...reasons].map(([reason, count]) => `${counted(count, 'case')} left out, ${reason}`);
};

/** What cases measured. */
export const measurementsOf = (rows: readonly Row[]): readonly string[] =>
  rows.flatMap(({ kind, fates }) =>
    fates.flatMap((fate) =>
      fate.status === 'survived' && fate.measured !== undefined ? [`${kind.name}: ${fate.measured}`] : [],
    ),
  );

/** The last line. */
export const closingLine = (rows: readonly Row[]): string =>
  sorts.map((sort) => `${countOf(rows, sort)} ${sort}`).join(', ');
