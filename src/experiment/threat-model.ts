/** Images that an attacker may have, from the least to the most: none, others, or the victim's own training images. */
export const possessions = ['none', 'other', 'own'] as const;
export type AttackerHas = (typeof possessions)[number];

/** The most that an attacker asks of a victim, from the least to the most. */
export const attackerAccesses = ['label', 'probabilities', 'weights'] as const;
export type AttackerAsks = (typeof attackerAccesses)[number];

/** A threat model: what access attackers ask for at most, and what images they have at most. */
export interface ThreatModel {
  readonly access: AttackerAsks;
  readonly has: AttackerHas;
}
