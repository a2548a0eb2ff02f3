import type { Defense } from './defense.js';

/** The teacher as it is, weights and all. */
export const none = (): Defense<'weights'> => ({
  name: 'none',
  role: 'identity',
  params: {},
  source: import.meta.url,
  exposes: 'weights',
});
