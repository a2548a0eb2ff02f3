import type { Matrix } from '../../results/types.js';
import { seedsCounted } from '../layout.js';

/** What a reader must know of a chart's numbers, in a line; `shown` is what a chart has of several seeds. */
export const countedIn = (matrix: Matrix, shown = 'mean ± standard deviation'): string => {
  const { data, teacher, students, seeds, report } = matrix;
  return [
    data.name,
    `teacher ${teacher}`,
    ...(students.length === 1 ? [`student ${students[0]}`] : []),
    seeds.length === 1 ? `seed ${seeds[0]}` : `${shown} over ${seedsCounted(matrix)}`,
    ...(report === 'test' ? [] : ['on held-out training images']),
  ].join(' · ');
};
