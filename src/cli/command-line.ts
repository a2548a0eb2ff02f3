import { quoted } from '../core/text.js';

/** The command line that goes on where this one stopped: the same, but nothing is thrown away once more. */
export const resuming = (argv: readonly string[], force: string | true | undefined): string => {
  const at = argv.findIndex((word) => word === '--force' || word.startsWith('--force='));
  const own = force === undefined || at < 0 ? 0 : typeof force === 'string' && argv[at] === '--force' ? 2 : 1;
  const kept = argv.filter((_, i) => i < at || i >= at + own);
  return ['npx', 'undistill', ...kept.map(quoted)].join(' ');
};
