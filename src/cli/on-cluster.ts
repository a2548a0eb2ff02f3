import { resolve } from 'node:path';
import type { JobSetup } from '../cluster/setup.js';
import { dryRunOfSlurm, slurmCluster } from '../cluster/slurm.js';
import type { Submitted } from '../cluster/submission.js';
import { FailureError, failure } from '../core/errors.js';
import { counted } from '../core/text.js';
import { longStages, openOnCluster, printSubmission } from '../harness/on-cluster.js';
import { foldersOf, type Located, planFor, plannedEngine } from '../harness/session.js';
import { sharedBy } from '../run/crew.js';
import { gitState } from '../run/git.js';
import { chosenOf, openExperiments, outFolder } from './experiment-file.js';
import { makeRun, onSignals, openRun, type RunOptions } from './run.js';
import { type Terminal, terminal, warn } from './terminal.js';
import { milliseconds } from './watch.js';

const refuse = (what: string, remedy: string): never => {
  throw new FailureError(failure('usage', what, { where: '--on slurm', remedy }));
};

/**
 * Runs the experiments of a file as jobs of a cluster, all submitted at once, and follows them unless told not to. Gives the
 * exit code.
 */
export const runOnCluster = async (
  file: string,
  options: RunOptions,
  commandLine: string,
  out: Terminal = terminal(),
): Promise<number> => {
  if (options.jobs !== 'auto')
    refuse(
      '--jobs says how many processes share this machine',
      'Leave it out: --at-most N has so many jobs run at a time.',
    );
  if (options.threads !== undefined)
    refuse(
      "a job's threads are the cores that it was given",
      'Leave --threads out: -- --cpus-per-task=N gives it so many.',
    );
  const args = options.args ?? [];
  // Whether there is a cluster at all, before anything else is done.
  if (options.dryRun !== true) await slurmCluster(args).jobs();
  const experiments = await openExperiments(file, options);
  let code = 0;
  for (const [i, one] of experiments.entries()) {
    if (i > 0) out.log('');
    const folder = outFolder(options.out, one, experiments.length);
    const own = await (options.dryRun === true ? printOne : runOne)(one, { ...options, out: folder }, commandLine, out);
    if (own === 130) return own;
    code = Math.max(code, own);
  }
  return code;
};

const setupOf = async ({ path, experiment }: Located, options: RunOptions): Promise<Omit<JobSetup, 'arithmetic'>> => {
  const { data, seed, scale, only, execution, precision, checkpointEvery, answers, args = [] } = options;
  const folders = foldersOf(experiment, options.out);
  return {
    ...{ file: resolve(path), experiment: experiment.name, seed, scale, only, args },
    data: data === undefined ? undefined : resolve(data),
    ...{ run: folders.run, store: resolve(folders.store), execution, precision, checkpointEvery },
    answers: answers === 'off' ? undefined : answers,
    git: await gitState(path),
  };
};

/** `41 models; 38 submitted, 3 there from before`. */
const said = ({ submitted, waiting, there }: Submitted): string =>
  [
    `${submitted} submitted`,
    ...(waiting === 0 ? [] : [`${waiting} submitted before`]),
    ...(there === 0 ? [] : [`${there} there from before`]),
  ].join(', ');

const printOne = async (one: Located, options: RunOptions, _: string, out: Terminal): Promise<number> => {
  const engine = await plannedEngine(options.execution, options.precision);
  const planned = await planFor(one.experiment, engine);
  const setup = { ...(await setupOf(one, options)), arithmetic: engine };
  const cluster = dryRunOfSlurm(setup.args, (line) => out.print(`${line}\n`));
  const { submitted } = await printSubmission(planned, chosenOf(planned.plan, options), setup, cluster, options.atMost);
  if (submitted === 0) out.log(`${one.experiment.name}: nothing is left to submit`);
  return 0;
};

const runOne = async (one: Located, options: RunOptions, commandLine: string, out: Terminal): Promise<number> => {
  const { experiment } = one;
  const setup = await setupOf(one, options);
  const folders = foldersOf(experiment, options.out);
  const stop = new AbortController();
  const cluster = slurmCluster(setup.args);
  const every = milliseconds('UNDISTILL_LOOK');
  const letGo = onSignals(() => stop.abort());
  try {
    const on = await openOnCluster({
      ...{ cluster, setup, experiment, signal: stop.signal, every },
      say: (line) => out.log(line),
    });
    const { plan } = on.planned;
    const chosen = chosenOf(plan, options);
    await openRun(on.planned, chosen, one.path, options, out);
    const { atMost } = options;
    const submit = (failed?: ReadonlySet<string>): Promise<Submitted> =>
      on.submit(chosen, { atMost, ...(failed === undefined ? {} : { failed }) });
    const submitted = await submit();
    out.log(
      `${experiment.name}: ${counted(longStages(chosen).length, 'model')}; ${said(submitted)}; ${on.node.engine} on ${on.node.host}`,
    );
    const left = submitted.submitted + submitted.waiting;
    const detached = (): string =>
      `Detached: ${counted(left, 'job')} go on. The same command shows them again; undistill jobs ${experiment.name} lists them, and undistill cancel ${experiment.name} ends them.\n  ${commandLine}`;
    if (options.detach === true || stop.signal.aborted) {
      out.log(detached());
      return options.detach === true ? 0 : 130;
    }
    letGo();
    const code = await makeRun({
      ...{ planned: on.planned, chosen, folders, store: on.store, stop, commandLine, out, detached },
      crew: sharedBy(on.executor(submitted, submit, stop.signal)),
    });
    if (code !== 130) await on.end().catch((error) => warn(out, String(error.message)));
    return code;
  } finally {
    letGo();
  }
};
