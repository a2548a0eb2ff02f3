import { unique } from '../core/lists.js';
import { counted, percent, percentage, signed, whole } from '../core/text.js';
import type { ThreatModel } from '../experiment/threat-model.js';
import { type Board, boardsOf, dominated, mainThreat, standingAt } from '../results/boards.js';
import type { Entry, Ranking, Standing } from '../results/ranking.js';
import type { Spread } from '../results/spread.js';
import { type Block, footnoter, type Layout } from './layout.js';
import { meanAndDeviation, meanOf } from './numbers.js';

/** Who attacks, in words. */
export const threatSaid = ({ access, has }: ThreatModel): string => {
  const images = { own: "with the victim's images", other: 'with other images', none: 'without images' } as const;
  return `${access} at most, ${images[has]}`;
};

/** A difference of means with its interval: `−1.00 (−2.10 to +0.10)`. */
const difference = (of: Spread | undefined): string => {
  if (of === undefined) return '–';
  return of.interval === undefined ? signed(of.mean) : `${signed(of.mean)} (${of.interval.map(signed).join(' to ')})`;
};

/** Who has the weights asks for no answers. */
const asked = (queries: Spread | undefined): string =>
  queries === undefined || queries.mean === 0 ? '–' : whole(Math.round(queries.mean));

const distance = ({ mean, count }: Spread): string => meanOf({ unit: 'number' }, { mean, count });

/** The entries of a board, those of which least is stolen first; those of which nothing is known last. */
export const inOrder = (board: Board): readonly Entry[] => {
  const threat = mainThreat(board);
  const stolen = (entry: Entry) => standingAt(entry, threat)?.accuracy.mean ?? Number.POSITIVE_INFINITY;
  return [...board.entries].sort((a, b) => stolen(a) - stolen(b));
};

/** Attackers that are named one by one where their numbers are missing. */
const fewAttackers = 5;

const lacking = (attackers: readonly string[]): string =>
  attackers.length > fewAttackers
    ? `of ${attackers.length} attackers some seeds are missing`
    : `of ${attackers.join(', ')} numbers are missing`;

/** A ranking in words, before it is drawn. */
export const rankingLayout = (ranking: Ranking): Layout => {
  const footnotes = footnoter();
  const boards = boardsOf(ranking);

  const reservations = (standing: Standing): string => {
    const { chosenOn, equals = [], highest, accuracy, missing } = standing;
    return [
      chosenOn === 'reported'
        ? footnotes.for(
            'Chosen on the images of its accuracy, which flatters the attacker: not all have numbers on held-out ones.',
          )
        : '',
      equals.length === 0
        ? ''
        : footnotes.for(
            `As good on the images that chose: ${equals.map(({ attack, accuracy }) => `${attack} (${percent(accuracy.mean)})`).join(', ')}.`,
          ),
      highest === undefined || highest.accuracy.mean - accuracy.mean <= 0
        ? ''
        : footnotes.for(`On the reported images ${highest.attack} is higher: ${percent(highest.accuracy.mean)}.`),
      missing.length === 0 ? '' : footnotes.for(`At least: ${lacking(missing)}.`),
    ].join('');
  };

  /** Of answers to clean ones: on the reported images, and in brackets on what the strongest attacker asked. */
  const distances = ({ l1, ownL1, asked }: Record<'l1' | 'ownL1' | 'asked', Spread | undefined>): string => {
    const found = l1 ?? ownL1;
    if (found === undefined) return '–';
    const own = l1 === undefined ? footnotes.for('To the clean answers of its own net, which was trained anew.') : '';
    return `${distance(found)}${own}${asked === undefined ? '' : ` (${distance(asked)})`}`;
  };

  const main = (board: Board): Block => {
    const threat = mainThreat(board);
    const worse = dominated(board.entries, threat);
    return {
      title: `student ${board.student}, teacher ${board.run.teacher}, on ${board.run.data.name}${
        threat === undefined ? '' : `; attackers: ${threatSaid(threat)}`
      }`,
      head: 'defence',
      columns: [
        { label: 'teacher, %', detail: '(to undefended)' },
        { label: 'L1 of answers', detail: '(to the attacker)' },
        { label: 'strongest', detail: 'attacker' },
        { label: 'its student', detail: '%' },
        { label: 'answers', detail: 'it asked for' },
        { label: 'harm', detail: '95 % interval' },
        { label: 'to trained', detail: 'alone' },
        { label: 'to smoothed', detail: 'labels' },
        { label: 'to labels', detail: 'alone' },
        { label: 'to a passive', detail: 'attacker (gap)' },
        { label: 'dominated', detail: 'by the defence' },
      ],
      rows: inOrder(board).map((entry) => {
        const { teacher, toUndefended, l1, ownL1 } = entry.cost;
        const standing = standingAt(entry, threat);
        return {
          label: entry.defense,
          cells: [
            teacher === undefined
              ? '–'
              : `${meanAndDeviation(teacher)}${toUndefended === undefined ? '' : ` (${signed(toUndefended.mean)})`}`,
            distances({ l1, ownL1, asked: standing?.l1 }),
            ...(standing === undefined
              ? Array(8).fill('–')
              : [
                  `${standing.attack}${reservations(standing)}`,
                  meanAndDeviation(standing.accuracy),
                  asked(standing.queries),
                  entry.role === 'identity' ? '' : difference(standing.harm),
                  difference(standing.toBaseline),
                  difference(standing.toLabelSmoothing),
                  difference(standing.toLabelOnly),
                  difference(standing.gap),
                ]),
            worse.get(entry)?.defense ?? '',
          ],
        };
      }),
      conclusions: [],
    };
  };

  const byThreat = (board: Board): readonly Block[] => {
    const threats = unique(
      board.entries.flatMap(({ scores }) => scores.map(({ access, has }) => JSON.stringify({ access, has }))),
    ).map((text) => JSON.parse(text) as ThreatModel);
    if (threats.length < 2) return [];
    return [
      {
        title: `by who attacks: the strongest attacker's student, %, who it is, and the harm with its 95 % interval; student ${board.student}`,
        head: 'defence',
        columns: threats.map(({ access, has }) => ({
          label: access,
          detail: threatSaid({ access, has }).split(', ')[1] as string,
        })),
        rows: inOrder(board).map((entry) => ({
          label: entry.defense,
          cells: threats.map((threat) => {
            const standing = standingAt(entry, threat);
            if (standing === undefined) return '–';
            const { accuracy, harm, attack } = standing;
            return `${percent(accuracy.mean)} ${attack}${harm === undefined ? '' : `: ${difference(harm)}`}`;
          }),
        })),
        conclusions: [],
      },
    ];
  };

  // Before the notes are read: drawing the cells is what finds them.
  const blocks = boards.flatMap((board) => [main(board), ...byThreat(board)]);
  return {
    title: 'Defences by what the strongest attacker gets of them',
    about: '',
    blocks,
    footnotes: footnotes.notes,
    caption,
    notes: [...caption, ...ranking.runs.map(runSaid)],
  };
};

const caption = [
  'The strongest attacker is the one whose students are best on held-out images, by the mean over the seeds that all have; what is shown is on the reported images. Nothing is gained by chance so, but another than the strongest may be chosen: who asks for less is among those who ask for more, and yet can come out above them.',
  'Held-out images have the victim’s labels, which an attacker with other images or none has not: what such a one gets is an upper bound.',
  '±: standard deviation over seeds. In brackets behind a difference: its 95 % interval over seeds, by Student’s t, which knows nothing of the choice among attackers nor of how many defences are looked at.',
  'Harm: its accuracy minus that of the strongest attacker on the undefended teacher, seed by seed; below 0 it is harmed.',
  "The columns after it are the same accuracy minus that of: the same net trained alone; that net on smoothed labels, the better of those tried; the strongest of those who ask for labels only, below whom no defence that keeps the label pushes anybody; and a passive attacker, who takes answers as they are told, by distillation at the temperature of the defence's paper.",
  'L1: mean Σ|given − clean| of the answers to the reported images, and to what the strongest attacker asked; none where only labels are told, or the teacher was trained anew.',
  'Dominated: another defence has no worse a teacher, answers no further from the clean ones, and leaves no more to steal, by means over seeds, which the seeds need not tell apart. Where there is no L1, it is compared with its like, without it.',
];

const runSaid = ({
  id,
  experiment,
  data,
  report,
  seeds,
  attackers,
  budget,
  reduced,
  provenance,
}: Ranking['runs'][number]): string =>
  [
    `${experiment} (${id.slice(0, 12)}): ${data.name}, ${percentage(data.fraction)} of the training images, ${percentage(data.validation)} of them held out`,
    ...(report === 'test' ? [] : ['reported on the held-out images']),
    counted(seeds.length, 'seed'),
    counted(attackers.length, 'attacker'),
    ...(budget === undefined ? [] : [`${whole(budget)} answers each`]),
    ...(reduced === undefined ? [] : [`reduced: ${reduced}`]),
    ...unique(
      provenance.map(({ undistill, engine, engineVersion }) => `undistill ${undistill}, ${engine} ${engineVersion}`),
    ),
  ]
    .join('; ')
    .concat('.');
