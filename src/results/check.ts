import { own, unique } from '../core/lists.js';
import { merged } from './rank.js';
import type { BySeed, Entry, RankedRun, Ranking } from './ranking.js';
import { settingOf } from './setting.js';

/** What one ranking says, seen from another one. */
export interface Checked {
  /** Numbers that both have: how many are the same to the last bit. */
  readonly same: number;
  /** In words: numbers that are others here, or that it leaves out; scores that are not those of its own numbers; hashes. */
  readonly different: readonly string[];
  /** Numbers that it has and that were not made here. */
  readonly lacking: number;
}

/**
 * Compares a ranking that somebody sent with one's own run of its experiment, which may be of fewer seeds: each number that was measured, in
 * both directions; what is said of the run, of its defences and of its students; its costs and scores with those that its own numbers give; and
 * the hash of a run that was made here as a whole.
 */
export const checkedBy = (mine: Ranking, sent: Ranking): Checked => {
  const runs = sent.runs.map((run) => checkedRun(run, { mine, sent }));
  return {
    same: sum(runs.map(({ same }) => same)),
    different: [...runs.flatMap(({ different }) => different), ...underived(sent)],
    lacking: sum(runs.map(({ lacking }) => lacking)),
  };
};

interface Both {
  readonly mine: Ranking;
  readonly sent: Ranking;
}

const entriesOf = ({ entries }: Ranking, run: RankedRun | undefined): readonly Entry[] =>
  entries.filter((entry) => entry.run === run?.id);

/** A run that was sent, beside one's own of the same. */
const checkedRun = (run: RankedRun, both: Both): Checked => {
  const here = rerunOf(run, both);
  const [theirs, ours] = [entriesOf(both.sent, run), entriesOf(both.mine, here)];
  const compared = theirs.map((entry) =>
    comparedBy(
      entry,
      ours.find((each) => isSame(each, entry)),
      run.seeds,
    ),
  );
  const lacking = sum(compared.map((each) => each.lacking));
  return {
    same: sum(compared.map(({ same }) => same)),
    different: [
      ...compared.flatMap(({ different }) => different),
      ...leftOut(ours, theirs),
      ...(here === undefined ? [] : runSaidOtherwise(run, here, lacking > 0)),
    ],
    lacking,
  };
};

/** The numbers of an entry that was sent, beside one's own, and what else is said of it. */
const comparedBy = (entry: Entry, here: Entry | undefined, planned: readonly string[]): Checked => {
  const theirs = new Map(numbersOf(entry));
  const ours = new Map(here === undefined ? [] : numbersOf(here));
  const seeds = unique([...planned, ...[...theirs.values()].flatMap((numbers) => Object.keys(numbers))]);
  let [same, lacking] = [0, 0];
  const different = here === undefined ? [] : [...saidOtherwise(entry, here)];
  for (const what of new Set([...theirs.keys(), ...ours.keys()]))
    for (const seed of seeds) {
      const [said, is] = [own(theirs.get(what), seed), own(ours.get(what), seed)];
      if (said === undefined && is === undefined) continue;
      if (is === undefined) lacking += 1;
      else if (said === is) same += 1;
      else different.push(`${what}, seed ${seed}: ${said === undefined ? 'left out' : said}, here ${is}`);
    }
  return { same, different, lacking };
};

/** One's own entries with numbers that were not sent. */
const leftOut = (ours: readonly Entry[], theirs: readonly Entry[]): readonly string[] =>
  ours
    .filter((entry) => numbersOf(entry).some(([, numbers]) => Object.keys(numbers).length > 0))
    .filter((entry) => !theirs.some((each) => isSame(each, entry)))
    .map(({ defense, student }) => `${defense}, ${student}: left out`);

/** Costs and scores that are not those which the numbers sent with them give. */
const underived = (sent: Ranking): readonly string[] => {
  const made = merged([sent]).entries;
  return sent.entries.flatMap((entry, i) => {
    const due = made.find((each) => each.run === entry.run && isSame(each, entry));
    return (['cost', 'scores'] as const).flatMap((field) =>
      differing(entry[field], due?.[field], [field]).map(
        ([path, said, is]) => `${placeOf(entry, i)}: ${path.join('.')} is ${said}, of its own numbers ${is}`,
      ),
    );
  });
};

/** What is said of a run and is otherwise here, its hash included where all of it was made here. */
const runSaidOtherwise = (run: RankedRun, here: RankedRun, isIncomplete: boolean): readonly string[] => {
  const isWhole = here.seeds.join() === run.seeds.join() && !isIncomplete;
  const [theirs, ours] = [repeatable(run), repeatable(here)];
  return [
    ...unique([...Object.keys(theirs), ...Object.keys(ours)]).flatMap((field) =>
      differing(own(theirs, field), own(ours, field), [field]).map(
        ([path, said, is]) => `the run of ${run.experiment}: ${path.join('.')} is ${said}, here ${is}`,
      ),
    ),
    ...(isWhole && here.id !== run.id
      ? [`the numbers of ${run.experiment} have the hash ${run.id}, here ${here.id}`]
      : []),
  ];
};

const isSame = (a: Entry, b: Entry): boolean =>
  a.defense === b.defense && a.student === b.student && JSON.stringify(a.params) === JSON.stringify(b.params);

/** What is said of a run that is the same whenever it is made again, of all its seeds or of some. */
const repeatable = ({ experiment, learners, attackers, ...run }: RankedRun): Readonly<Record<string, unknown>> => ({
  experiment,
  ...settingOf(run),
  learners,
  attackers,
});

/**
 * One's own run of what a run that was sent is of: of the same defences, by its data, or else by its name. A run that was sent alone may differ in
 * both, which is said then.
 */
const rerunOf = (run: RankedRun, { mine, sent }: Both): RankedRun | undefined => {
  const theirs = entriesOf(sent, run);
  const found = mine.runs.filter((here) =>
    entriesOf(mine, here).some((entry) => theirs.some((each) => isSame(each, entry))),
  );
  return (
    found.find(({ data }) => data.fingerprint === run.data.fingerprint) ??
    found.find(({ experiment }) => experiment === run.experiment) ??
    (sent.runs.length === 1 ? found[0] : undefined)
  );
};

/** What is said of a defence or of its students, beside their numbers, and is otherwise here. */
const saidOtherwise = (entry: Entry, here: Entry): readonly string[] => {
  const of = `${entry.defense}, ${entry.student}`;
  const own = new Map(here.students.map((each) => [each.attack, each]));
  return [
    ...(['name', 'role', 'exposes'] as const).flatMap((field) =>
      entry[field] === here[field] ? [] : [`${of}: ${field} is ${wordsOf(entry[field])}, here ${wordsOf(here[field])}`],
    ),
    ...entry.students.flatMap((said) => {
      const is = own.get(said.attack);
      // What was not made here may be anything.
      if (is === undefined || is.status === 'not run') return [];
      const at = `${said.attack} on ${of}`;
      // With other seeds there may be a reason that is not known here, but not the other way.
      const hides = is.reason !== undefined && said.reason === undefined;
      return [
        ...(said.role === is.role ? [] : [`${at}: role is ${wordsOf(said.role)}, here ${wordsOf(is.role)}`]),
        ...(said.status === is.status || (is.status === 'failed' && said.status === 'done')
          ? []
          : [`${at}: status is ${said.status}, here ${is.status}`]),
        ...(hides ? [`${at}: why it has no number of some seed is left out, here ${wordsOf(is.reason)}`] : []),
      ];
    }),
  ];
};

const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0);

const placeOf = ({ defense, student }: Entry, place: number): string => `entry ${place + 1}, ${defense}, ${student}`;

/** What was measured of an entry, by seed, each with its name. */
const numbersOf = ({ defense, student, teacher, students }: Entry): readonly (readonly [string, BySeed])[] => [
  [`teacher of ${defense}: accuracy`, teacher.accuracy],
  [`teacher of ${defense}: L1 of answers`, teacher.l1],
  [`teacher of ${defense}: L1 of answers to its own net's`, teacher.ownL1 ?? {}],
  ...students.flatMap(({ attack, accuracy, heldOut, toBaseline, l1, queries = {} }) => {
    const of = `${attack} on ${defense}, ${student}`;
    return [
      [`${of}: accuracy`, accuracy],
      [`${of}: accuracy on held-out images`, heldOut],
      [`${of}: to trained alone`, toBaseline],
      [`${of}: L1 of answers`, l1],
      [`${of}: answers asked for`, queries],
    ] as const;
  }),
];

/** The first place at which two values are not the same, with what is there as JSON; none where they are. */
const differing = (
  a: unknown,
  b: unknown,
  path: readonly string[],
): readonly (readonly [readonly string[], string, string])[] => {
  if (JSON.stringify(a) === JSON.stringify(b)) return [];
  const isRecord = (value: unknown): value is object => typeof value === 'object' && value !== null;
  if (!isRecord(a) || !isRecord(b)) return [[path, wordsOf(a), wordsOf(b)]];
  for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const found = differing(
      own(a as Readonly<Record<string, unknown>>, name),
      own(b as Readonly<Record<string, unknown>>, name),
      [...path, name],
    );
    if (found.length > 0) return found;
  }
  // The same fields in another order.
  return [];
};

const wordsOf = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));
