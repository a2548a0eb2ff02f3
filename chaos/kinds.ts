import type { Kind } from './case.js';
import { disk } from './disk.js';
import { flips } from './flips.js';
import { kills } from './kills.js';
import { options } from './options.js';
import { shared } from './together.js';

/** What `npm run chaos` tries. */
export const kinds: readonly Kind[] = [kills, disk, flips, shared, options];
