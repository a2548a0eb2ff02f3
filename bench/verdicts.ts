import { own } from '../src/core/lists.js';
import { percent, signed } from '../src/core/text.js';
import type { ThreatModel } from '../src/experiment/threat-model.js';
import type { Block } from '../src/report/layout.js';
import { type Board, mainThreat, standingAt } from '../src/results/boards.js';
import type { BySeed, Entry, Stolen } from '../src/results/ranking.js';
import { type Spread, shareSpread, spread } from '../src/results/spread.js';
import { paired } from '../src/results/standings.js';

/** A number that was measured, and in which unit it is written. */
interface Found {
  readonly of: Spread;
  readonly unit: 'points' | 'times' | 'percent' | 'share';
  /** Of which defence it is, where that is found and not given. */
  readonly which?: string;
}

/** What a claim says of such a number. */
interface Expected {
  readonly text: string;
  readonly holds: (value: number) => boolean;
}

interface Comparison {
  readonly what: string;
  readonly claimed: Expected;
  /** Undefined where a ranking lacks one of the two. */
  readonly found: (seen: Seen) => Found | undefined;
}

interface Claim {
  readonly title: string;
  readonly comparisons: readonly Comparison[];
}

const below = (bound: number): Expected => ({
  text: `below ${bound === 0 ? '0' : signed(bound)}`,
  holds: (value) => value < bound,
});
const atLeast = (bound: number): Expected => ({
  text: `at least ${bound === 0 ? '0' : signed(bound)}`,
  holds: (value) => value >= bound,
});

const within = (bound: number): Expected => ({
  text: `within ${percent(bound)} of 0`,
  holds: (value) => Math.abs(value) <= bound,
});

/** Fewer seeds have an interval that is chance itself: two that happen to be equal would have none. */
const fewestSeeds = 3;

/** Whether a claim holds of the mean and of its whole interval. */
export const verdictOf = ({ mean, interval, count }: Spread, { holds }: Expected): string => {
  if (interval === undefined || count < fewestSeeds)
    return `${holds(mean) ? 'in direction' : 'not seen'}, of ${count === 1 ? 'one seed' : 'two seeds'}`;
  if (interval.every(holds)) return 'held';
  if (holds(mean)) return 'in direction';
  return interval.some(holds) ? 'not seen' : 'did not hold';
};

/** Whether a defence is of this plugin with these parameters, `mad(epsilon 0.5, oracle extreme)`: labels name those alone in which a run's differ. */
const isOf = ({ name, params }: Entry, written: string): boolean => {
  const [, plugin, parameters = ''] = /^([^(]+)(?:\((.*)\))?$/.exec(written) ?? [];
  const given = parameters === '' ? [] : parameters.split(', ').map((each) => each.split(' '));
  const values = params as Readonly<Record<string, unknown>>;
  return name === plugin && given.every(([option = '', value]) => String(own(values, option)) === value);
};

const studentOf = (entry: Entry | undefined, attack: string | undefined): Stolen | undefined =>
  entry?.students.find((each) => each.attack === attack);

/** What a board says of defences. */
const seenIn = (board: Board) => {
  const entryOf = (defense: string): Entry | undefined =>
    board.entries.find((each) => each.defense === defense) ?? board.entries.find((each) => isOf(each, defense));
  const main = mainThreat(board);
  /** The same access, with other images at most. */
  const others: ThreatModel | undefined = main && { ...main, has: 'other' };
  const student = (attack: string | undefined, defense: string): BySeed | undefined =>
    studentOf(entryOf(defense), attack)?.accuracy;
  const standing = (defense: string, threat: ThreatModel | undefined) => {
    const entry = entryOf(defense);
    return entry && standingAt(entry, threat);
  };
  const strongest = (defense: string, threat = main) => student(standing(defense, threat)?.attack, defense);
  const passive = (defense: string, threat = main) => student(standing(defense, threat)?.passive?.attack, defense);
  return {
    ...{ board, main, others, entryOf, student, strongest, passive },
    undefended: board.entries.find(({ role }) => role === 'identity')?.defense ?? 'none',
    teacher: (defense: string): BySeed | undefined => entryOf(defense)?.teacher.accuracy,
    alone: (defense: string): BySeed | undefined =>
      entryOf(defense)?.students.find(({ role, attack }) => role === 'honest' && attack === 'scratch')?.accuracy,
  };
};

type Seen = ReturnType<typeof seenIn>;

/** One accuracy minus another, seed by seed. */
const minus = (a: BySeed | undefined, b: BySeed | undefined, which?: string): Found | undefined => {
  const of = paired(a ?? {}, b ?? {});
  return of && { of, unit: 'points', ...(which === undefined ? {} : { which }) };
};

/** How many times as high one number of a seed is as another, as a logarithm: its mean is of the geometric one, and no interval reaches below 0 times. */
const logRatio = (a: BySeed | undefined, b: BySeed | undefined, of: (accuracy: number) => number): Spread | undefined =>
  spread(
    Object.entries(a ?? {}).flatMap(([seed, value]) => {
      const other = own(b, seed);
      return other === undefined ? [] : [Math.log(of(value) / of(other))];
    }),
  );

/** What was found on a scale on which the mean is taken, brought to the one on which it is written. */
const brought = (found: Spread | undefined, to: (value: number) => number, unit: Found['unit']): Found | undefined => {
  if (found === undefined) return undefined;
  const { mean, interval, count } = found;
  const ends = interval && ([to(interval[0]), to(interval[1])] as const);
  return { of: { mean: to(mean), count, ...(ends && { interval: ends }) }, unit };
};

/** How many times as high one error is as another. */
const errors = (a: BySeed | undefined, b: BySeed | undefined) =>
  brought(
    logRatio(a, b, (accuracy) => 1 - accuracy),
    Math.exp,
    'times',
  );
/** How much one accuracy is of another, less 1. */
const gained = (a: BySeed | undefined, b: BySeed | undefined) =>
  brought(
    logRatio(a, b, (accuracy) => accuracy),
    Math.expm1,
    'percent',
  );

/** The lowest of some defences in the mean. */
const lowest = (all: readonly (Found | undefined)[]): Found | undefined =>
  all.filter((each) => each !== undefined).toSorted((a, b) => a.of.mean - b.of.mean)[0];

/** A passive student, and how far from the clean ones the answers are that it learns from, in the mean over seeds. */
interface Passive {
  readonly l1: number;
  readonly accuracy: BySeed;
}

const passiveOf = (entry: Entry, threat: ThreatModel | undefined): Passive | undefined => {
  const student = studentOf(entry, standingAt(entry, threat)?.passive?.attack);
  const l1 = spread(Object.values(student?.l1 ?? {}))?.mean;
  return student === undefined || l1 === undefined ? undefined : { l1, accuracy: student.accuracy };
};

/** Distances that differ by less than this share of them are the same: a budget that is spent is spent up to rounding. */
const sameL1 = 0.01;

/**
 * The passive student behind defences of a kind at an L1 distance: seed by seed on the straight line between the two strengths around it, of
 * which no defence, at 0, is one. Undefined beyond the strongest.
 */
const passiveAt = (seen: Seen, isOfKind: (entry: Entry) => boolean, l1: number, threat: ThreatModel | undefined) => {
  const clean = seen.passive(seen.undefended, threat);
  const measured = seen.board.entries.filter(isOfKind).flatMap((entry) => passiveOf(entry, threat) ?? []);
  const line = [...(clean === undefined ? [] : [{ l1: 0, accuracy: clean }]), ...measured].sort((a, b) => a.l1 - b.l1);
  const after = line.findIndex((each) => each.l1 >= l1 * (1 - sameL1));
  const [low, high] = [line[after - 1], line[after]];
  if (high === undefined) return undefined;
  if (low === undefined) return high.accuracy;
  const share = Math.min(1, (l1 - low.l1) / (high.l1 - low.l1));
  return Object.fromEntries(
    Object.entries(low.accuracy).flatMap(([seed, from]) => {
      const to = own(high.accuracy, seed);
      return to === undefined ? [] : [[seed, from + share * (to - from)]];
    }),
  );
};

const isNoise = ({ name }: Entry): boolean => name === 'randomClass';
const isMad =
  (oracle: 'argmax' | 'extreme') =>
  (entry: Entry): boolean =>
    isOf(entry, `mad(oracle ${oracle})`);

/** The passive student behind a defence minus that behind others of the same L1. */
const besideSameL1 = (
  seen: Seen,
  entry: Entry | undefined,
  isOfKind: (entry: Entry) => boolean,
  threat: ThreatModel | undefined,
): Found | undefined => {
  const passive = entry && passiveOf(entry, threat);
  return passive && minus(passive.accuracy, passiveAt(seen, isOfKind, passive.l1, threat));
};

/** Of defences whose answers to who attacks are that near to the clean ones: where the passive student is furthest below that of noise as near. */
const furthestBelowNoise = (
  seen: Seen,
  {
    threat,
    most,
    among,
  }: { readonly threat: ThreatModel | undefined; readonly most: number; readonly among?: readonly string[] },
): Found | undefined =>
  lowest(
    seen.board.entries
      .filter((entry) => !isNoise(entry) && entry.role !== 'identity' && (among?.includes(entry.name) ?? true))
      .filter((entry) => (passiveOf(entry, threat)?.l1 ?? Number.POSITIVE_INFINITY) <= most)
      .map((entry) => {
        const found = besideSameL1(seen, entry, isNoise, threat);
        return found && { ...found, which: entry.defense };
      }),
  );

/** Of wrappers that leave the accuracy on the reported images as it is with every seed: where the strongest attacker has least beside one who is told labels alone. */
const furthestBelowLabels = (seen: Seen): Found | undefined =>
  lowest(
    seen.board.entries
      .filter(
        ({ role, cost: { l1, toUndefended } }) =>
          role !== 'identity' && l1 !== undefined && toUndefended?.mean === 0 && (toUndefended.sd ?? 0) === 0,
      )
      .map(({ defense }) =>
        minus(
          seen.strongest(defense),
          seen.strongest(seen.undefended, seen.main && { ...seen.main, access: 'label' }),
          defense,
        ),
      ),
  );

/** The share of defences of which the strongest attacker has more than a passive one by so much. */
const shareOfGaps = (seen: Seen, above: number): Found | undefined => {
  const gaps = seen.board.entries
    .filter(({ role }) => role !== 'identity')
    .flatMap(({ defense }) => {
      const [strongest, passive] = [seen.strongest(defense), seen.passive(defense)];
      return strongest === undefined || passive === undefined ? [] : [{ strongest, passive }];
    });
  const shares = Object.keys(gaps[0]?.strongest ?? {}).map((seed) => {
    const here = gaps.flatMap(({ strongest, passive }) => {
      const [a, b] = [own(strongest, seed), own(passive, seed)];
      return a === undefined || b === undefined ? [] : [a - b];
    });
    return here.filter((gap) => gap > above).length / here.length;
  });
  const of = shareSpread(shares);
  return of && { of, unit: 'share' };
};

/** What a student has behind a defence beside the same net trained alone: of a passive attacker, and of the strongest. */
const besideAlone = (defenses: readonly string[]): readonly Comparison[] =>
  defenses.flatMap((defense) => [
    {
      what: `${defense}: a passive attacker's student, minus trained alone`,
      claimed: below(0),
      found: (seen) => minus(seen.passive(defense), seen.alone(defense)),
    },
    {
      what: `${defense}: the strongest attacker's, minus trained alone`,
      claimed: below(0),
      found: (seen) => minus(seen.strongest(defense), seen.alone(defense)),
    },
  ]);

const teacherCost = (defense: string, claimed: Expected): Comparison => ({
  what: `${defense}: the teacher, minus the undefended one`,
  claimed,
  found: (seen) => minus(seen.teacher(defense), seen.teacher(seen.undefended)),
});

/** A student behind one defence minus a student behind another. */
const between = (
  what: string,
  claimed: Expected,
  a: (seen: Seen) => BySeed | undefined,
  b: (seen: Seen) => BySeed | undefined,
): Comparison => ({ what, claimed, found: (seen) => minus(a(seen), b(seen)) });

const nasties = ['nasty(omega 0.01)', 'nasty(omega 0.04)'] as const;
const lambdas = [0.05, 0.2, 1, 5, 25] as const;
const adsC = lambdas.map((lambda) => `antidistillation(variant adsC, lambda ${lambda})`);
const ads = lambdas.map((lambda) => `antidistillation(variant ads, lambda ${lambda})`);
const guard = 'modelGuard(variant W, epsilon 1)';

const claims: readonly Claim[] = [
  {
    title:
      'A nasty teacher is as accurate, within two points, and its students are worse than trained alone (Ma et al., 2021)',
    comparisons: [...nasties.map((each) => teacherCost(each, atLeast(-0.02))), ...besideAlone(nasties)],
  },
  {
    title: 'A stingy teacher is “more catastrophic than nasty” (Ma et al., 2022)',
    comparisons: ['stingy(ratio 0.2)', 'stingy(ratio 0.5)'].flatMap((stingy) => [
      ...[20, 4].map((temperature) =>
        between(
          `${stingy}: a student at τ ${temperature}${temperature === 20 ? ', the paper’s' : ''}, minus a passive one behind ${nasties[1]}`,
          below(0),
          ({ student }) => student(`kd(temperature ${temperature}, alpha 0.9)`, stingy),
          ({ passive }) => passive(nasties[1]),
        ),
      ),
      between(
        `${stingy}: the strongest attacker's, minus that behind ${nasties[1]}`,
        below(0),
        ({ strongest }) => strongest(stingy),
        ({ strongest }) => strongest(nasties[1]),
      ),
    ]),
  },
  {
    title: 'A head that is trained to be nasty is enough (Just Mildly Nasty; DOGe, ported from language models)',
    comparisons: besideAlone([
      ...['light', 'half', 'deep'].map((part) => `mildlyNasty(part ${part}, omega 0.04)`),
      'dogeHead',
    ]),
  },
  {
    title: 'Prediction poisoning makes a student’s error up to 85 times as high (Orekondy et al., 2020)',
    comparisons: [
      {
        what: 'mad(epsilon 0.5, oracle extreme): a passive student’s error, over that without a defence',
        claimed: { text: 'above 1, up to 85', holds: (value) => value > 1 },
        found: ({ passive, undefended }) => errors(passive('mad(epsilon 0.5, oracle extreme)'), passive(undefended)),
      },
      {
        what: 'the same of a student that undoes it',
        claimed: { text: 'above 1, up to 85', holds: (value) => value > 1 },
        found: ({ student, passive, undefended }) =>
          errors(student('inverseKd', 'mad(epsilon 0.5, oracle extreme)'), passive(undefended)),
      },
    ],
  },
  {
    title: '… and harms more than noise of the same distance (Orekondy et al., 2020)',
    comparisons: [0.2, 0.5, 1].flatMap((epsilon): readonly Comparison[] => {
      const mad = `mad(epsilon ${epsilon}, oracle argmax)`;
      const noise = `randomClass(epsilon ${epsilon})`;
      return [
        {
          what: `${mad}: a passive student, minus that behind a class at random of the same L1`,
          claimed: below(0),
          found: (seen) => besideSameL1(seen, seen.entryOf(mad), isNoise, seen.main),
        },
        between(
          `${mad}: the strongest attacker's, minus that behind ${noise}`,
          below(0),
          ({ strongest }) => strongest(mad),
          ({ strongest }) => strongest(noise),
        ),
      ];
    }),
  },
  {
    title:
      'GRAD² harms more than MAD at the same distance; at 0.2 reverse sigmoid, adaptive misinformation, MAD and GRAD² harm at most 1.2 points more than noise (Mazeika et al., 2022)',
    comparisons: [
      ...[0.2, 0.5, 1].flatMap((epsilon) =>
        (['main', 'others'] as const).flatMap((threat) =>
          (['argmax', 'extreme'] as const).map(
            (oracle): Comparison => ({
              what: `grad2(epsilon ${epsilon}): a passive student${threat === 'main' ? '' : ' of other images'}, minus that behind mad(oracle ${oracle}) of the same L1`,
              claimed: below(0),
              found: (seen) =>
                besideSameL1(seen, seen.entryOf(`grad2(epsilon ${epsilon})`), isMad(oracle), seen[threat]),
            }),
          ),
        ),
      ),
      ...(['main', 'others'] as const).flatMap((threat) =>
        [
          { of: 'of these', among: ['reverseSigmoid', 'adaptiveMisinformation', 'mad', 'grad2'] },
          { of: 'of all here' },
        ].map(
          ({ of, ...which }): Comparison => ({
            what: `${of}, at an L1 of 0.2 or less: the passive student${threat === 'main' ? '' : ' of other images'} furthest below that behind a class at random of the same L1`,
            claimed: atLeast(-0.012),
            found: (seen) => furthestBelowNoise(seen, { threat: seen[threat], most: 0.2, ...which }),
          }),
        ),
      ),
    ],
  },
  {
    title: 'ModelGuard W withstands attackers who recover answers (Tang et al., 2024)',
    comparisons: [
      ...['bayesKd', 'ddaeKd'].map((attack) =>
        between(
          `${guard}: ${attack}'s student, minus a passive one without a defence`,
          below(0),
          ({ student }) => student(attack, guard),
          ({ passive, undefended }) => passive(undefended),
        ),
      ),
      ...(['main', 'others'] as const).map((threat) =>
        between(
          `${guard}: the strongest attacker's${threat === 'main' ? '' : ' of other images'}, minus that without a defence`,
          below(0),
          (seen) => seen.strongest(guard, seen[threat]),
          (seen) => seen.strongest(seen.undefended, seen[threat]),
        ),
      ),
    ],
  },
  {
    title: 'Antidistillation by itself costs a classifier’s student less than two points (an RIT thesis)',
    comparisons: ads.map((each) =>
      between(
        `${each}: a passive student, minus that without a defence`,
        atLeast(-0.02),
        ({ passive }) => passive(each),
        ({ passive, undefended }) => passive(undefended),
      ),
    ),
  },
  {
    title:
      'ADS-C costs no accuracy, where ADS would cost 22 points and more, and its students 13 points and more, to below what labels alone give (Ullah and Khojasteh)',
    comparisons: [
      ...ads.map((each) => teacherCost(each, below(-0.22))),
      ...adsC.flatMap((each) => [
        teacherCost(each, atLeast(0)),
        between(
          `${each}: a passive student, minus that without a defence`,
          below(-0.13),
          ({ passive }) => passive(each),
          ({ passive, undefended }) => passive(undefended),
        ),
        between(
          `${each}: a passive student, minus hardLabel's`,
          below(0),
          ({ passive }) => passive(each),
          ({ student }) => student('hardLabel', each),
        ),
        between(
          `${each}: the strongest attacker's, minus hardLabel's`,
          below(0),
          ({ strongest }) => strongest(each),
          ({ student }) => student('hardLabel', each),
        ),
      ]),
    ],
  },
  {
    title: 'InI lowers what is stolen with other images by up to 48 % (Guo et al., 2023)',
    comparisons: (['others', 'main'] as const).map(
      (threat): Comparison => ({
        what: `ini: the strongest attacker's student with ${threat === 'main' ? "the victim's images" : 'other images'}, beside that without a defence`,
        claimed: { text: 'below 0, down to −48 %', holds: (value) => value < 0 },
        found: (seen) => gained(seen.strongest('ini', seen[threat]), seen.strongest(seen.undefended, seen[threat])),
      }),
    ),
  },
  {
    title: 'A teacher of smoothed labels is as accurate, and teaches worse (Müller et al., 2019)',
    comparisons: [
      teacherCost('smoothTeacher(epsilon 0.1)', atLeast(0)),
      between(
        'smoothTeacher(epsilon 0.1): a passive student, minus that of an ordinary teacher',
        below(0),
        ({ passive }) => passive('smoothTeacher(epsilon 0.1)'),
        ({ passive, undefended }) => passive(undefended),
      ),
      between(
        "smoothTeacher(epsilon 0.1): the strongest attacker's, minus that of an ordinary teacher",
        below(0),
        ({ strongest }) => strongest('smoothTeacher(epsilon 0.1)'),
        ({ strongest, undefended }) => strongest(undefended),
      ),
    ],
  },
  {
    title:
      'Who reweights what a product of experts tells recovers up to 50 % more than who does not (The Distillation Game, of language models)',
    comparisons: ['false', 'true'].flatMap((keepLabel) => {
      const product = `productOfExperts(gamma 0.6, keepLabel ${keepLabel})`;
      return ['released', 'useful'].map(
        (sign): Comparison => ({
          what: `${product}: the student of reweightedKd(sign ${sign}), beside a passive one`,
          claimed: { text: 'above 0, up to +50 %', holds: (value) => value > 0 },
          found: ({ student, passive }) => gained(student(`reweightedKd(sign ${sign})`, product), passive(product)),
        }),
      );
    }),
  },
  {
    title:
      'Nearly every defence scores lower under a fixed suite of strong attackers, often by more than 10 points (Croce and Hein, 2020, of robustness)',
    comparisons: [
      {
        what: 'defences here, each strength by itself, of which the strongest attacker has more than a point more than a passive one',
        claimed: { text: 'most', holds: (value) => value > 0.5 },
        found: (seen) => shareOfGaps(seen, 0.01),
      },
      {
        what: 'the same, of more than 10 points',
        claimed: { text: 'some', holds: (value) => value > 0 },
        found: (seen) => shareOfGaps(seen, 0.1),
      },
    ],
  },
  {
    title: 'What follows from the defences themselves',
    comparisons: [
      between(
        'reversedLogits, undone: the student, minus that of the answers as they are',
        within(0.005),
        ({ student }) => student('inverseKd', 'reversedLogits'),
        ({ student, undefended }) => student('kd(temperature 4, alpha 0.9)', undefended),
      ),
      {
        what: 'wrappers that leave the teacher’s accuracy as it is: the lowest student of a strongest attacker, minus the strongest of labels alone',
        claimed: atLeast(-0.005),
        found: furthestBelowLabels,
      },
    ],
  },
];

const shown = ({ of: { mean, interval }, unit, which }: Found): string => {
  const write = (value: number): string =>
    unit === 'points'
      ? signed(value)
      : unit === 'times'
        ? value.toFixed(2)
        : `${unit === 'share' || value < 0 ? '' : '+'}${percent(value)} %`;
  const range = interval === undefined ? '' : ` (${interval.map(write).join(' to ')})`;
  return `${which === undefined ? '' : `${which} `}${write(mean)}${range}`;
};

/** Claims as tables, with a column for each board. */
export const claimsOf = (boards: readonly Board[]): readonly Block[] => {
  const seen = boards.map(seenIn);
  return claims.map(({ title, comparisons }) => ({
    title,
    head: 'compared',
    columns: [
      { label: 'claimed', detail: '' },
      ...boards.map(({ run, student }) => ({ label: run.data.name, detail: student })),
    ],
    rows: comparisons.map(({ what, claimed, found }) => ({
      label: what,
      cells: [
        claimed.text,
        ...seen.map((board) => {
          const number = found(board);
          return number === undefined ? '–' : `${shown(number)}: ${verdictOf(number.of, claimed)}`;
        }),
      ],
    })),
    conclusions: [],
  }));
};
