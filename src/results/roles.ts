import type { Role } from '../attacks/attack.js';

/** The role of a matrix's row; in files of older versions, which have none, it is honest what needs no victim. */
export const roleOf = ({ role, needs }: { readonly role?: Role; readonly needs: string }): Role =>
  role ?? (needs === 'none' ? 'honest' : 'attack');
