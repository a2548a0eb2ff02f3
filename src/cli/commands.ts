import { Argument, type Command, type CommandOptions, Option } from 'commander';
import { FailureError, failure } from '../core/errors.js';
import { type PublishedName, publishedNames } from '../data/published.js';
import { executions } from '../engine/execution.js';
import { patternSaid } from '../experiment/pattern.js';
import { checkpointEvery } from '../run/defaults.js';
import { comparisonFormats, formats, type Kind, kinds, type NewKind, newKinds, rankFormats } from './choices.js';
import type { CleanOptions } from './clean.js';
import { resuming } from './command-line.js';
import type { CompareOptions } from './compare.js';
import type { DiagnoseOptions } from './diagnose.js';
import type { ExportOptions } from './export.js';
import type { ImagesOptions } from './images.js';
import type { MatrixOptions } from './matrix.js';
import * as given from './options.js';
import type { PlanOptions } from './plan.js';
import type { ProfileOptions } from './profile.js';
import type { RankOptions } from './rank.js';
import type { RunOptions } from './run.js';
import type { TensorboardOptions } from './tensorboard.js';

// Each command loads what it needs when it is called: TensorFlow's library takes a second, which help can do without.

/** Where commands are added, and what was given to the process. */
export interface CommandLine {
  readonly command: (name: string, options?: CommandOptions) => Command;
  /** An action that gives the exit code. */
  readonly exits: <Given extends unknown[]>(
    act: (...given: Given) => number | Promise<number>,
  ) => (...given: Given) => Promise<void>;
  readonly argv: readonly string[];
}

/** Answers the earlier name of `--execution`: the engine is what `engine install` installs, not how steps run. */
const withoutEngine = (command: Command): Command =>
  command
    .addOption(new Option('--engine [how]').hideHelp())
    .on('option:engine', () =>
      command.error(`error: there is no option --engine; --execution ${executions.join('|')} says how steps run`),
    );

/** What is about a cluster's jobs says nothing without one. */
const refuseWithoutCluster = ({ on, detach, atMost, dryRun }: RunOptions, args: readonly string[]): void => {
  const about = [
    ...(detach === true ? ['--detach'] : []),
    ...(atMost === undefined ? [] : ['--at-most']),
    ...(dryRun === true ? ['--dry-run'] : []),
    ...(args.length === 0 ? [] : [String(args[0])]),
  ];
  if (on !== undefined || about.length === 0) return;
  throw new FailureError(
    failure('usage', 'this is about jobs of a cluster', {
      where: about[0],
      remedy: 'Add --on slurm, or leave it out.',
    }),
  );
};

const addRun = ({ command, exits, argv }: CommandLine): void => {
  withoutEngine(command('run'))
    .description('run an experiment file: train what is missing, and write and print its matrix')
    .addArgument(given.experimentFile())
    .addOption(given.data())
    .addOption(
      given.only(
        `only attacks, defences, students or stages that match, with what they need; may be repeated. A pattern is ${patternSaid}`,
      ),
    )
    .addOption(given.seed('only this of its seeds, beside what is there of the others; may be repeated'))
    .addOption(given.scale())
    .option('--out <folder>', 'where its tables and logs go (default: runs/<name>); stages are kept beside it')
    .option('--force [pattern]', 'make all, or what matches, anew')
    .option(
      '--accept-stale <reason>',
      'take what other code made, with the same parameters, data and seeds, as it is; the records say so, and why',
    )
    .option(
      '--jobs <number>',
      'worker processes (default: auto, one for each core where so many stages can be made at once)',
      given.jobCount,
      'auto' as const,
    )
    .addOption(given.threads('threads in all, or with --jobs of a process (default: all cores)'))
    .addOption(given.execution())
    .addOption(given.precision())
    .option('--checkpoint-every <steps>', 'steps between two checkpoints', given.wholeFrom1, checkpointEvery)
    .addOption(given.recording())
    .addOption(new Option('--on <cluster>', 'make each model as a job of a cluster').choices(['slurm']))
    .option('--detach', 'with --on: submit all and leave; the same command shows them again')
    .option('--at-most <jobs>', 'with --on: so many jobs at a time', given.wholeFrom1)
    .option('--dry-run', 'with --on: print what would be submitted')
    .argument('[args...]', "with --on: after --, the scheduler's own options, such as --partition=gpu --time=4:00:00")
    .action(
      exits(async (file: string, args: readonly string[], options: RunOptions) => {
        refuseWithoutCluster(options, args);
        const commandLine = resuming(argv, options.force);
        return options.on === undefined
          ? (await import('./run.js')).runCommand(file, options, commandLine)
          : (await import('./on-cluster.js')).runOnCluster(file, { ...options, args }, commandLine);
      }),
    );
};

const addJobs = ({ command, exits }: CommandLine): void => {
  command('jobs')
    .description('list the jobs of a run on a cluster: where they are, why they wait, how they ended')
    .addArgument(given.oneRun())
    .action(exits(async (run: string) => (await import('./jobs.js')).jobsCommand(run)));
};

const addCancel = ({ command, exits }: CommandLine): void => {
  command('cancel')
    .description('end the jobs of a run on a cluster; what is finished is kept')
    .addArgument(given.oneRun())
    .action(exits(async (run: string) => (await import('./jobs.js')).cancelCommand(run)));
};

const addLogs = ({ command, exits }: CommandLine): void => {
  command('logs')
    .description("print what the job of a run's stage has said")
    .addArgument(given.oneRun())
    .argument('<stage>', 'its label, or a part of it that no other has; report is the last job')
    .action(exits(async (run: string, stage: string) => (await import('./jobs.js')).logsCommand(run, stage)));
};

const addPlan = ({ command, exits }: CommandLine): void => {
  withoutEngine(command('plan'))
    .description('what a run of an experiment file would do: its stages, what is there already, the time left')
    .addArgument(given.experimentFile())
    .addOption(given.data())
    .addOption(given.only('only attacks, defences, students or stages that match, as with run'))
    .addOption(given.seed('only this of its seeds; may be repeated'))
    .addOption(given.scale())
    .option('--out <folder>', 'where its tables and logs go (default: runs/<name>)')
    .addOption(given.execution())
    .addOption(given.precision())
    .addOption(given.recording())
    .option('--no-time', 'without timing a few steps of each kind of stage, which takes up to a minute')
    .option('--verbose', 'also every stage by itself: what is there of it, and why it would be made anew')
    .action(
      exits(async (file: string, options: PlanOptions) => (await import('./plan.js')).planCommand(file, options)),
    );
};

const addProfile = ({ command, exits }: CommandLine): void => {
  command('profile')
    .description('where the time of a step goes, by layer and by operation, as tables and a chart')
    .addArgument(given.experimentFile())
    .option(
      '--stage <pattern>',
      'which stage, as undistill plan --verbose lists it (default: the attack of the most steps)',
    )
    .option('--steps <number>', 'steps that are timed', given.wholeFrom1, 20)
    .addOption(given.data())
    .option('--out <folder>', 'where the files go (default: runs/<name>/profile)')
    .addOption(given.threads())
    .action(
      exits(async (file: string, options: ProfileOptions) =>
        (await import('./profile.js')).profileCommand(file, options),
      ),
    );
};

const addMatrix = ({ command, exits }: CommandLine): void => {
  command('matrix')
    .description('print the matrix of a run again')
    .addArgument(given.oneRun())
    .addOption(given.format(formats))
    .option('--undefended', 'also the differences to the undefended teacher')
    .option('--metric <name>', 'another number of the students in place of their accuracy, such as agreement')
    .action(
      exits(async (run: string, options: MatrixOptions) => (await import('./matrix.js')).matrixCommand(run, options)),
    );
};

const addRank = ({ command, exits }: CommandLine): void => {
  command('rank')
    .description('rank the defences of runs by what the strongest attacker gets of them')
    .argument('<runs...>', "runs' folders or names below runs, or files of others: a matrix.json or a ranking.json")
    .addOption(given.format(rankFormats))
    .option('--out <folder>', 'write it there as JSON, Markdown and HTML, with its charts, in place of printing it')
    .option(
      '--check <file>',
      'compare a ranking of somebody else with what their experiment came to here, number by number',
    )
    .action(
      exits(async (runs: readonly string[], options: RankOptions) =>
        (await import('./rank.js')).rankCommand(runs, options),
      ),
    );
};

const addCompare = ({ command, exits }: CommandLine): void => {
  command('compare')
    .description('show runs beside each other: settings that differ, and cells with their differences to the first run')
    .addArgument(given.severalRuns())
    .addOption(given.format(comparisonFormats))
    .option('--out <file>', 'write it there')
    .action(
      exits(async (runs: string[], options: CompareOptions) =>
        (await import('./compare.js')).compareCommand(runs, options),
      ),
    );
};

const addJoin = ({ command, exits }: CommandLine): void => {
  command('join')
    .description(
      'make one run of several that have seeds or rows of one experiment, as from machines that share no folder',
    )
    .addArgument(given.severalRuns())
    .requiredOption('--out <folder>', 'the folder of the joined run')
    .action(
      exits(async (runs: string[], options: { out: string }) => (await import('./join.js')).joinCommand(runs, options)),
    );
};

const addClean = ({ command, exits }: CommandLine): void => {
  command('clean')
    .description('what stages, cache and engines take on disk; removes, after asking, stages that no run uses')
    .argument('[folder]', 'in which the runs are', 'runs')
    .option('--older <days>', 'only what nobody has touched for so many days', given.whole(0), 7)
    .option('--keep <size>', 'only the oldest of it, until so much is left, such as 5GB', given.bytes)
    .option(
      '--cache',
      'also what no process uses of the cache, which all projects share: data sets, engines, compiled steps',
    )
    .option('--yes', 'without asking')
    .action(
      exits(async (folder: string, options: CleanOptions) =>
        (await import('./clean.js')).cleanCommand(folder, options),
      ),
    );
};

const addReport = ({ command, exits }: CommandLine): void => {
  command('report')
    .description('make the page of a run again: one file that opens without a network')
    .addArgument(given.oneRun())
    .option('--out <file>', "where to (default: report.html in the run's folder)")
    .option('--title <text>', "what stands above it (default: the experiment's title, or its name)")
    .action(
      exits(async (run: string, options: { out?: string; title?: string }) =>
        (await import('./report.js')).reportCommand(run, options),
      ),
    );
};

const addServe = ({ command, exits }: CommandLine): void => {
  command('serve')
    .description('show the page of a run, live while it goes on')
    .addArgument(given.oneRun())
    .option('--port <number>', 'where to listen; 0 takes any that is free', given.port, 4747)
    .option('--host <address>', 'let others see it too: listen on this address', '127.0.0.1')
    .action(
      exits(async (run: string, options: { port: number; host: string }) =>
        (await import('./serve.js')).serveCommand(run, options),
      ),
    );
};

const addImages = ({ command, exits }: CommandLine): void => {
  command('images')
    .description('list the images that data-free attacks synthesised in a run')
    .addArgument(given.oneRun())
    .option('--gif', 'also make an animation of how they came about, out of the pictures that the run took')
    .option('--sheet', 'also make one picture of all attacks and defences, an image a class')
    .option('--open', 'also open them in the viewer of this machine')
    .action(
      exits(async (run: string, options: ImagesOptions) => (await import('./images.js')).imagesCommand(run, options)),
    );
};

const addDiagnose = ({ command, exits }: CommandLine): void => {
  command('diagnose')
    .description(
      "look at the teachers of an experiment's run: how confident they are, single answers, maps of what they see",
    )
    .addArgument(given.experimentFile())
    .option('--out <folder>', 'where its tables are (default: runs/<name>)')
    .addOption(given.data())
    .addOption(given.scale('of the run with this fraction of all schedules'))
    .option('--images <number>', 'images on the maps, at most', given.wholeFrom1, 1000)
    .addOption(given.threads())
    .action(
      exits(async (file: string, options: DiagnoseOptions) =>
        (await import('./diagnose.js')).diagnoseCommand(file, options),
      ),
    );
};

const addTensorboard = ({ command, exits }: CommandLine): void => {
  command('tensorboard')
    .description('write the logs and pictures of a run as event files for TensorBoard')
    .addArgument(given.oneRun())
    .option('--out <folder>', "where to (default: tensorboard in the run's folder)")
    .action(
      exits(async (run: string, options: TensorboardOptions) =>
        (await import('./tensorboard.js')).tensorboardCommand(run, options),
      ),
    );
};

const addCharts = ({ command, exits }: CommandLine): void => {
  command('charts')
    .description('draw the charts of a run again: SVG and PNG, with their data and their vega-lite specifications')
    .addArgument(given.oneRun())
    .action(exits(async (run: string) => (await import('./charts.js')).chartsCommand(run)));
};

const addExport = ({ command, exits }: CommandLine): void => {
  command('export')
    .description("write a stage's network as safetensors, with the names and layouts of PyTorch's state_dict")
    .addArgument(given.oneRun())
    .option(
      '--stage <label>',
      'as undistill plan --verbose lists it; its seed may be left out where one is finished. Without: says which there are',
    )
    .option('--out <file>', "where to (default: the stage's name, in the working folder)")
    .action(
      exits(async (run: string, options: ExportOptions) => (await import('./export.js')).exportCommand(run, options)),
    );
};

const addList = ({ command, exits }: CommandLine): void => {
  command('list')
    .description('what there is, with options, access and sources')
    .addArgument(new Argument('[kind]', 'which kind').choices(kinds))
    .option('--json', 'as JSON, with a JSON Schema of the options of each')
    .action(
      exits(async (kind: Kind | undefined, options: { json?: boolean }) =>
        (await import('./list.js')).listCommand(kind === undefined ? kinds : [kind], options),
      ),
    );
};

const addData = ({ command, exits }: CommandLine): void => {
  command('data')
    .description('data sets')
    .command('get')
    .exitOverride()
    .description('download a data set from where it is published, checked, into the per-user data folder')
    .addArgument(new Argument('<name>', 'which').choices(publishedNames))
    .option('--from <url>', 'from another folder that has the same files')
    .action(
      exits(async (name: PublishedName, options: { from?: string }) =>
        (await import('./data.js')).getCommand(name, options),
      ),
    );
};

const addDoctor = ({ command, exits }: CommandLine): void => {
  command('doctor')
    .description('look at the engine, the machine and what is missing')
    .action(exits(async () => (await import('./engine.js')).doctorCommand()));
};

const addNew = ({ command, exits }: CommandLine): void => {
  command('new')
    .description('write a working project, or a plugin of your own with its test')
    .addArgument(new Argument('<kind>', 'what it is').choices(newKinds))
    .argument('<name>', 'like my-attack or myAttack; of a project my-project')
    .action(exits(async (kind: NewKind, name: string) => (await import('./new.js')).newCommand(kind, name)));
};

const addEngine = ({ command, exits }: CommandLine): void => {
  command('engine')
    .description('what the numbers run on')
    .command('install')
    .exitOverride()
    .description('install TensorFlow into the per-user cache; `run` does it by itself when it is missing')
    .option('--cuda', 'with CUDA, for NVIDIA cards')
    .action(exits(async (options: { cuda?: boolean }) => (await import('./engine.js')).installCommand(options)));
};

const addWorker = ({ command }: CommandLine): void => {
  command('worker', { hidden: true }).action(async () => (await import('./worker.js')).workerCommand());
};

const addJob = ({ command, exits }: CommandLine): void => {
  command('job <setup> <id>', { hidden: true }).action(
    exits(async (setup: string, id: string) => (await import('./job.js')).jobCommand(setup, id)),
  );
};

/** Adds every command, in the order in which help lists them. */
export const addCommands = (line: CommandLine): void => {
  for (const add of [
    addRun,
    addJobs,
    addCancel,
    addLogs,
    addPlan,
    addProfile,
    addMatrix,
    addRank,
    addCompare,
    addJoin,
    addClean,
    addReport,
    addServe,
    addImages,
    addDiagnose,
    addTensorboard,
    addCharts,
    addExport,
    addList,
    addData,
    addDoctor,
    addNew,
    addEngine,
    addWorker,
    addJob,
  ])
    add(line);
};
