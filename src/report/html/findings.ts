import { counted, percent, signed, whole } from '../../core/text.js';
import { lookup } from '../../results/lookup.js';
import { roleOf } from '../../results/roles.js';
import { paired } from '../../results/scores.js';
import type { Spread } from '../../results/spread.js';
import type { Matrix, VictimSummary } from '../../results/types.js';
import { seedRange, seedsCounted } from '../layout.js';

/** What came of one defence, in words. */
export interface Finding {
  readonly defense: string;
  /** `teacher 98.14 % (−0.23)`; what became of it where it has no number. */
  readonly teacher: string;
  /** How far its answers are from clean ones, and from what they are right in, where it changes them. */
  readonly answers?: string;
  /** The best attack of each student. */
  readonly attacks: readonly {
    /** Where there are several. */
    readonly student?: string;
    readonly attack: string;
    readonly accuracy: string;
    /** To the same student trained alone. */
    readonly difference?: number;
    readonly sentence: string;
    readonly verdict?: string;
  }[];
}

/** A name, or how many there are. */
const listed = (names: readonly string[], plural: string): string =>
  names.length === 1 ? (names[0] as string) : `${whole(names.length)} ${plural}`;

/** What a run tested, for somebody who knows nothing of it. */
export const lead = (matrix: Matrix): readonly string[] => {
  const { attacks, defenses, students, data, teacher, report } = matrix;
  const honest = attacks.filter((attack) => roleOf(attack) !== 'attack').length;
  const attackers = attacks.length - honest;
  const over = seedsCounted(matrix);
  const [, seeds] = seedRange(matrix);
  const into = students.length === 0 ? 'a student' : listed(students, 'students');
  return [
    `${counted(attackers, 'attack')} ${attackers === 1 ? 'tries' : 'try'} to copy the teacher ${teacher} into ${into}, once behind each of ${counted(defenses.length, 'defence')}.`,
    ...(honest === 0
      ? []
      : [
          `${counted(honest, 'honest student')} trained without the teacher ${honest === 1 ? 'shows' : 'show'} what stealing must beat.`,
        ]),
    `Accuracy is on ${report === 'test' ? 'test' : 'held-out training'} images of ${data.name}.`,
    seeds === 1
      ? `Every number is from ${over}, which cannot tell a small difference from chance.`
      : `Every number is a mean over ${over}.`,
  ];
};

/** The same of a run that has only a plan, or not even that. */
export const planned = ({ attacks, defenses, seeds }: Matrix): readonly string[] =>
  attacks.length === 0
    ? ['There is nothing in this run yet.']
    : [
        `Planned: ${counted(attacks.length, 'attack')}, honest students among them, on ${counted(defenses.length, 'defence')}, over ${counted(seeds.length, 'seed')}. Nothing is measured yet.`,
      ];

/** Students of which a sentence each can be read. */
const mostStudents = 3;

/** From which defence the most is stolen, and from which the least, where there are not many students; and whether that is more than chance. */
export const conclusions = ({ best, students, victims, cells }: Matrix): readonly string[] => {
  const at = lookup(cells);
  return students.slice(0, mostStudents).flatMap((student) => {
    const ranked = best.filter((each) => each.student === student).sort((a, b) => b.accuracy.mean - a.accuracy.mean);
    const [most, least] = [ranked[0], ranked.at(-1)];
    if (most === undefined || least === undefined || most === least) return [];
    const into = students.length === 1 ? '' : ` into ${student}`;
    const cost = -(victims.find(({ defense }) => defense === least.defense)?.toUndefended?.mean ?? 0);
    const price = cost > 0 ? `, and the teacher gives up ${percent(cost)} points for it` : '';
    const [ofMost, ofLeast] = [most, least].map(({ attack, defense }) => at(attack, defense, student));
    const [low = 0] = paired(ofMost, ofLeast)?.interval ?? [];
    const doubt = low > 0 ? '' : ' The seeds do not tell the two apart.';
    return [
      `The most is stolen${into} from ${most.defense}: ${most.attack} reaches ${percent(most.accuracy.mean)} %. ` +
        `The least is stolen from ${least.defense}: ${least.attack} reaches ${percent(least.accuracy.mean)} %${price}.${doubt}`,
    ];
  });
};

export const findingsOf = (matrix: Matrix): readonly Finding[] => {
  const at = lookup(matrix.cells);
  return matrix.victims.map(({ defense, accuracy, toUndefended, seeds, metrics = {} }): Finding => {
    const answers = ofAnswers(metrics);
    const failed = seeds.some(({ reason }) => reason !== undefined);
    const cost = toUndefended === undefined || toUndefended.mean === 0 ? '' : ` (${signed(toUndefended.mean)})`;
    return {
      defense,
      teacher:
        accuracy === undefined
          ? failed
            ? 'teacher failed'
            : 'teacher not run'
          : `teacher ${percent(accuracy.mean)} %${cost}`,
      ...(answers === undefined ? {} : { answers }),
      attacks: matrix.best
        .filter((best) => best.defense === defense)
        .map(({ student, attack, accuracy: best }) => {
          const difference = at(attack, defense, student)?.toBaseline;
          const verdict = matrix.scores?.find((each) => each.defense === defense && each.student === student)?.verdict;
          return {
            ...(matrix.students.length > 1 ? { student } : {}),
            attack,
            accuracy: `${percent(best.mean)} %`,
            ...(difference === undefined ? {} : { difference: difference.mean }),
            sentence: inWords(difference),
            ...(verdict === undefined ? {} : { verdict }),
          };
        }),
    };
  });
};

/** What a defence that changes answers makes of them. */
const ofAnswers = ({
  answerL1,
  answerKl,
  calibrationError,
}: NonNullable<VictimSummary['metrics']>): string | undefined =>
  answerL1 === undefined || answerKl === undefined || calibrationError === undefined
    ? undefined
    : `answers L1 ${answerL1.mean.toFixed(2)} and KL ${answerKl.mean.toFixed(2)} nats from clean ones; calibration error ${percent(calibrationError.mean)} %`;

const inWords = (difference: Spread | undefined): string => {
  if (difference === undefined) return '';
  const { mean, count } = difference;
  const points = percent(Math.abs(mean));
  const compared = Number(points) === 0 ? 'as good as' : `${points} points ${mean > 0 ? 'better' : 'worse'} than`;
  return `${compared} the same student trained alone${count === 1 ? ', on one seed' : ''}`;
};
