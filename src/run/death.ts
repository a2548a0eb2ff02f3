import { type Failure, failure } from '../core/errors.js';

const kept = 'Its last checkpoint is kept: run again to go on from there.';

const crashes = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'];

type Death = readonly [what: string, remedy: string];

const signals: Readonly<Record<string, Death>> = {
  ...Object.fromEntries(
    crashes.map((signal): [string, Death] => [
      signal,
      [
        `crashed in native code (${signal})`,
        `${kept} \`undistill doctor\` tells whether the engine is as it was installed.`,
      ],
    ]),
  ),
  SIGKILL: [
    'was killed (SIGKILL), as a system does that runs out of memory',
    `Give it less to hold: fewer --jobs, smaller batches. ${kept}`,
  ],
  SIGABRT: [
    "was aborted (SIGABRT): JavaScript's heap was full, or a native library gave up",
    `What it said is above. For a fuller heap: NODE_OPTIONS=--max-old-space-size=8192 (megabytes). ${kept}`,
  ],
};

/** How a stage failed whose process died without a word: of a signal, or with an exit code. */
export const deathOf = (how: NodeJS.Signals | number): Failure => {
  if (typeof how === 'number')
    return failure('plugin', `its process ended before it had a result (exit code ${how})`, { remedy: kept });
  const [what, remedy] = signals[how] ?? [`was ended from outside (${how})`, kept];
  return failure('plugin', `its process ${what}`, { remedy });
};
