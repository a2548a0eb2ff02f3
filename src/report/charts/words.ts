import type { Matrix } from '../../harness/matrix.js';
import { counted } from '../numbers.js';

/** What a reader must know of a chart's numbers, in a line; `shown` is what a chart has of several seeds. */
export const countedIn = (
  { data, teacher, students, seeds, report }: Matrix,
  shown = 'mean ± standard deviation',
): string =>
  [
    data.name,
    `teacher ${teacher}`,
    ...(students.length === 1 ? [`student ${students[0]}`] : []),
    seeds.length === 1 ? `seed ${seeds[0]}` : `${shown} over ${counted(seeds.length, 'seed')}`,
    ...(report === 'test' ? [] : ['on held-out training images']),
  ].join(' · ');
