import { Command, CommanderError } from 'commander';
import { type Failure, FailureError, isFailure, saidBy, showFailure } from '../core/errors.js';
import { visible } from '../core/text.js';
import { version } from '../core/version.js';
import { hearThrown } from '../run/answerable.js';
import { diskFailure } from '../run/disk.js';
import { addCommands } from './commands.js';
import { outputLost, standardError, standardOutput } from './output.js';

/** `--force FILE` with the file first: the file is not the pattern of what is forced. */
const forceLast = (argv: readonly string[]): string[] => {
  const at = argv.indexOf('--force');
  const isFile = at >= 0 && /\.[cm]?[jt]s(#.*)?$/.test(argv[at + 1] ?? '');
  return isFile ? [...argv.slice(0, at), ...argv.slice(at + 1), '--force'] : [...argv];
};

/** Runs a command. Gives the exit code: 0 done, 1 something failed, 2 wrong usage, 130 stopped by Ctrl-C. */
export const main = async (argv: readonly string[]): Promise<number> => {
  let code = 0;
  // A plugin's frames lie below those of the engine.
  Error.stackTraceLimit = 60;
  const program = new Command('undistill')
    .description('Knowledge-distillation attacks and defences in one matrix.')
    .version(await version())
    .configureOutput({
      writeOut: (text) => void standardOutput.write(text),
      writeErr: (text) => void standardError.write(visible(text)),
    })
    .showHelpAfterError('(undistill --help, or undistill COMMAND --help, says more)')
    .exitOverride();
  addCommands({
    argv,
    command: (name, options) => program.command(name, options).exitOverride(),
    exits:
      (act) =>
      async (...given) => {
        code = await act(...given);
      },
  });

  process.on('exit', endedEarly);
  let isThrownAside = false;
  hearThrown((failed) => {
    // A process of a run reads the same files as the one that began it, which has said it.
    if (!isThrownAside && process.send === undefined) standardError.write(`${visible(showFailure(failed))}\n`);
    isThrownAside = true;
  });
  try {
    await program.parseAsync(forceLast(argv), { from: 'user' });
  } catch (error) {
    code = told(error);
  } finally {
    process.off('exit', endedEarly);
  }
  return (await outputLost()) || isThrownAside ? code || 1 : code;
};

/** Node's own for a module that awaits what can never come. */
const neverSettled = 13;

/** A user's file may end the process before the command has done its work, and with exit code 0: it is said, and is a failure. */
const endedEarly = (code: number): void => {
  // A second Ctrl-C, or a worker whose parent is gone, or has been told by it.
  if (code === exitCodes.interrupted || process.send !== undefined) return;
  const what =
    process.exitCode === neverSettled
      ? 'ended early: an experiment file, or a plugin, waits for a promise that can never be settled'
      : `ended early: an experiment file, or a plugin, called process.exit(${code})`;
  standardError.write(`${what}.\n  What is finished is kept.\n`);
  if (!process.exitCode) process.exitCode = 1;
};

const exitCodes: Partial<Record<Failure['kind'], number>> = { usage: 2, interrupted: 130 };

/** Says what went wrong, without a stack trace unless asked for one, and gives the exit code. */
const told = (error: unknown): number => {
  // Commander has said it already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const say = (text: string): void => void standardError.write(`${visible(text)}\n`);
  const debug = Boolean(process.env.UNDISTILL_DEBUG);
  const failed = error instanceof FailureError ? error.failure : isFailure(error) ? error : diskFailure(error);
  if (debug && error instanceof Error) say(error.stack ?? error.message);
  if (failed !== undefined) {
    say(showFailure(failed));
    return exitCodes[failed.kind] ?? 1;
  }
  if (!debug) {
    say(`unexpected: ${saidBy(error)}`);
    say('  That is a mistake in undistill. UNDISTILL_DEBUG=1 shows where it happened.');
  }
  return 1;
};
