import { defined } from '../core/lists.js';
import type { Matrix } from './types.js';

/**
 * In what setting numbers were made: those of another one are not compared with them. Beside it, runs differ in training, attacks, defences,
 * students and seeds.
 */
export type Setting = Pick<Matrix, 'data' | 'report' | 'select' | 'teacher' | 'budget' | 'reduced'>;

export const settingOf = ({ data, report, select, teacher, budget, reduced }: Setting): Setting => ({
  data,
  report,
  select,
  teacher,
  ...defined({ budget, reduced }),
});
