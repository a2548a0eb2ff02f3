import { grouped, own, unique } from '../../core/lists.js';
import { percent, whole } from '../../core/text.js';
import type { Quantity } from '../../metrics/quantity.js';
import { type Column, columnsOf, metricsOf, type VictimResult, victimColumnsOf } from '../../results/columns.js';
import type { Spread } from '../../results/spread.js';
import type { Cell, Matrix, SeedResult, VictimSummary } from '../../results/types.js';
import { headingOf, meanOf, sentenceOf, shown } from '../numbers.js';
import { cellId, victimId } from './addresses.js';
import { type Curves, curvesOf } from './curves.js';
import { type Fact, flattened } from './facts.js';
import type { Run, RunImages } from './run.js';

/** The numbers of each seed. */
export interface SeedTable {
  /** The seeds' labels. */
  readonly head: readonly string[];
  readonly lines: readonly {
    readonly title: string;
    /** What it tells, in a sentence. */
    readonly describe?: string;
    /** One a seed. */
    readonly values: readonly string[];
  }[];
}

/** What opens from a cell. */
export interface Detail {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  readonly facts: readonly Fact[];
  readonly seeds: SeedTable;
  readonly curves: readonly Curves[];
  readonly images: readonly RunImages[];
  readonly params: readonly { readonly of: string; readonly params: readonly Fact[] }[];
  readonly warnings: readonly string[];
}

/** Without lines of which no seed has anything. */
const seedTable = <Of extends { readonly seed: string }>(
  columns: readonly Column<Of>[],
  seeds: readonly Of[],
  status: (of: Of) => string,
): SeedTable => ({
  head: seeds.map(({ seed }) => seed),
  lines: [
    { title: 'status', values: seeds.map(status) },
    ...columns.flatMap((column) => {
      const values = seeds.map((seed) => column.of(seed));
      if (values.every((value) => value === undefined)) return [];
      return [
        {
          title: headingOf(column),
          describe: sentenceOf(column),
          values: values.map((value) => (value === undefined ? '–' : shown(column, value))),
        },
      ];
    }),
  ],
});

const statusOf = ({ status, reason }: SeedResult): string => (reason === undefined ? status : `${status}: ${reason}`);

const victimStatus = ({ reason, measures }: VictimResult): string =>
  reason !== undefined ? `failed: ${reason}` : measures ? 'done' : 'not run';

/** A mean in words: `94.20 ± 1.27 (95 % interval 92.90 to 95.50)`. */
const inWords = (of: Pick<Quantity, 'unit'>, mean: Spread): string => {
  const { interval } = mean;
  const within = interval?.map((bound) => shown(of, bound)).join(' to ');
  return `${meanOf(of, mean)}${within === undefined ? '' : ` (95 % interval ${within})`}`;
};

/** The means of metrics that have some, but for the accuracy, which comes first. */
const metricFacts = (matrix: Matrix, means: Cell['metrics'] = {}): readonly Fact[] =>
  metricsOf(matrix).flatMap((metric) => {
    const mean = metric.name === 'accuracy' ? undefined : own(means, metric.name);
    return mean === undefined ? [] : [[headingOf(metric), inWords(metric, mean)] as const];
  });

const [share, difference] = [{ unit: 'share' }, { unit: 'difference' }] as const;

const meanFact = (title: string, mean: Spread | undefined, of: Pick<Quantity, 'unit'>): readonly Fact[] =>
  mean === undefined ? [] : [[title, inWords(of, mean)]];

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
  const logged = (seed: string, ...ids: readonly (string | undefined)[]) => ({
    seed,
    logs: unique(ids).flatMap((id) => stages.get(id ?? '')?.logs ?? []),
  });
  return {
    ofCell: (id: string): readonly Curves[] =>
      curvesOf((ofCell.get(id) ?? []).map(({ seed, images, steal }) => logged(seed, images, steal))),
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
        ...meanFact('accuracy, %', cell.accuracy, share),
        ...meanFact(
          `to its baseline${attacker?.baseline ? `, ${attacker.baseline}` : ''}`,
          cell.toBaseline,
          difference,
        ),
        ...meanFact('to a student on smoothed labels', cell.toLabelSmoothing, difference),
        ...meanFact('to the undefended teacher', cell.toUndefended, difference),
        ...publishedFact(cell.published, matrix.published),
        ...(cell.queries === undefined || cell.queries.mean === 0
          ? []
          : [['queries', `${whole(cell.queries.mean)} images`] as const]),
        ...metricFacts(matrix, cell.metrics),
      ],
      seeds: seedTable(columnsOf(matrix), seeds, statusOf),
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
        ...meanFact('accuracy, %', victim?.accuracy, share),
        ...meanFact('to the undefended teacher', victim?.toUndefended, difference),
        ...publishedFact(victim?.published, matrix.published),
        ...metricFacts(matrix, victim?.metrics),
      ],
      seeds: seedTable(victimColumnsOf(matrix), victim?.seeds ?? [], victimStatus),
      curves: curves.ofTeacher(defense),
      images: [],
      params: paramsOf(`defence ${defense}`, guard?.params),
      warnings: warningsOf(victim?.seeds ?? []),
    };
  };

  return [...defenses.map(ofVictim), ...cells.map(ofCell)];
};
