import type { Role } from '../attacks/attack.js';
import type { Matrix } from './types.js';

/** The role of a matrix's row; in files of older versions, which have none, it is honest what needs no victim. */
export const roleOf = ({ role, needs }: { readonly role?: Role; readonly needs: string }): Role =>
  role ?? (needs === 'none' ? 'honest' : 'attack');

/** The label of the defence that defends nothing, where a matrix has it. */
export const undefendedIn = ({ defenses }: Pick<Matrix, 'defenses'>): string | undefined =>
  defenses.find(({ role }) => role === 'identity')?.label;
