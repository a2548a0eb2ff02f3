import type { Kind } from './case.js';
import { cells } from './cells.js';
import { data } from './data.js';
import { disk } from './disk.js';
import { engine } from './engine.js';
import { flips } from './flips.js';
import { foreign } from './foreign.js';
import { kills } from './kills.js';
import { labels } from './names.js';
import { options } from './options.js';
import { plugins } from './plugins.js';
import { server } from './serve.js';
import { shared } from './together.js';

/** What `npm run chaos` tries. */
export const kinds: readonly Kind[] = [
  kills,
  disk,
  flips,
  engine,
  shared,
  options,
  data,
  foreign,
  labels,
  plugins,
  server,
  cells,
];
