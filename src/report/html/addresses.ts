import type { Cell } from '../../results/types.js';
import { inAddress } from './markup.js';

/** The address within the page of a cell's details, whatever its labels. */
export const cellId = ({ student, attack, defense }: Pick<Cell, 'student' | 'attack' | 'defense'>): string =>
  `cell/${[student, attack, defense].map(inAddress).join('/')}`;

/** The same of the teacher behind a defence. */
export const victimId = (defense: string): string => `teacher/${inAddress(defense)}`;
