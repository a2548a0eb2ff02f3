import { FailureError, failure } from '../core/errors.js';
import { extent, grouped, unique } from '../core/lists.js';
import { counted, firstFew, percent, percentage, signed, whole } from '../core/text.js';
import { columnsOf, type Column as Measure, type VictimResult, victimColumnsOf } from '../results/columns.js';
import { lookup } from '../results/lookup.js';
import { undefendedIn } from '../results/roles.js';
import { verdictInWords } from '../results/scores.js';
import { distinct, seedsWith } from '../results/seeds.js';
import { type Spread, spreadOf } from '../results/spread.js';
import type { Cell, Matrix, VictimSummary } from '../results/types.js';
import type { Provenance } from '../run/record.js';
import { headingOf, mark, meanAndDeviation, meanOf, sentenceOf, signedWithInterval } from './numbers.js';

/** A matrix in words, before it is drawn as text or Markdown. */
export interface Layout {
  readonly title: string;
  readonly about: string;
  /** One table a student. */
  readonly blocks: readonly Block[];
  /** Numbered, referred to from the cells. */
  readonly footnotes: readonly string[];
  /** Those of the notes without which the numbers cannot be read: of what they are, over how many seeds, what stands beside them. */
  readonly caption: readonly string[];
  /** What a reader must know of all numbers. */
  readonly notes: readonly string[];
}

export interface Block {
  readonly title: string;
  /** What its rows are. */
  readonly head: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** The last rows: the best attack on each defence, and whether it is undistillable. None where nothing is stolen. */
  readonly conclusions: readonly Row[];
}

export interface Column {
  readonly label: string;
  /** The victim: its accuracy and the difference to the undefended teacher. */
  readonly detail: string;
}

export interface Row {
  readonly label: string;
  readonly cells: readonly string[];
}

export interface LayoutOptions {
  /** Also show each cell's difference to the same attack on the undefended teacher, in brackets. */
  readonly undefended?: boolean;
  /** A number of the students to show in place of their accuracy: the name of one of the matrix's columns. */
  readonly metric?: string;
}

/** The labels of a matrix, in order. */
export interface Labels {
  readonly attacks: readonly string[];
  readonly defenses: readonly string[];
  readonly students: readonly string[];
}

/** What a matrix lists. */
export interface Listed extends Pick<Labels, 'students'> {
  readonly attacks: readonly { readonly label: string }[];
  readonly defenses: readonly { readonly label: string }[];
}

/** Those that a matrix lists, and those that only its cells have, so that a foreign cell is shown too. */
export const labelsOf = ({ attacks, defenses, students }: Listed, cells: readonly Cell[]): Labels => ({
  attacks: unique([...attacks.map(({ label }) => label), ...cells.map(({ attack }) => attack)]),
  defenses: unique([...defenses.map(({ label }) => label), ...cells.map(({ defense }) => defense)]),
  students: unique([...students, ...cells.map(({ student }) => student)]),
});

/** Why a cell is none of the run's own: its attack, defence or student is not listed. */
const foreign = ({ attacks, defenses, students }: Listed, { attack, defense, student }: Cell): string | undefined => {
  const unlisted = [
    ...(attacks.some(({ label }) => label === attack) ? [] : [`no attack ${attack}`]),
    ...(defenses.some(({ label }) => label === defense) ? [] : [`no defence ${defense}`]),
    ...(students.includes(student) ? [] : [`no student ${student}`]),
  ];
  return unlisted.length === 0 ? undefined : `foreign: the run lists ${unlisted.join(', ')}`;
};

/** Numbers its notes in the order in which they are first asked for. */
export const footnoter = () => {
  const notes: string[] = [];
  return {
    notes,
    for: (note: string | undefined): string => {
      if (note === undefined) return '';
      if (!notes.includes(note)) notes.push(note);
      return ` ${mark(notes.indexOf(note) + 1)}`;
    },
  };
};

/** The column of a name; undefined for the accuracy. Throws a `FailureError` of kind `usage` for what is no column. */
const columnAsked = (of: Matrix, name = 'accuracy'): Measure | undefined => {
  if (name === 'accuracy') return undefined;
  const columns = columnsOf(of);
  const found = columns.find((each) => each.name === name);
  if (found !== undefined) return found;
  const remedy = `There are: ${columns.map((each) => each.name).join(', ')}.`;
  throw new FailureError(failure('usage', `the matrix has no ${name}`, { where: of.experiment, remedy }));
};

/** The mean of a column over some seeds as text. */
const meanIn = <Result>(column: Measure<Result>, results: readonly Result[]): string | undefined => {
  const mean = spreadOf(
    column.unit,
    results.flatMap((result) => column.of(result) ?? []),
  );
  return mean === undefined ? undefined : meanOf(column, mean);
};

/** Lays a matrix out in words. Throws a `FailureError` of kind `usage` where it has no such metric. */
export const layout = (of: Matrix, { undefended = false, metric }: LayoutOptions = {}): Layout => {
  const footnotes = footnoter();
  const labels = labelsOf(of, of.cells);
  const asked = columnAsked(of, metric);
  const askedOfVictims = asked && victimColumnsOf(of).find(({ name }) => name === asked.name);
  const at = lookup(of.cells);

  const column = (defense: string): Column => {
    const victim = of.victims.find((each) => each.defense === defense);
    const why = victim && lacking(victim);
    const beside = published(victim?.published);
    if (victim?.accuracy === undefined) {
      const status = victim?.seeds.some(({ reason }) => reason !== undefined) ? 'failed' : 'not run';
      return { label: defense, detail: `teacher ${status}${beside}${footnotes.for(why)}` };
    }
    if (asked !== undefined) {
      const mean = askedOfVictims && meanIn(askedOfVictims, distinct(victim.seeds));
      return { label: defense, detail: mean === undefined ? '' : `teacher ${mean}${footnotes.for(why)}` };
    }
    const difference = victim.toUndefended === undefined ? '' : ` (${signed(victim.toUndefended.mean)})`;
    return {
      label: defense,
      detail: `teacher ${meanAndDeviation(victim.accuracy)}${difference}${beside}${footnotes.for(why)}`,
    };
  };

  const shown = (cell: Cell | undefined): string => {
    if (cell === undefined) return '';
    const why = footnotes.for(reasonOf(of, cell));
    if (cell.accuracy === undefined) return `${cell.status}${published(cell.published)}${why}`;
    if (asked !== undefined) return `${meanIn(asked, distinct(cell.seeds)) ?? '–'}${why}`;
    const parts = [meanAndDeviation(cell.accuracy)];
    if (cell.toBaseline !== undefined) parts.push(`(${signed(cell.toBaseline.mean)})`);
    if (undefended && cell.toUndefended !== undefined) parts.push(`[${signed(cell.toUndefended.mean)}]`);
    return `${parts.join(' ')}${published(cell.published)}${why}`;
  };

  const block = (student: string): Block => {
    const { attacks, defenses } = labels;
    const columns = defenses.map(column);
    const rows = attacks
      .filter((attack) => of.cells.some((cell) => cell.student === student && cell.attack === attack))
      .map((attack) => ({
        label: attack,
        cells: defenses.map((defense) => shown(at(attack, defense, student))),
      }));
    const concluded = (label: string, said: (defense: string) => string | undefined): readonly Row[] => {
      const cells = defenses.map((defense) => said(defense) ?? '');
      return asked !== undefined || cells.every((text) => text === '') ? [] : [{ label, cells }];
    };
    const isOf = (defense: string) => (each: { readonly defense: string; readonly student: string }) =>
      each.student === student && each.defense === defense;
    return {
      title: `student ${student}, teacher ${of.teacher}`,
      head: 'attack',
      columns,
      rows,
      conclusions: [
        ...concluded('best attack', (defense) => {
          const found = of.best.find(isOf(defense));
          return found && `${found.attack} ${percent(found.accuracy.mean)}`;
        }),
        ...concluded('undistillable', (defense) => {
          const found = of.scores?.find(isOf(defense));
          return found && verdictInWords(found);
        }),
      ],
    };
  };

  // Before the notes are read: drawing the cells is what finds them.
  const blocks = labels.students.map(block);
  const caption = asked === undefined ? captionOf(of, undefended) : captionOn(asked, of);
  const notes = [...caption, ...notesOn(of)];
  return { title: of.experiment, about: of.about, blocks, footnotes: footnotes.notes, caption, notes };
};

/** What a paper reports, beside one's own number. */
const published = (accuracy: number | undefined): string => (accuracy === undefined ? '' : ` ‹${percent(accuracy)}›`);

/** Why a cell has no number, or one over fewer seeds than the experiment has, and whether it is foreign. */
export const reasonOf = (listed: Listed, cell: Cell): string | undefined => {
  const why = cell.accuracy !== undefined ? incomplete(cell) : cell.status === 'not run' ? undefined : cell.reason;
  return [why, foreign(listed, cell)].filter((each) => each !== undefined).join('; ') || undefined;
};

/** Why a cell's mean is over fewer seeds than the experiment has. */
const incomplete = ({ seeds }: Cell): string | undefined => {
  const missing = seeds.filter(({ status }) => status !== 'done');
  if (missing.length === 0) return undefined;
  const reasons = missing.map(({ seed, status, reason }) => `seed ${seed} ${reason ?? status}`);
  return `${seeds.length - missing.length} of ${counted(seeds.length, 'seed')}: ${reasons.join('; ')}`;
};

/** Why a teacher has no number, or one over fewer seeds than the experiment has. */
const lacking = ({ defense, accuracy, seeds }: VictimSummary): string | undefined => {
  const failed = seeds.find(({ reason }) => reason !== undefined);
  if (failed !== undefined) return `teacher of ${defense}, seed ${failed.seed}: ${failed.reason}`;
  const all = distinct(seeds).length;
  return accuracy === undefined || accuracy.count === all
    ? undefined
    : `teacher of ${defense}: ${accuracy.count} of ${counted(all, 'seed')}`;
};

const captionOf = (of: Matrix, undefended: boolean): readonly string[] => [
  whatIsCounted(of),
  seedsSaid(of),
  `(…): difference to the same student trained on labels alone, on the same images and in as many steps${
    of.budget === undefined ? '' : ' (in more than an attack whose training its budget ended)'
  }, seed by seed.`,
  ...(of.published === undefined ? [] : [`‹…›: ${of.published}.${reproductionSaid(of)}`]),
  ...(undefended ? ['[…]: difference to the same attack on the undefended teacher, seed by seed.'] : []),
];

const captionOn = (asked: Measure, of: Matrix): readonly string[] => [
  `${headingOf(asked)}: ${sentenceOf(asked)}`,
  `${capital(onWhat(of))}.`,
  seedsSaid(of),
];

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

/** That one teacher is that of several seeds, which the intervals of their students do not show. */
const sharedTeachers = (of: Matrix): readonly string[] => {
  const { seeds = [] } = of.victims.find(({ defense }) => defense === undefendedIn(of)) ?? of.victims[0] ?? {};
  const own = distinct(seeds).length;
  return own === seeds.length
    ? []
    : [
        `${counted(seeds.length, 'seed')} share ${counted(own, 'teacher')}: intervals of students and differences say nothing of how teachers differ.`,
      ];
};

const notesOn = (of: Matrix): readonly string[] => [
  ...sharedTeachers(of),
  ...ownBaselines(of),
  ...answersSaid(of),
  ...scoresSaid(of),
  ...partOfTheData(of),
  ...queries(of),
  ...divergences(of),
  ...warningsSaid(of).map((warning) => `Warning: ${warning}`),
  ...madeWith(of),
];

export const whatIsCounted = (of: Matrix): string => `Accuracy in % ${onWhat(of)}.`;

const onWhat = ({ report, select, cells, victims }: Matrix): string => {
  const images = [
    ...victims.flatMap(({ seeds }) => seeds.map(({ measures }) => measures?.images)),
    ...cells.flatMap(({ seeds }) => seeds.map(({ student }) => student?.images)),
  ].find((count) => count !== undefined);
  const of = report === 'test' ? 'test images' : 'held-out training images (validation), not on test images';
  const checkpoint = select === 'last' ? 'after the last step' : 'of the checkpoint best on held-out images';
  return `on ${images === undefined ? '' : `${whole(images)} `}${of}, ${checkpoint}`;
};

/** Over how many seeds the numbers of a matrix are, those of the cells with the fewest and with the most. */
export const seedRange = ({ cells, seeds }: Matrix): readonly [least: number, most: number] => {
  const counts = cells.flatMap(({ accuracy }) => accuracy?.count ?? []);
  return counts.length === 0 ? [seeds.length, seeds.length] : extent(counts);
};

/** The same in words: of an unfinished run they are fewer than it has, `1 of 2 seeds`. */
export const seedsCounted = (matrix: Matrix): string => {
  const total = matrix.seeds.length;
  const [least, most] = seedRange(matrix);
  const all = counted(total, 'seed');
  if (least === total) return all;
  const upTo = least === most ? '' : 'up to ';
  return most === total ? `${upTo}${all}` : `${upTo}${most} of ${all}`;
};

export const seedsSaid = (matrix: Matrix): string => {
  const { seeds } = matrix;
  const made = seedsWith(matrix, ({ student }) => student !== undefined);
  const count = made.length === seeds.length ? counted(made.length, 'seed') : `${made.length} of ${seeds.length} seeds`;
  return made.length === 1
    ? `${count} (${made[0]}): no spread.`
    : `Mean ± standard deviation over ${count} (${made.join(', ')}).`;
};

/** Attacks that are compared with something that is no row: a student trained on their own part of the images. */
export const ownBaselines = ({ attacks, cells, students }: Matrix): readonly string[] =>
  attacks.flatMap(({ label, baseline }) => {
    if (baseline === undefined || attacks.some((other) => other.label === baseline)) return [];
    const accuracies = students.flatMap((student) => {
      const cell = cells.find((c) => c.attack === label && c.student === student && c.toBaseline !== undefined);
      if (cell?.accuracy === undefined || cell.toBaseline === undefined) return [];
      return `${percent(cell.accuracy.mean - cell.toBaseline.mean)}${students.length === 1 ? '' : ` (${student})`}`;
    });
    // Of all of them it is called by its name alone.
    const trainedOn = baseline.includes(' on ') ? `${baseline} of the images` : `${baseline}, which is no row`;
    return [`${label} is compared with ${trainedOn}: ${accuracies.join(', ') || 'not run'}.`];
  });

/** How many of a paper's numbers, and of the differences between them, were found again. */
const reproductionSaid = ({ reproduction = [], effects = [], reduced }: Matrix): string => {
  const run = reproduction.filter(({ verdict }) => verdict !== 'not run');
  const within = run.filter(({ verdict }) => verdict === 'within');
  const directed = effects.filter(({ direction }) => direction !== undefined);
  const same = directed.filter(({ direction }) => direction === 'same');
  const tolerance = reproduction[0] === undefined ? '' : ` (±${percent(reproduction[0].tolerance)} points)`;
  return [
    ...(run.length === 0
      ? []
      : [` Within its tolerance${tolerance}: ${within.length} of ${counted(run.length, 'number')}.`]),
    ...(directed.length === 0
      ? []
      : [` Of its differences ${same.length} of ${directed.length} have the same direction.`]),
    ...(reduced === undefined ? [] : [` This setting is reduced: ${reduced}.`]),
  ].join('');
};

/** What each defence does to the best attack and to its teacher. */
export const scoresSaid = (of: Matrix): readonly string[] => [...scoresOfDefenses(of), ...noMerit(of)];

/** Where a defence is called undistillable although nobody gains from the undefended teacher either: that it says nothing. */
const noMerit = (of: Matrix): readonly string[] => {
  const { scores = [], students } = of;
  const none = undefendedIn(of);
  return students.flatMap((student) => {
    const own = scores.filter((score) => score.student === student);
    const undefended = own.find(({ defense }) => defense === none)?.toLabelSmoothing;
    if (undefended === undefined || undefended.mean > 0 || own.every(({ undistillable }) => undistillable !== 'yes'))
      return [];
    const whose = students.length === 1 ? 'The' : `Student ${student}: the`;
    return [
      `${whose} best attack on the undefended teacher is no better than a student trained on smoothed labels either (${signed(undefended.mean)}): that a defence is undistillable here is no merit of it.`,
    ];
  });
};

const scoresOfDefenses = ({ scores = [], students }: Matrix): readonly string[] =>
  scores.flatMap((score) => {
    const { defense, student, harm, teacherCost } = score;
    const verdict = verdictInWords(score);
    const said = [
      ...(harm === undefined ? [] : [`best attack ${signedWithInterval(harm)} against the undefended teacher's`]),
      ...(harm === undefined || teacherCost === undefined ? [] : [`teacher ${signedWithInterval(teacherCost)}`]),
      ...(verdict === undefined ? [] : [`undistillable: ${verdict}`]),
    ];
    const of = students.length === 1 ? defense : `${defense}, student ${student}`;
    return said.length === 0 ? [] : [`${of}: ${said.join(', ')}.`];
  });

/** What is said of the answers of each defence that changes them: how right, how sure and how far from clean ones they are. */
const ofAnswers = ['accuracy', 'calibrationError', 'answerL1', 'answerKl', 'answerChanged'] as const;

/** What the defences that change answers make of them: the price that a user of the model pays. */
export const answersSaid = (matrix: Matrix): readonly string[] => {
  const columns = victimColumnsOf(matrix);
  return matrix.victims.flatMap(({ defense, seeds, metrics = {} }) => {
    if (metrics.answerL1 === undefined) return [];
    const numbers = ofAnswers.flatMap((name) => {
      const column = columns.find((each) => each.name === name);
      const mean = column && meanIn(column, seeds);
      return mean === undefined ? [] : [`${headingOf(column as Measure<VictimResult>)} ${mean}`];
    });
    return [`What ${defense} answers: ${numbers.join('; ')}.`];
  });
};

export const partOfTheData = ({ data: { name, fraction, validation } }: Matrix): readonly string[] => {
  const held = validation === 0 ? '' : `, ${percentage(validation)} of them held out`;
  return [`Data: ${name}, ${fraction === 1 ? 'all' : percentage(fraction)} of the training images${held}.`];
};

/** What each attack asked of its victim, where it is the same for all columns said once: of a black box, and of weights at hand. */
export const queries = (matrix: Matrix): readonly string[] => {
  const said = (what: string, of: (cell: Cell) => Spread | undefined): readonly string[] => {
    const each = matrix.attacks.flatMap(({ label }) => {
      const counts = matrix.cells.flatMap((cell) => {
        const mean = cell.attack === label ? (of(cell)?.mean ?? 0) : 0;
        return mean > 0 ? [mean] : [];
      });
      if (counts.length === 0) return [];
      const [least, most] = extent(counts);
      return [`${label} ${least === most ? whole(least) : `${whole(least)} to ${whole(most)}`}`];
    });
    return each.length === 0 ? [] : [`${what}: ${each.join(', ')}.`];
  };
  const { budget } = matrix;
  return [
    ...(budget === undefined ? [] : [`Budget: ${whole(budget)} answers of a black box.`]),
    ...said('Queries to the victim, in images a student', ({ queries }) => queries),
    ...said("Forward passes through the victim's weights (no queries), in images", ({ forward }) => forward),
    ...said("Backward passes through the victim's weights, in images", ({ backward }) => backward),
  ];
};

const mean = (values: readonly number[]): Spread['mean'] =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** How far the answers of retrained teachers are from their adversaries'. */
export const divergences = ({ victims, seeds: all }: Matrix): readonly string[] =>
  victims.flatMap(({ defense, seeds }) => {
    const found = seeds.flatMap(({ divergence }) => divergence ?? []);
    if (found.length === 0) return [];
    const normal = found.flatMap((each) => each.normal ?? []);
    const none = all.length === 1 ? ' (one seed: there is no second normal teacher to compare it with)' : '';
    const between = normal.length === 0 ? none : ` (between two normal teachers: ${mean(normal).toPrecision(3)})`;
    return [`${defense}: KL to the adversary ${mean(found.map(({ kl }) => kl)).toPrecision(3)} nats${between}.`];
  });

/**
 * What stages warned of, each once, with whose it is; what differs from seed to seed by its numbers alone, of the first one, and what an attack
 * warns of on several defences in one line.
 */
export const warningsSaid = ({ victims, cells }: Matrix): readonly string[] => {
  const by = (seeds: readonly { readonly seed: string; readonly warnings: readonly string[] }[]): readonly string[] => {
    const each = seeds.flatMap(({ seed, warnings }) => warnings.map((warning) => ({ seed, warning })));
    const inWords = ({ warning }: { readonly warning: string }): string => warning.replace(/\d[\d.,]*/g, '0');
    return unique(each.map(inWords)).map((words) => {
      const alike = each.filter((one) => inWords(one) === words);
      const [first, ...others] = unique(alike.map(({ seed }) => seed));
      const also = others.length === 0 ? '' : ` (much the same: seed ${others.join(', ')})`;
      return `seed ${first}${also}: ${alike[0]?.warning}`;
    });
  };
  const stolen = cells.flatMap(({ attack, defense, seeds }) => by(seeds).map((said) => ({ attack, defense, said })));
  return unique([
    ...victims.flatMap(({ defense, seeds }) => by(seeds).map((said) => `${defense}, ${said}`)),
    ...[...grouped(stolen, ({ attack, said }) => JSON.stringify([attack, said])).values()].map((alike) => {
      const { attack, said } = alike[0] as (typeof alike)[number];
      return `${attack} on ${firstFew(unique(alike.map(({ defense }) => defense)))}, ${said}`;
    }),
  ]);
};

const madeWith = ({ provenance }: Matrix): readonly string[] => {
  const said = ({ undistill, engine, engineVersion, gpus, node, platform }: Provenance, threads: string): string =>
    `Made with undistill ${undistill}, ${engine} ${engineVersion}, ${threads}${
      gpus.length === 0 ? '' : `, ${gpus.join(', ')}`
    }, Node ${node.replace(/^v/, '')} on ${platform}.`;
  return unique(
    provenance.map((of) => {
      // How many threads a stage had is the crew's choice, and changes no number.
      const alike = provenance.filter((each) => said(each, '') === said(of, ''));
      const [most, ...fewer] = unique(alike.map(({ threads }) => threads)).toSorted((a, b) => b - a);
      return said(of, [...fewer.reverse(), `${counted(most as number, 'thread')}`].join(' or '));
    }),
  );
};
