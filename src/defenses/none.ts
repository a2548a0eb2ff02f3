import { defineDefense } from '../public/plugin.js';

/** The teacher as it is, weights and all. */
export const none = defineDefense({
  name: 'none',
  source: import.meta.url,
  about: 'The teacher as it is, weights and all',
  exposes: 'weights',
  make: () => ({ role: 'identity' }),
});
