import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type Failure, FailureError, failure, isFailure, saidBy, showFailure } from '../core/errors.js';
import { readBytes, showBytes, visible } from '../core/text.js';
import { version } from '../core/version.js';
import { type PublishedName, publishedNames } from '../data/published.js';
import { cardPrecisions, executions, mostThreads } from '../engine/execution.js';
import { patternSaid } from '../experiment/pattern.js';
import { answers, checkpointEvery } from '../run/defaults.js';
import { comparisonFormats, formats, type Kind, kinds, type NewKind, newKinds, rankFormats } from './choices.js';
import type { CleanOptions } from './clean.js';
import { resuming } from './command-line.js';
import type { CompareOptions } from './compare.js';
import type { DiagnoseOptions } from './diagnose.js';
import type { ExportOptions } from './export.js';
import type { ImagesOptions } from './images.js';
import type { MatrixOptions } from './matrix.js';
import { outputLost, standardError, standardOutput } from './output.js';
import type { PlanOptions } from './plan.js';
import type { ProfileOptions } from './profile.js';
import type { RankOptions } from './rank.js';
import type { RunOptions } from './run.js';
import type { TensorboardOptions } from './tensorboard.js';

const whole =
  (from: number, to = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    const range = to === Number.MAX_SAFE_INTEGER ? `of at least ${from}` : `from ${from} to ${to}`;
    if (!Number.isInteger(value) || value < from || value > to)
      throw new InvalidArgumentError(`Give a whole number ${range}.`);
    return value;
  };

const wholeFrom1 = whole(1);
const threadsOption = whole(1, mostThreads);
const port = whole(0, 65_535);
const jobsOption = (text: string): number | 'auto' => (text === 'auto' ? text : whole(1, mostThreads)(text));

const bytesOrOff = (text: string): number | 'off' => {
  const bytes = text === 'off' ? text : readBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('Give a size, such as 4GB or 500MB, or off.');
  return bytes;
};

const bytes = (text: string): number => {
  const size = readBytes(text);
  if (size === undefined) throw new InvalidArgumentError('Give a size, such as 4GB or 500MB.');
  return size;
};

const andMore = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

/** Answers the earlier name of `--execution`: the engine is what `engine install` installs, not how steps run. */
const withoutEngine = (command: Command): Command =>
  command
    .addOption(new Option('--engine [how]').hideHelp())
    .on('option:engine', () =>
      command.error(`error: there is no option --engine; --execution ${executions.join('|')} says how steps run`),
    );

const experimentFile =
  'a TypeScript file whose default export is an experiment, or a list of them (then FILE#NAME is one)';

/** `--force FILE` with the file first: the file is not the pattern of what is forced. */
const forceLast = (argv: readonly string[]): string[] => {
  const at = argv.indexOf('--force');
  const isFile = at >= 0 && /\.[cm]?[jt]s(#.*)?$/.test(argv[at + 1] ?? '');
  return isFile ? [...argv.slice(0, at), ...argv.slice(at + 1), '--force'] : [...argv];
};

// Each command loads what it needs when it is called: TensorFlow's library takes a second, which help can do without.

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
  const command = (text: string): Command => program.command(text).exitOverride();

  const execution = (): Option =>
    new Option('--execution <how>', 'how steps run (default: xla on a graphics card, else graph)').choices(executions);
  const precision = (): Option =>
    new Option('--precision <type>', 'how a graphics card multiplies float32 (default: tf32)').choices(cardPrecisions);

  const recording = (): Option =>
    new Option(
      '--answers <size>',
      'room for recorded answers, so that a victim is asked once for all its students; or off',
    )
      .argParser(bytesOrOff)
      .default(answers, showBytes(answers));

  withoutEngine(command('run'))
    .description('run an experiment file: train what is missing, and write and print its matrix')
    .argument('<file>', experimentFile)
    .option('--data <path>', 'read the data from this file or folder')
    .option(
      '--only <pattern>',
      `only attacks, defences, students or stages that match, with what they need; may be repeated. A pattern is ${patternSaid}`,
      andMore,
    )
    .option('--seed <label>', 'only this of its seeds, beside what is there of the others; may be repeated', andMore)
    .option('--scale <fraction>', 'with this fraction of all schedules, for a look before the whole', Number)
    .option('--out <folder>', 'where its tables and logs go (default: runs/<name>); stages are kept beside it')
    .option('--force [pattern]', 'make all, or what matches, anew')
    .option(
      '--accept-stale <reason>',
      'take what other code made, with the same parameters, data and seeds, as it is; the records say so, and why',
    )
    .option(
      '--jobs <number>',
      'worker processes (default: auto, one for each core where so many stages can be made at once)',
      jobsOption,
      'auto' as const,
    )
    .option('--threads <number>', 'threads in all, or with --jobs of a process (default: all cores)', threadsOption)
    .addOption(execution())
    .addOption(precision())
    .option('--checkpoint-every <steps>', 'steps between two checkpoints', wholeFrom1, checkpointEvery)
    .addOption(recording())
    .addOption(new Option('--on <cluster>', 'make each model as a job of a cluster').choices(['slurm']))
    .option('--detach', 'with --on: submit all and leave; the same command shows them again')
    .option('--at-most <jobs>', 'with --on: so many jobs at a time', wholeFrom1)
    .option('--dry-run', 'with --on: print what would be submitted')
    .argument('[args...]', "with --on: after --, the scheduler's own options, such as --partition=gpu --time=4:00:00")
    .action(async (file: string, args: readonly string[], options: RunOptions) => {
      refuseWithoutCluster(options, args);
      const commandLine = resuming(argv, options.force);
      if (options.on === undefined) {
        const { runCommand } = await import('./run.js');
        code = await runCommand(file, options, commandLine);
      } else {
        const { runOnCluster } = await import('./on-cluster.js');
        code = await runOnCluster(file, { ...options, args }, commandLine);
      }
    });

  command('jobs')
    .description('list the jobs of a run on a cluster: where they are, why they wait, how they ended')
    .argument('<run>', "a run's folder, or its name below runs")
    .action(async (run: string) => {
      const { jobsCommand } = await import('./jobs.js');
      code = await jobsCommand(run);
    });

  command('cancel')
    .description('end the jobs of a run on a cluster; what is finished is kept')
    .argument('<run>', "a run's folder, or its name below runs")
    .action(async (run: string) => {
      const { cancelCommand } = await import('./jobs.js');
      code = await cancelCommand(run);
    });

  command('logs')
    .description("print what the job of a run's stage has said")
    .argument('<run>', "a run's folder, or its name below runs")
    .argument('<stage>', 'its label, or a part of it that no other has; report is the last job')
    .action(async (run: string, stage: string) => {
      const { logsCommand } = await import('./jobs.js');
      code = await logsCommand(run, stage);
    });

  withoutEngine(command('plan'))
    .description('what a run of an experiment file would do: its stages, what is there already, the time left')
    .argument('<file>', experimentFile)
    .option('--data <path>', 'read the data from this file or folder')
    .option('--only <pattern>', 'only attacks, defences, students or stages that match, as with run', andMore)
    .option('--seed <label>', 'only this of its seeds; may be repeated', andMore)
    .option('--scale <fraction>', 'with this fraction of all schedules, for a look before the whole', Number)
    .option('--out <folder>', 'where its tables and logs go (default: runs/<name>)')
    .addOption(execution())
    .addOption(precision())
    .addOption(recording())
    .option('--no-time', 'without timing a few steps of each kind of stage, which takes up to a minute')
    .option('--verbose', 'also every stage by itself: what is there of it, and why it would be made anew')
    .action(async (file: string, options: PlanOptions) => {
      const { planCommand } = await import('./plan.js');
      code = await planCommand(file, options);
    });

  command('profile')
    .description('where the time of a step goes, by layer and by operation, as tables and a chart')
    .argument('<file>', experimentFile)
    .option(
      '--stage <pattern>',
      'which stage, as undistill plan --verbose lists it (default: the theft of the most steps)',
    )
    .option('--steps <number>', 'steps that are timed', wholeFrom1, 20)
    .option('--data <path>', 'read the data from this file or folder')
    .option('--out <folder>', 'where the files go (default: runs/<name>/profile)')
    .option('--threads <number>', 'threads (default: all cores)', threadsOption)
    .action(async (file: string, options: ProfileOptions) => {
      const { profileCommand } = await import('./profile.js');
      code = await profileCommand(file, options);
    });

  command('matrix')
    .description('print the matrix of a run again')
    .argument('<run>', "a run's folder, or its name below runs")
    .addOption(new Option('--format <format>', 'how').choices(formats).default('text'))
    .option('--undefended', 'also the differences to the undefended teacher')
    .option('--metric <name>', 'another number of the students in place of their accuracy, such as agreement')
    .action(async (run: string, options: MatrixOptions) => {
      const { matrixCommand } = await import('./matrix.js');
      code = await matrixCommand(run, options);
    });

  command('rank')
    .description('rank the defences of runs by what the strongest attacker gets of them')
    .argument('<runs...>', "runs' folders or names below runs, or files of others: a matrix.json or a ranking.json")
    .addOption(new Option('--format <format>', 'how').choices(rankFormats).default('text'))
    .option('--out <folder>', 'write it there as JSON, Markdown and HTML, with its charts, in place of printing it')
    .option(
      '--check <file>',
      'compare a ranking of somebody else with what their experiment came to here, number by number',
    )
    .action(async (runs: readonly string[], options: RankOptions) => {
      const { rankCommand } = await import('./rank.js');
      code = await rankCommand(runs, options);
    });

  command('compare')
    .description('show runs beside each other: settings that differ, and cells with their differences to the first run')
    .argument('<runs...>', "folders of runs, or their names below runs; also a run's copy elsewhere")
    .addOption(new Option('--format <format>', 'how').choices(comparisonFormats).default('text'))
    .option('--out <file>', 'write it there')
    .action(async (runs: string[], options: CompareOptions) => {
      const { compareCommand } = await import('./compare.js');
      code = await compareCommand(runs, options);
    });

  command('join')
    .description(
      'make one run of several that have seeds or rows of one experiment, as from machines that share no folder',
    )
    .argument('<runs...>', "folders of runs, or their names below runs; also a run's copy elsewhere")
    .requiredOption('--out <folder>', 'the folder of the joined run')
    .action(async (runs: string[], options: { out: string }) => {
      const { joinCommand } = await import('./join.js');
      code = await joinCommand(runs, options);
    });

  command('clean')
    .description('what stages, cache and engines take on disk; removes, after asking, stages that no run uses')
    .argument('[folder]', 'in which the runs are', 'runs')
    .option('--older <days>', 'only what nobody has touched for so many days', whole(0), 7)
    .option('--keep <size>', 'only the oldest of it, until so much is left, such as 5GB', bytes)
    .option(
      '--cache',
      'also what no process uses of the cache, which all projects share: data sets, engines, compiled steps',
    )
    .option('--yes', 'without asking')
    .action(async (folder: string, options: CleanOptions) => {
      const { cleanCommand } = await import('./clean.js');
      code = await cleanCommand(folder, options);
    });

  command('report')
    .description('make the page of a run again: one file that opens without a network')
    .argument('<run>', "a run's folder, or its name below runs")
    .option('--out <file>', "where to (default: report.html in the run's folder)")
    .option('--title <text>', "what stands above it (default: the experiment's title, or its name)")
    .action(async (run: string, options: { out?: string; title?: string }) => {
      const { reportCommand } = await import('./report.js');
      code = await reportCommand(run, options);
    });

  command('serve')
    .description('show the page of a run, live while it goes on')
    .argument('<run>', "a run's folder, or its name below runs")
    .option('--port <number>', 'where to listen; 0 takes any that is free', port, 4747)
    .option('--host <address>', 'let others see it too: listen on this address', '127.0.0.1')
    .action(async (run: string, options: { port: number; host: string }) => {
      const { serveCommand } = await import('./serve.js');
      code = await serveCommand(run, options);
    });

  command('images')
    .description('list the images that data-free attacks synthesised in a run')
    .argument('<run>', "a run's folder, or its name below runs")
    .option('--gif', 'also make an animation of how they came about, out of the pictures that the run took')
    .option('--sheet', 'also make one picture of all attacks and defences, an image a class')
    .option('--open', 'also open them in the viewer of this machine')
    .action(async (run: string, options: ImagesOptions) => {
      const { imagesCommand } = await import('./images.js');
      code = await imagesCommand(run, options);
    });

  command('diagnose')
    .description(
      "look at the teachers of an experiment's run: how sure they are, single answers, maps of what they see",
    )
    .argument('<file>', experimentFile)
    .option('--out <folder>', 'where its tables are (default: runs/<name>)')
    .option('--data <path>', 'read the data from this file or folder')
    .option('--scale <fraction>', 'of the run with this fraction of all schedules', Number)
    .option('--images <number>', 'images on the maps, at most', wholeFrom1, 1000)
    .option('--threads <number>', 'threads (default: all cores)', threadsOption)
    .action(async (file: string, options: DiagnoseOptions) => {
      const { diagnoseCommand } = await import('./diagnose.js');
      code = await diagnoseCommand(file, options);
    });

  command('tensorboard')
    .description('write the logs and pictures of a run as event files for TensorBoard')
    .argument('<run>', "a run's folder, or its name below runs")
    .option('--out <folder>', "where to (default: tensorboard in the run's folder)")
    .action(async (run: string, options: TensorboardOptions) => {
      const { tensorboardCommand } = await import('./tensorboard.js');
      code = await tensorboardCommand(run, options);
    });

  command('charts')
    .description('draw the charts of a run again: SVG and PNG, with their data and their vega-lite specifications')
    .argument('<run>', "a run's folder, or its name below runs")
    .action(async (run: string) => {
      const { chartsCommand } = await import('./charts.js');
      code = await chartsCommand(run);
    });

  command('export')
    .description("write a stage's network as safetensors, with the names and layouts of PyTorch's state_dict")
    .argument('<run>', "a run's folder, or its name below runs")
    .option(
      '--stage <label>',
      'as undistill plan --verbose lists it; its seed may be left out where one is finished. Without: says which there are',
    )
    .option('--out <file>', "where to (default: the stage's name, in the working folder)")
    .action(async (run: string, options: ExportOptions) => {
      const { exportCommand } = await import('./export.js');
      code = await exportCommand(run, options);
    });

  command('list')
    .description('what there is, with options, access and sources')
    .addArgument(new Argument('[kind]', 'which kind').choices(kinds))
    .option('--json', 'as JSON, with a JSON Schema of the options of each')
    .action(async (kind: Kind | undefined, options: { json?: boolean }) => {
      const { listCommand } = await import('./list.js');
      code = listCommand(kind === undefined ? kinds : [kind], options);
    });

  const data = command('data').description('data sets');
  data
    .command('get')
    .exitOverride()
    .description('download a data set from where it is published, checked, into the per-user data folder')
    .addArgument(new Argument('<name>', 'which').choices(publishedNames))
    .option('--from <url>', 'from another folder that has the same files')
    .action(async (name: PublishedName, options: { from?: string }) => {
      const { getCommand } = await import('./data.js');
      code = await getCommand(name, options);
    });

  command('doctor')
    .description('look at the engine, the machine and what is missing')
    .action(async () => {
      const { doctorCommand } = await import('./engine.js');
      code = await doctorCommand();
    });

  command('new')
    .description('write a working project, or a plugin of your own with its test')
    .addArgument(new Argument('<kind>', 'what it is').choices(newKinds))
    .argument('<name>', 'like my-attack or myAttack; of a project my-project')
    .action(async (kind: NewKind, name: string) => {
      const { newCommand } = await import('./new.js');
      code = await newCommand(kind, name);
    });

  const engine = command('engine').description('what the numbers run on');
  engine
    .command('install')
    .exitOverride()
    .description('install TensorFlow into the per-user cache; `run` does it by itself when it is missing')
    .option('--cuda', 'with CUDA, for NVIDIA cards')
    .action(async (options: { cuda?: boolean }) => {
      const { installCommand } = await import('./engine.js');
      code = await installCommand(options);
    });

  program
    .command('worker', { hidden: true })
    .exitOverride()
    .action(async () => {
      const { workerCommand } = await import('./worker.js');
      await workerCommand();
    });

  program
    .command('job <setup> <id>', { hidden: true })
    .exitOverride()
    .action(async (setup: string, id: string) => {
      const { jobCommand } = await import('./job.js');
      code = await jobCommand(setup, id);
    });

  process.on('exit', endedEarly);
  try {
    await program.parseAsync(forceLast(argv), { from: 'user' });
  } catch (error) {
    code = told(error);
  } finally {
    process.off('exit', endedEarly);
  }
  return (await outputLost()) ? code || 1 : code;
};

/** What is about a cluster's jobs says nothing without one. */
const refuseWithoutCluster = ({ on, detach, atMost, dryRun }: RunOptions, args: readonly string[]): void => {
  const given = [
    ...(detach === true ? ['--detach'] : []),
    ...(atMost === undefined ? [] : ['--at-most']),
    ...(dryRun === true ? ['--dry-run'] : []),
    ...(args.length === 0 ? [] : [String(args[0])]),
  ];
  if (on !== undefined || given.length === 0) return;
  throw new FailureError(
    failure('usage', 'this is about jobs of a cluster', {
      where: given[0],
      remedy: 'Add --on slurm, or leave it out.',
    }),
  );
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
  const failed = error instanceof FailureError ? error.failure : isFailure(error) ? error : undefined;
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
