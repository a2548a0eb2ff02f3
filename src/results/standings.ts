import { defined, own } from '../core/lists.js';
import { passiveFirst } from '../experiment/strongest.js';
import {
  type AttackerAsks,
  type AttackerHas,
  attackerAccesses,
  possessions,
  type ThreatModel,
} from '../experiment/threat-model.js';
import { type Access, rank } from '../train/oracle.js';
import { byMean, hasNumbers, strongestOf } from './best.js';
import type { Attacker, BySeed, DefenseNumbers, Entry, Named, RankedRun, Standing, Stolen } from './ranking.js';
import { pairedBySeed } from './seeds.js';
import { differenceSpread, type Spread, shareSpread, spread } from './spread.js';

/** What defences cost and what the strongest of some attackers gets of them, out of nothing but what was measured. */
export const scored = (runs: readonly RankedRun[], measured: readonly DefenseNumbers[]): readonly Entry[] =>
  measured.map((entry) => {
    const { run: id, role, student, teacher } = entry;
    const run = runs.find((each) => each.id === id);
    const undefended =
      role === 'identity'
        ? undefined
        : measured.find((each) => each.run === id && each.student === student && each.role === 'identity');
    return {
      ...entry,
      cost: defined({
        teacher: shareSpread(Object.values(once(teacher, 'accuracy'))),
        toUndefended: undefended && paired(once(teacher, 'accuracy'), undefended.teacher.accuracy),
        l1: spread(Object.values(once(teacher, 'l1'))),
        ownL1: spread(Object.values(once(teacher, 'ownL1'))),
      }),
      scores:
        run === undefined
          ? []
          : threats(run.attackers).flatMap((threat) => standing(entry, { run, undefended, threat }) ?? []),
    };
  });

/** A teacher's numbers, each teacher once. */
const once = (teacher: DefenseNumbers['teacher'], of: 'accuracy' | 'l1' | 'ownL1'): BySeed =>
  Object.fromEntries(Object.entries(teacher[of] ?? {}).filter(([seed]) => own(teacher.sameAs, seed) === undefined));

/** Who attacks, as far as somebody more does than by asking for less or having less. */
const threats = (attackers: readonly Attacker[]): readonly ThreatModel[] =>
  possessions.flatMap((has) =>
    attackerAccesses.flatMap((access) =>
      attackers.some((each) => each.has === has && leastFor(each.needs) === access) ? [{ access, has }] : [],
    ),
  );

/** The least access of an attacker that has what an attack needs; undefined where it needs none. */
const leastFor = (needs: Access): AttackerAsks | undefined =>
  needs === 'none' ? undefined : attackerAccesses.find((each) => rank[needs] <= rank[each]);

/** What the strongest of such attackers gets; undefined where none has a number. */
const standing = (
  entry: DefenseNumbers,
  {
    run: { attackers, seeds },
    undefended,
    threat: { access, has },
  }: { readonly run: RankedRun; readonly undefended: DefenseNumbers | undefined; readonly threat: ThreatModel },
): Standing | undefined => {
  const among = (most: AttackerAsks) => attackers.filter((each) => mayBe(each, most, has));
  const studentsOf = ({ students }: DefenseNumbers, by: readonly Attacker[]) =>
    by.flatMap(({ label }) => students.find(({ attack }) => attack === label) ?? []);
  const tried = studentsOf(entry, among(access));
  const found = strongestOf(tried);
  if (found === undefined) return undefined;
  const { best: stolen, chosenOn, equals } = found;
  const [highest] = byMean(tried, ({ accuracy }) => accuracy);
  const clean = undefended && strongestOf(studentsOf(undefended, among(access)))?.best;
  const smoothed = strongestOf(entry.students.filter(({ role }) => role === 'reference'))?.best;
  const labelOnly = strongestOf(studentsOf(entry, among('label')))?.best;
  const passive = studentsOf(entry, passiveFirst(among(access), entry)).find(hasNumbers);
  return {
    access,
    has,
    ...named(stolen),
    chosenOn,
    ...(equals.length === 0 ? {} : { equals: equals.map(named) }),
    ...defined({
      highest: highest === undefined || highest.of === stolen ? undefined : named(highest.of),
      undefended: clean && named(clean),
      harm: clean && paired(stolen.accuracy, clean.accuracy),
      toBaseline: differenceSpread(Object.values(stolen.toBaseline)),
      toLabelSmoothing: smoothed && paired(stolen.accuracy, smoothed.accuracy),
      toLabelOnly: labelOnly && labelOnly !== stolen ? paired(stolen.accuracy, labelOnly.accuracy) : undefined,
      passive: passive && named(passive),
      gap: passive && paired(stolen.accuracy, passive.accuracy),
      l1: spread(Object.values(stolen.l1)),
      queries: spread(Object.values(stolen.queries ?? {})),
    }),
    missing: tried
      .filter((each) => each.status !== 'n/a' && Object.keys(each.accuracy).length < seeds.length)
      .map(({ attack }) => attack),
  };
};

/** Whether an attacker asks for no more than that, and has no more. */
const mayBe = (attacker: Attacker, most: AttackerAsks, has: AttackerHas): boolean =>
  rank[attacker.needs] <= rank[most] && possessions.indexOf(attacker.has) <= possessions.indexOf(has);

const named = ({ attack, accuracy }: Stolen): Named => ({
  attack,
  accuracy: shareSpread(Object.values(accuracy)) as Spread,
});

/** One accuracy minus another, over the seeds that have both. */
export const paired = (a: BySeed, b: BySeed): Spread | undefined =>
  pairedBySeed(new Map(Object.entries(a)), new Map(Object.entries(b)));
