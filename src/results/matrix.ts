import { describeOwnership, roleOf } from '../attacks/attack.js';
import { defined, grouped, unique } from '../core/lists.js';
import { undefendedOf } from '../experiment/experiment.js';
import { described } from '../experiment/labels.js';
import type { CellPlan, Plan, VictimPlan } from '../experiment/plan.js';
import { describePublished, publishedStudent, publishedTeacher } from '../experiment/published.js';
import { type Metric, type MetricValues, metrics } from '../metrics/metric.js';
import { declared } from '../metrics/quantity.js';
import type { Divergence, Measures, Outcome, Provenance, StageRecord } from '../run/record.js';
import { isPretrained, type Pretrained } from '../train/pretrained.js';
import type { Learner } from '../train/recipe.js';
import { lookup } from './lookup.js';
import { reproduced, reproducedEffects } from './reproduction.js';
import { type CellSeeds, type Seeds, summary, type VictimSeeds } from './summary.js';
import type { LearnerSummary, Matrix, MetricSummary, SeedResult } from './types.js';

/** A stage's outcome and, for a measuring stage, what it measured. */
export interface Finished {
  readonly outcome: Outcome;
  readonly result?: Measures | MetricValues | Divergence;
}

/** Where a model is measured. */
type Measuring = Pick<VictimPlan, 'measure' | 'own'>;

/** The table of an experiment: a pure function of its plan and what became of its stages. */
export const matrix = (plan: Plan, finished: ReadonlyMap<string, Finished>, fingerprint: string): Matrix => {
  const of = plan.experiment;
  const recordOf = (id: string): StageRecord | undefined => {
    const outcome = finished.get(id)?.outcome;
    return outcome !== undefined && 'record' in outcome ? outcome.record : undefined;
  };
  const resultOf = <Result extends Measures | MetricValues>(id: string | undefined): Result | undefined =>
    id === undefined ? undefined : (finished.get(id)?.result as Result | undefined);
  const accuracyOf = (id: string | undefined): number | undefined => resultOf<Measures>(id)?.metrics.accuracy;
  /** With what the experiment's own metrics say, as far as they say something. */
  const measuresOf = ({ measure, own = {} }: Measuring): Measures | undefined => {
    const measures = resultOf<Measures>(measure);
    const theirs = Object.values(own).map((id) => resultOf<MetricValues>(id));
    return measures && { ...measures, metrics: Object.assign({}, measures.metrics, ...theirs) };
  };
  /** Why own metrics say nothing. What else is known of a model stands without them. */
  const failuresOf = ({ own = {} }: Measuring): readonly string[] =>
    Object.values(own).flatMap((id) => {
      const outcome = finished.get(id)?.outcome;
      return outcome?.status === 'failed' ? [outcome.failure.what] : [];
    });
  const reasonOf = (id: string): Pick<SeedResult, 'status' | 'reason'> | undefined => {
    const outcome = finished.get(id)?.outcome;
    if (outcome === undefined) return { status: 'not run' };
    if (outcome.status === 'failed') return { status: 'failed', reason: outcome.failure.what };
    if (outcome.status === 'skipped') return { status: 'skipped', reason: `${outcome.because} failed` };
    return undefined;
  };

  const undefended = undefendedOf(of);
  const at = lookup(plan.cells);
  const victimOf = new Map(plan.victims.map((victim) => [JSON.stringify([victim.defense, victim.seed]), victim]));
  const summaries = [...metrics, ...of.metrics].map(summaryOf);
  const minus = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || b === undefined ? undefined : a - b;

  const seedResult = (cell: CellPlan, all: readonly CellPlan[]): SeedResult => {
    const { stages, seed, student: net } = cell;
    const victim = victimOf.get(JSON.stringify([cell.defense, seed]));
    if (stages === undefined)
      return { seed, status: 'n/a', ...(cell.reason === undefined ? {} : { reason: cell.reason }), warnings: [] };
    const steal = recordOf(stages.steal);
    // The images that all students of an attack learn from are a part of each theft.
    const theft = unique([stages.images, stages.steal]).flatMap((id) => (id && recordOf(id)) || []);
    const looked = (stages.inspect && recordOf(stages.inspect)) || undefined;
    const student = measuresOf(stages);
    const accuracy = student?.metrics.accuracy;
    const training = steal?.training;
    return {
      seed,
      status: 'done',
      ...(reasonOf(stages.steal) ?? reasonOf(stages.measure)),
      ...defined({
        sameAs: earlier(cell, all, (each) => each.stages?.measure),
        student,
        teacherAccuracy: accuracyOf(victim?.measure),
        toBaseline: stages.baseline === stages.steal ? undefined : minus(accuracy, accuracyOf(stages.baselineMeasure)),
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
      warnings: [
        ...[...theft, ...(looked === undefined ? [] : [looked])].flatMap(({ warnings }) => warnings),
        ...failuresOf(stages),
      ],
    };
  };

  const cells = [
    ...grouped(plan.cells, ({ attack, defense, student }) => JSON.stringify([attack, defense, student])).values(),
  ].map((own): CellSeeds => {
    const { attack, defense, student } = own[0] as CellPlan;
    const published = publishedStudent(of.published, { attack, defense, student });
    return { attack, defense, student, seeds: own.map((each) => seedResult(each, own)), ...defined({ published }) };
  });

  const victims = of.defenses.map(({ label, defense }): VictimSeeds => {
    const planned = plan.victims.filter((victim) => victim.defense === label);
    const seeds = planned.map((victim) => {
      const train = recordOf(victim.train);
      const divergence = victim.divergence === undefined ? undefined : finished.get(victim.divergence)?.result;
      return {
        seed: victim.seed,
        ...defined({
          sameAs: earlier(victim, planned, ({ measure }) => measure),
          reason: (reasonOf(victim.train) ?? reasonOf(victim.measure))?.reason,
          measures: measuresOf(victim),
          divergence: divergence as Divergence | undefined,
          seconds: train?.seconds,
        }),
        warnings: [
          ...(train?.warnings ?? []),
          ...[victim.measure, victim.divergence].flatMap((id) => (id && recordOf(id)?.warnings) || []),
          ...failuresOf(victim),
        ],
      };
    });
    return {
      defense: label,
      exposes: defense.exposes,
      ...defined({
        // Whose divergence is planned, be it measured in this run or not.
        retrained: planned.some(({ divergence }) => divergence !== undefined) || undefined,
        published: publishedTeacher(of.published, label),
      }),
      seeds,
    };
  });

  const single: Seeds = {
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
      role: roleOf(attack),
      needs: attack.needs,
      owns: describeOwnership(attack.data),
      data: attack.data.kind,
      ...defined({ baseline: roleOf(attack) === 'attack' ? plan.baselines[label] : undefined }),
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
    learners: {
      teacher: { ...learnerOf(of.teacher), ...defined({ weights: weightsOf(plan) }) },
      students: Object.fromEntries(of.students.map(({ label, learner }) => [label, learnerOf(learner)])),
    },
    seeds: of.seeds.map(({ label }) => label),
    metrics: summaries,
    victims,
    cells,
    ...defined({
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
  const summed = summary(single);
  const found = { experiment: of, undefended, ...summed, baselines: plan.baselines };
  return {
    ...single,
    ...summed,
    ...defined({
      reproduction: of.published && reproduced(found),
      effects: of.published && reproducedEffects(found),
    }),
  };
};

/** The seed of the first that is measured by the same stage, where it is another one. */
const earlier = <Of extends { readonly seed: string }>(
  one: Of,
  all: readonly Of[],
  measureOf: (each: Of) => string | undefined,
): string | undefined => {
  const first = all.find((each) => measureOf(each) === measureOf(one))?.seed;
  return first === one.seed ? undefined : first;
};

const learnerOf = ({ network: { name, params }, recipe }: Learner | Pretrained): LearnerSummary => ({
  network: { name, params: plain(params) },
  ...defined({ recipe: recipe && plain(recipe) }),
});

/** By what a pretrained teacher is known. */
const weightsOf = ({ stages }: Plan): string | undefined =>
  stages.flatMap(({ work }) => (work.kind === 'import' ? [work.sha256] : []))[0];

const summaryOf = (metric: Metric): MetricSummary => ({ ...declared(metric), ...defined({ only: metric.only }) });

/** Parameters as JSON: functions and nested plugins' code left out. */
const plain = (params: unknown): unknown =>
  JSON.parse(
    JSON.stringify(params, (name, value) => (name === 'source' || typeof value === 'function' ? undefined : value)) ??
      'null',
  );
