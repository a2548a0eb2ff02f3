import { grouped, own } from '../core/lists.js';
import { possessions, type ThreatModel } from '../experiment/threat-model.js';
import type { Entry, RankedRun, Ranking, Standing } from './ranking.js';
import { settingOf } from './setting.js';
import { rounding } from './spread.js';

/** Entries that can be compared: of one setting, one student, and the same attackers. */
export interface Board {
  readonly run: RankedRun;
  readonly student: string;
  readonly entries: readonly Entry[];
}

/** All in which two runs must be alike for their entries to be compared, but the student. */
const comparable = ({ learners, seeds, attackers, ...run }: RankedRun) =>
  JSON.stringify([
    ...[settingOf(run), learners?.teacher, seeds],
    attackers.map(({ name, needs, has, params }) => JSON.stringify([name, needs, has, params])).sort(),
  ]);

/** A student by its net and how it was trained; by its label where that is not told. */
const studentIn = ({ learners }: RankedRun, student: string) => own(learners?.students, student) ?? student;

export const boardsOf = ({ runs, entries }: Ranking): readonly Board[] => {
  const runOf = new Map(runs.map((run) => [run.id, run]));
  return [
    ...grouped(
      entries.filter(({ run }) => runOf.has(run)),
      ({ run: id, student }) => {
        const run = runOf.get(id) as RankedRun;
        return JSON.stringify([comparable(run), studentIn(run, student)]);
      },
    ).values(),
  ].map((group) => {
    const [first] = group as readonly [Entry];
    return { run: runOf.get(first.run) as RankedRun, student: first.student, entries: group };
  });
};

/** Who attacks in a board's table: behind an interface where somebody does, with the most that any has. */
export const mainThreat = ({ entries }: Pick<Board, 'entries'>): ThreatModel | undefined => {
  const all = entries.flatMap(({ scores }) => scores);
  const has = [...possessions].reverse().find((each) => all.some((score) => score.has === each));
  const access = (['probabilities', 'label', 'weights'] as const).find((each) =>
    all.some((score) => score.has === has && score.access === each),
  );
  return has && access && { access, has };
};

export const standingAt = ({ scores }: Pick<Entry, 'scores'>, threat: ThreatModel | undefined): Standing | undefined =>
  scores.find(({ access, has }) => access === threat?.access && has === threat.has);

/** What of an entry counts against it, less of each being better; undefined where its teacher or the strongest attacker has no number. */
const pointOf = (
  entry: Entry,
  threat: ThreatModel | undefined,
): { readonly told: string; readonly at: readonly number[] } | undefined => {
  const { teacher, l1 } = entry.cost;
  const stolen = standingAt(entry, threat)?.accuracy;
  if (teacher === undefined || stolen === undefined) return undefined;
  const at = [-teacher.mean, stolen.mean];
  if (l1 !== undefined) return { told: 'changed', at: [...at, l1.mean] };
  return { told: entry.exposes === 'label' ? 'labels' : 'another teacher', at };
};

/**
 * For each entry that another one is no worse than in the teacher's accuracy, the answers' distance and the strongest attacker's student,
 * and better in one of the three: the first such that is dominated by none itself. Where there is no distance, since labels alone are told or the teacher was trained anew, an
 * entry is compared with others of its kind, in the other two. By means: what the seeds do not tell apart may go either way.
 */
export const dominated = (entries: readonly Entry[], threat: ThreatModel | undefined): ReadonlyMap<Entry, Entry> => {
  const points = entries.flatMap((entry) => {
    const point = pointOf(entry, threat);
    return point === undefined ? [] : [{ entry, ...point }];
  });
  type Point = (typeof points)[number];
  const isNoWorse = (a: Point, b: Point) => a.at.every((value, i) => value <= (b.at[i] as number) + rounding);
  const isBetter = (a: Point, b: Point) => a.told === b.told && isNoWorse(a, b) && !isNoWorse(b, a);
  const best = points.filter((point) => !points.some((other) => isBetter(other, point)));
  return new Map(
    points.flatMap((point) => {
      const better = best.find((other) => isBetter(other, point));
      return better === undefined ? [] : [[point.entry, better.entry] as const];
    }),
  );
};
