import type { TeacherDiagnostics } from '../../results/diagnose.js';
import type { Matrix } from '../../results/types.js';
import { type Chart, withNames } from './chart.js';
import { diagnosticsCharts } from './diagnostics.js';
import { heatMap } from './heat-map.js';
import { measuresChart } from './measures.js';
import { parameterCharts } from './parameters.js';
import { tradeoffChart } from './tradeoff.js';
import { type TrainingLog, trainingCharts } from './training.js';

export type { Chart, Spec } from './chart.js';
export type { TrainingLog } from './training.js';

/** All that can be drawn of a run, half-finished ones included, each under a name of its own. */
export const chartsOf = (
  matrix: Matrix,
  logs: readonly TrainingLog[],
  diagnostics?: TeacherDiagnostics,
): readonly Chart[] => {
  const charts = [
    ...heatMap(matrix),
    ...tradeoffChart(matrix),
    ...parameterCharts(matrix),
    ...measuresChart(matrix),
    ...trainingCharts(matrix, logs),
    ...(diagnostics === undefined ? [] : diagnosticsCharts(diagnostics)),
  ];
  return charts.map(withNames).map((chart, i) => {
    const before = charts.slice(0, i).filter(({ name }) => name === chart.name).length;
    return before === 0 ? chart : { ...chart, name: `${chart.name}-${before + 1}` };
  });
};
