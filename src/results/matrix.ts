import { type AnyAttack, describeOwnership } from '../attacks/attack.js';
import { defined, grouped, own, unique } from '../core/lists.js';
import { type Experiment, undefendedOf } from '../experiment/experiment.js';
import { described } from '../experiment/labels.js';
import type { CellPlan, Plan } from '../experiment/plan.js';
import { describePublished, publishedStudent, publishedTeacher } from '../experiment/published.js';
import { type Metric, metrics } from '../metrics/metric.js';
import { declared } from '../metrics/quantity.js';
import type { Divergence, Measures, Outcome, Provenance, StageRecord } from '../run/record.js';
import { isPretrained } from '../train/pretrained.js';
import { type Column, columnsOf, victimColumnsOf } from './columns.js';
import { lookup } from './lookup.js';
import { reproduced, reproducedEffects } from './reproduction.js';
import { scores } from './scores.js';
import { type Spread, shareSpread, spread, spreadOf } from './spread.js';
import type { BestAttack, Cell, Matrix, MetricSummary, SeedResult, VictimSummary } from './types.js';

/** A stage's outcome and, for a measuring stage, what it measured. */
export interface Finished {
  readonly outcome: Outcome;
  readonly result?: Measures | Divergence;
}

/** The table of an experiment: a pure function of its plan and what became of its stages. */
export const matrix = (plan: Plan, finished: ReadonlyMap<string, Finished>, fingerprint: string): Matrix => {
  const of = plan.experiment;
  const recordOf = (id: string): StageRecord | undefined => {
    const outcome = finished.get(id)?.outcome;
    return outcome !== undefined && 'record' in outcome ? outcome.record : undefined;
  };
  const measuresOf = (id: string | undefined): Measures | undefined =>
    id === undefined ? undefined : (finished.get(id)?.result as Measures | undefined);
  const accuracyOf = (id: string | undefined): number | undefined => measuresOf(id)?.metrics.accuracy;
  const reasonOf = (id: string): Pick<SeedResult, 'status' | 'reason'> | undefined => {
    const outcome = finished.get(id)?.outcome;
    if (outcome === undefined) return { status: 'not run' };
    if (outcome.status === 'failed') return { status: 'failed', reason: outcome.failure.what };
    if (outcome.status === 'skipped') return { status: 'skipped', reason: `${outcome.because} failed` };
    return undefined;
  };

  const undefended = undefendedOf(of);
  const smoothing = of.attacks.find(({ attack }) => attack.role === 'reference')?.label;
  const at = lookup(plan.cells);
  const victimOf = new Map(plan.victims.map((victim) => [JSON.stringify([victim.defense, victim.seed]), victim]));
  const summaries = [...metrics, ...of.metrics].map(summaryOf);
  const columns = columnsOf({ metrics: summaries });
  const victimColumns = victimColumnsOf({ metrics: summaries });
  const minus = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || b === undefined ? undefined : a - b;

  const seedResult = (cell: CellPlan): SeedResult => {
    const { stages, seed, student: net } = cell;
    const victim = victimOf.get(JSON.stringify([cell.defense, seed]));
    if (stages === undefined)
      return { seed, status: 'n/a', ...(cell.reason === undefined ? {} : { reason: cell.reason }), warnings: [] };
    const steal = recordOf(stages.steal);
    // The images that all students of an attack learn from are a part of each theft.
    const theft = unique([stages.images, stages.steal]).flatMap((id) => (id && recordOf(id)) || []);
    const looked = (stages.inspect && recordOf(stages.inspect)) || undefined;
    const student = measuresOf(stages.measure);
    const accuracy = student?.metrics.accuracy;
    const training = steal?.training;
    return {
      seed,
      status: 'done',
      ...(reasonOf(stages.steal) ?? reasonOf(stages.measure)),
      ...defined({
        student,
        teacherAccuracy: accuracyOf(victim?.measure),
        toBaseline: stages.baseline === stages.steal ? undefined : minus(accuracy, accuracyOf(stages.baselineMeasure)),
        toLabelSmoothing:
          cell.attack === smoothing
            ? undefined
            : minus(accuracy, accuracyOf(at(smoothing, cell.defense, net, seed)?.stages?.measure)),
        toUndefended:
          cell.defense === undefended
            ? undefined
            : minus(accuracy, accuracyOf(at(cell.attack, undefended, net, seed)?.stages?.measure)),
        queries: training?.queries,
        forward: training?.forward,
        backward: training?.backward,
        budget: training?.budget,
        answers: training?.answers,
        seconds: steal && theft.reduce((sum, { seconds }) => sum + seconds, 0),
        stepsPerSecond: training?.stepsPerSecond,
        trainImages: training?.trainImages,
      }),
      warnings: [...theft, ...(looked === undefined ? [] : [looked])].flatMap(({ warnings }) => warnings),
    };
  };

  const cellOf = (own: readonly CellPlan[]): Cell => {
    const { attack, defense, student } = own[0] as CellPlan;
    const seeds = own.map(seedResult);
    const means = meansOf(columns, seeds);
    const { accuracy, toBaseline, toLabelSmoothing, toUndefended, queries, forward, backward } = means;
    const missing = own.find((cell) => cell.stages === undefined);
    const failed = seeds.find(({ status }) => status === 'failed' || status === 'skipped');
    return {
      attack,
      defense,
      student,
      status:
        missing !== undefined ? 'n/a' : accuracy !== undefined ? 'done' : failed === undefined ? 'not run' : 'failed',
      seeds,
      ...defined({
        reason: missing?.reason ?? failed?.reason,
        accuracy,
        toBaseline,
        toLabelSmoothing,
        toUndefended,
        queries,
        forward,
        backward,
        published: publishedStudent(of.published, { attack, defense, student }),
      }),
      metrics: metricsIn(means, summaries),
    };
  };
  const cells = [
    ...grouped(plan.cells, ({ attack, defense, student }) => JSON.stringify([attack, defense, student])).values(),
  ].map(cellOf);

  const victims = of.defenses.map(({ label, defense }): VictimSummary => {
    const own = plan.victims.filter((victim) => victim.defense === label);
    const accuracies = own.map((victim) => accuracyOf(victim.measure));
    const toUndefended = own.map((victim, i) => {
      const other = victimOf.get(JSON.stringify([undefended, victim.seed]));
      return label === undefended ? undefined : minus(accuracies[i], accuracyOf(other?.measure));
    });
    const seeds = own.map((victim) => {
      const train = recordOf(victim.train);
      const divergence = victim.divergence === undefined ? undefined : finished.get(victim.divergence)?.result;
      return {
        seed: victim.seed,
        ...defined({
          reason: (reasonOf(victim.train) ?? reasonOf(victim.measure))?.reason,
          measures: measuresOf(victim.measure),
          divergence: divergence as Divergence | undefined,
          seconds: train?.seconds,
        }),
        warnings: [
          ...(train?.warnings ?? []),
          ...[victim.measure, victim.divergence].flatMap((id) => (id && recordOf(id)?.warnings) || []),
        ],
      };
    });
    return {
      defense: label,
      exposes: defense.exposes,
      metrics: metricsIn(meansOf(victimColumns, seeds), summaries),
      ...defined({
        accuracy: shareSpread(accuracies.flatMap((each) => each ?? [])),
        toUndefended: spread(toUndefended.flatMap((each) => each ?? [])),
        published: publishedTeacher(of.published, label),
      }),
      seeds,
    };
  });

  const stealing = new Set(of.attacks.filter(({ attack }) => isAttack(attack)).map(({ label }) => label));
  const best = bestAttacks(of, cells, stealing);
  const found = { experiment: of, undefended, victims, cells, baselines: plan.baselines };
  return {
    version: 1,
    experiment: of.name,
    ...(of.title === undefined ? {} : { title: of.title }),
    about: of.about,
    data: { name: of.data.name, fingerprint, fraction: of.fraction, validation: of.validation },
    report: of.report,
    select: of.select,
    teacher: `${isPretrained(of.teacher) ? 'pretrained ' : ''}${described(of.teacher.network)}`,
    attacks: of.attacks.map(({ label, attack }) => ({
      label,
      name: attack.name,
      role: attack.role ?? 'attack',
      needs: attack.needs,
      owns: describeOwnership(attack.data),
      data: attack.data.kind,
      ...defined({ baseline: isAttack(attack) ? plan.baselines[label] : undefined }),
      params: plain(attack.params),
    })),
    defenses: of.defenses.map(({ label, defense }) => ({
      label,
      name: defense.name,
      ...defined({ role: defense.role }),
      exposes: defense.exposes,
      params: plain(defense.params),
    })),
    ...defined({ budget: of.budget }),
    students: of.students.map(({ label }) => label),
    seeds: of.seeds.map(({ label }) => label),
    metrics: summaries,
    victims,
    cells,
    best,
    scores: scores({ best, cells, victims, undefended, attacks: stealing }),
    ...defined({
      reproduction: of.published && reproduced(found),
      effects: of.published && reproducedEffects(found),
      reduced: of.reduced,
      published: of.published && describePublished(of.published),
    }),
    provenance: unique(
      plan.stages.flatMap(({ id }) => {
        const record = recordOf(id);
        if (record === undefined) return [];
        return [JSON.stringify({ ...record.provenance, finished: record.provenance.finished.slice(0, 10) })];
      }),
    ).map((text) => JSON.parse(text) as Provenance),
  };
};

/** Of the attacks that take something from a victim: honest training is no attack. */
const bestAttacks = (of: Experiment, cells: readonly Cell[], stealing: ReadonlySet<string>): readonly BestAttack[] => {
  return of.defenses.flatMap(({ label: defense }) =>
    of.students.flatMap(({ label: student }) => {
      const own = cells.filter(
        (cell) => cell.defense === defense && cell.student === student && stealing.has(cell.attack),
      );
      const ranked = own.flatMap(({ attack, accuracy }) =>
        accuracy === undefined ? [] : [{ defense, student, attack, accuracy }],
      );
      const best = ranked.sort((a, b) => b.accuracy.mean - a.accuracy.mean)[0];
      return best === undefined ? [] : [best];
    }),
  );
};

const summaryOf = (metric: Metric): MetricSummary => ({ ...declared(metric), ...defined({ only: metric.only }) });

/** Over the seeds that have it, each number of a list of results by its column's name. */
const meansOf = <Of>(columns: readonly Column<Of>[], results: readonly Of[]): Readonly<Record<string, Spread>> =>
  Object.fromEntries(
    columns.flatMap(({ name, unit, of }) => {
      const mean = spreadOf(
        unit,
        results.flatMap((result) => of(result) ?? []),
      );
      return mean === undefined ? [] : [[name, mean] as const];
    }),
  );

/** Those of some means that are of metrics. */
const metricsIn = (means: Readonly<Record<string, Spread>>, metrics: readonly MetricSummary[]): Cell['metrics'] =>
  Object.fromEntries(
    metrics.flatMap(({ name }) => {
      const mean = own(means, name);
      return mean === undefined ? [] : [[name, mean] as const];
    }),
  );

const isAttack = ({ role = 'attack' }: AnyAttack): boolean => role === 'attack';

/** Parameters as JSON: functions and nested plugins' code left out. */
const plain = (params: unknown): unknown =>
  JSON.parse(
    JSON.stringify(params, (name, value) => (name === 'source' || typeof value === 'function' ? undefined : value)) ??
      'null',
  );
