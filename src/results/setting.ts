import { defined } from '../core/lists.js';
import type { Matrix } from './types.js';

/** In what setting numbers were made: of another one they are not compared. Beside it, runs differ in what was trained, by whom, and with which seeds. */
export type Setting = Pick<Matrix, 'data' | 'report' | 'select' | 'teacher' | 'budget' | 'reduced'>;

export const settingOf = ({ data, report, select, teacher, budget, reduced }: Setting): Setting => ({
  ...{ data, report, select, teacher },
  ...defined({ budget, reduced }),
});
