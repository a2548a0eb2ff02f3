import { grouped } from '../../core/lists.js';
import { percent, showSeconds, signed, whole } from '../../core/text.js';
import type { Spread } from '../../results/spread.js';
import type { Cell, Matrix, SeedResult, VictimSummary } from '../../results/types.js';
import { cellId, victimId } from './addresses.js';
import { type Curves, curvesOf } from './curves.js';
import { type Fact, flattened } from './facts.js';
import type { Run, RunImages } from './run.js';

/** What opens from a cell. */
export interface Detail {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  readonly facts: readonly Fact[];
  /** A line a number, a column a seed; the first of a line is its name, and the first line has the seeds' labels. */
  readonly seeds: readonly (readonly string[])[];
  readonly curves: readonly Curves[];
  readonly images: readonly RunImages[];
  readonly params: readonly { readonly of: string; readonly params: readonly Fact[] }[];
  readonly warnings: readonly string[];
}

const timeOr = (seconds: number | undefined): string => (seconds === undefined ? '–' : showSeconds(seconds));
const percentOr = (share: number | undefined): string => (share === undefined ? '–' : percent(share));
const signedOr = (share: number | undefined): string => (share === undefined ? '–' : signed(share));
const wholeOr = (count: number | undefined): string => (count === undefined ? '–' : whole(count));
const decimal = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(3));

type SeedLine<Of> = readonly [name: string, show: (of: Of) => string];

/** A table of seeds, without lines of which no seed has anything. */
const seedTable = <Of>(lines: readonly SeedLine<Of>[], seeds: readonly Of[]): Detail['seeds'] =>
  lines
    .map(([title, show]) => [title, ...seeds.map(show)])
    .filter(([, ...values]) => values.some((value) => value !== '–'));

const cellLines: readonly SeedLine<SeedResult>[] = [
  ['seed', ({ seed }) => seed],
  ['status', ({ status, reason }) => (reason === undefined ? status : `${status}: ${reason}`)],
  ['accuracy %', ({ student }) => percentOr(student?.metrics.accuracy)],
  ['to baseline', ({ toBaseline }) => signedOr(toBaseline)],
  ['to label smoothing', ({ toLabelSmoothing }) => signedOr(toLabelSmoothing)],
  ['to undefended', ({ toUndefended }) => signedOr(toUndefended)],
  ['teacher %', ({ teacherAccuracy }) => percentOr(teacherAccuracy)],
  ['after last step %', ({ student }) => percentOr(student?.last)],
  ['best held out %', ({ student }) => percentOr(student?.best)],
  ['agreement %', ({ student }) => percentOr(student?.metrics.agreement)],
  ['calibration error', ({ student }) => decimal(student?.metrics.calibrationError)],
  ['log likelihood, negative', ({ student }) => decimal(student?.metrics.negativeLogLikelihood)],
  ['queries', ({ queries: count }) => wholeOr(count)],
  ['training images', ({ trainImages }) => wholeOr(trainImages)],
  ['time', ({ seconds }) => timeOr(seconds)],
  ['steps a second', ({ stepsPerSecond }) => wholeOr(stepsPerSecond)],
];

const victimLines: readonly SeedLine<VictimSummary['seeds'][number]>[] = [
  ['seed', ({ seed }) => seed],
  ['status', ({ reason, measures }) => (reason !== undefined ? `failed: ${reason}` : measures ? 'done' : 'not run')],
  ['accuracy %', ({ measures }) => percentOr(measures?.metrics.accuracy)],
  ['after last step %', ({ measures }) => percentOr(measures?.last)],
  ['best held out %', ({ measures }) => percentOr(measures?.best)],
  ['calibration error', ({ measures }) => decimal(measures?.metrics.calibrationError)],
  ['log likelihood, negative', ({ measures }) => decimal(measures?.metrics.negativeLogLikelihood)],
  ['KL to adversary', ({ divergence }) => decimal(divergence?.kl)],
  ['KL of normal teachers', ({ divergence }) => decimal(divergence?.normal)],
  ['time', ({ seconds }) => timeOr(seconds)],
];

/** A mean in words: `94.20 ± 1.27 (95 % interval 92.90 to 95.50)`. */
const inWords = (mean: Spread, show: (share: number) => string): string => {
  const interval = mean.interval === undefined ? '' : ` (95 % interval ${mean.interval.map(show).join(' to ')})`;
  const spread = mean.sd === undefined ? '' : ` ± ${percent(mean.sd)}`;
  return `${show(mean.mean)}${spread}${interval}`;
};

const meanFact = (title: string, mean: Spread | undefined, show: (share: number) => string): readonly Fact[] =>
  mean === undefined ? [] : [[title, inWords(mean, show)]];

/** With its source, which says whether it was checked. */
const publishedFact = (accuracy: number | undefined, source: string | undefined): readonly Fact[] =>
  accuracy === undefined
    ? []
    : [['a paper reports', `${percent(accuracy)} %${source === undefined ? '' : ` (${source})`}`]];

/** What training the students of a cell, and the teacher behind a defence, left of itself. */
const curvesIn = ({ plan, stages }: Run) => {
  const planned = (plan?.cells ?? []).flatMap(({ stages: own, ...cell }) =>
    own === undefined ? [] : { ...cell, ...own },
  );
  const ofCell = grouped(planned, cellId);
  const ofDefense = grouped(planned, ({ defense }) => defense);
  const inputs = new Map(plan?.stages.map((stage) => [stage.id, stage.inputs]));
  const logged = (seed: string, id: string | undefined) => ({ seed, logs: stages.get(id ?? '')?.logs ?? [] });
  return {
    ofCell: (id: string): readonly Curves[] =>
      curvesOf((ofCell.get(id) ?? []).map(({ seed, steal }) => logged(seed, steal))),
    /** The teachers are what is stolen from. */
    ofTeacher: (defense: string): readonly Curves[] => {
      const thefts = (ofDefense.get(defense) ?? []).filter(({ steal }) => inputs.get(steal)?.victim !== undefined);
      const bySeed = new Map(thefts.map(({ seed, steal }) => [seed, inputs.get(steal)?.victim]));
      return curvesOf([...bySeed].map(([seed, victim]) => logged(seed, victim)));
    },
  };
};

const paramsOf = (of: string, params: unknown): Detail['params'] => {
  const flat = flattened(params);
  return flat.length === 0 ? [] : [{ of, params: flat }];
};

const warningsOf = (seeds: Cell['seeds'] | VictimSummary['seeds']): readonly string[] =>
  seeds.flatMap(({ seed, warnings }) => warnings.map((warning) => `seed ${seed}: ${warning}`));

/** The details of every teacher and every cell. */
export const detailsOf = (
  run: Run,
  matrix: Matrix,
  cells: readonly Cell[],
  defenses: readonly string[],
): readonly Detail[] => {
  const curves = curvesIn(run);
  const images = grouped(run.images, ({ file }) => cellId(file));
  const attackOf = new Map(matrix.attacks.map((attack) => [attack.label, attack]));
  const defenseOf = new Map(matrix.defenses.map((defense) => [defense.label, defense]));

  const ofCell = (cell: Cell): Detail => {
    const { attack, defense, student, seeds } = cell;
    const [attacker, guard] = [attackOf.get(attack), defenseOf.get(defense)];
    const id = cellId(cell);
    return {
      id,
      title: `${attack} on ${defense}`,
      subtitle: [
        `student ${student}`,
        ...(attacker?.owns ? [`owns ${attacker.owns}`] : []),
        ...(attacker?.needs
          ? [attacker.needs === 'none' ? 'asks no teacher' : `needs the teacher's ${attacker.needs}`]
          : []),
        ...(guard?.exposes ? [`the teacher exposes its ${guard.exposes}`] : []),
      ].join(' · '),
      facts: [
        ...(cell.accuracy === undefined ? [['status', cell.status] as const] : []),
        ...(cell.reason === undefined ? [] : [['reason', cell.reason] as const]),
        ...meanFact('accuracy, %', cell.accuracy, percent),
        ...meanFact(`to its baseline${attacker?.baseline ? `, ${attacker.baseline}` : ''}`, cell.toBaseline, signed),
        ...meanFact('to a student on smoothed labels', cell.toLabelSmoothing, signed),
        ...meanFact('to the undefended teacher', cell.toUndefended, signed),
        ...publishedFact(cell.published, matrix.published),
        ...(cell.queries === undefined || cell.queries.mean === 0
          ? []
          : [['queries', `${whole(cell.queries.mean)} images`] as const]),
      ],
      seeds: seedTable(cellLines, seeds),
      curves: curves.ofCell(id),
      images: images.get(id) ?? [],
      params: [...paramsOf(`attack ${attack}`, attacker?.params), ...paramsOf(`defence ${defense}`, guard?.params)],
      warnings: warningsOf(seeds),
    };
  };

  const ofVictim = (defense: string): Detail => {
    const victim = matrix.victims.find((each) => each.defense === defense);
    const guard = defenseOf.get(defense);
    return {
      id: victimId(defense),
      title: `teacher behind ${defense}`,
      subtitle: [
        ...(matrix.teacher === '' ? [] : [matrix.teacher]),
        ...(guard?.exposes ? [`exposes its ${guard.exposes}`] : []),
      ].join(' · '),
      facts: [
        ...meanFact('accuracy, %', victim?.accuracy, percent),
        ...meanFact('to the undefended teacher', victim?.toUndefended, signed),
        ...publishedFact(victim?.published, matrix.published),
      ],
      seeds: seedTable(victimLines, victim?.seeds ?? []),
      curves: curves.ofTeacher(defense),
      images: [],
      params: paramsOf(`defence ${defense}`, guard?.params),
      warnings: warningsOf(victim?.seeds ?? []),
    };
  };

  return [...defenses.map(ofVictim), ...cells.map(ofCell)];
};
