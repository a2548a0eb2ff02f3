import { type Metric, wantsViews } from '../metrics/metric.js';
import type { NetworkPlugin } from '../models/network.js';
import type { Experiment } from './experiment.js';
import type { AddStage, Stage } from './stage.js';

/** Where a model is measured. */
export interface MeasureStages {
  /** By the built-in metrics. */
  readonly measure: string;
  /** By the experiment's own, by their names; absent where it has none. */
  readonly own?: Readonly<Record<string, string>>;
}

/** The stages where a model is measured. */
export const measuringOf = ({ measure, own = {} }: MeasureStages): readonly string[] => [
  measure,
  ...Object.values(own),
];

/** What a model's answers are measured beside. */
interface Beside {
  readonly victim?: Stage | undefined;
  /** What it would answer without the defences that change its answers. */
  readonly clean?: Stage;
  readonly tellsClean?: true;
}

/** A net that was trained, and how it is built. */
export interface Trained {
  readonly stage: Stage;
  readonly network: NetworkPlugin;
}

/** Adds the stages that evaluate and measure what others have trained. */
export const measuring = (of: Experiment, add: AddStage) => {
  const views: { readonly views?: true } = wantsViews(of.metrics) ? { views: true } : {};

  const evaluated = ({ stage: model, network }: Trained): Stage =>
    add(
      `${model.label}/evaluate`,
      { kind: 'evaluate', network, ...views },
      { model: model.id },
      // Which images are looked at depends on which the report is about.
      { network, report: of.report, ...views },
    );

  /** By the built-in metrics, or by one of the experiment's own. */
  const measuredBy = (metric: Metric | undefined, model: Stage, { victim, clean, tellsClean }: Beside): Stage =>
    add(
      `${model.label.replace(/\/(?:evaluate|answer)$/, '')}/measure${metric === undefined ? '' : `/${metric.name}`}`,
      { kind: 'measure', ...(tellsClean && { tellsClean }), ...(metric && { metric }) },
      { model: model.id, ...(victim && { victim: victim.id }), ...(clean && { clean: clean.id }) },
      // The list is empty since own metrics are apart: so the measures of experiments without any are shared.
      { select: of.select, report: of.report, ...(metric ? { metric } : { metrics: [] }), tellsClean },
    );

  return {
    evaluated,

    /** By all metrics. */
    measured: (model: Stage, beside: Beside = {}): MeasureStages => ({
      measure: measuredBy(undefined, model, beside).id,
      ...(of.metrics.length > 0 && {
        own: Object.fromEntries(of.metrics.map((metric) => [metric.name, measuredBy(metric, model, beside).id])),
      }),
    }),

    /** By the built-in metrics alone. */
    measuredAlone: (model: Stage): string => measuredBy(undefined, model, {}).id,

    /** How far a teacher is from its adversary, and, for a scale, two normally trained nets from each other. */
    divergence: (teacher: Trained, adversary: Trained, normal: readonly [Trained, Trained] | undefined): Stage => {
      const [one, other] = normal ?? [];
      return add(
        `${teacher.stage.label}/divergence`,
        { kind: 'measure' },
        {
          model: evaluated(teacher).id,
          adversary: evaluated(adversary).id,
          ...(one && other && { normal: evaluated(one).id, otherNormal: evaluated(other).id }),
        },
        { select: of.select, report: of.report },
      );
    },
  };
};
