import type { JobState } from '../cluster/cluster.js';
import { type JobLine, jobLog, jobReader } from '../cluster/job-file.js';
import { slurmCluster } from '../cluster/slurm.js';
import { jobsByStage, lastJob, type Owner, stageOfJob } from '../cluster/submission.js';
import { FailureError, failure } from '../core/errors.js';
import { readEnd } from '../core/files.js';
import { extent } from '../core/lists.js';
import { counted, showSeconds } from '../core/text.js';
import { takesLong } from '../experiment/stage.js';
import type { PlanFile } from '../harness/plan-file.js';
import { guarded } from '../run/disk.js';
import { recordIn } from '../run/stage-files.js';
import { isThere, type StageFolder, stagesIn, storeOf } from '../run/store.js';
import { progressLine } from './progress.js';
import { readPlan, runFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

/** A run on a cluster, by its folder or its name. */
const open = async (run: string, command: string) => {
  const folder = await runFolder(run, command);
  const owner: Owner = { store: storeOf(folder), run: folder };
  return { owner, plan: await readPlan(folder) };
};

const madeOf = (line: JobLine | undefined): string =>
  line?.type === 'event' && line.event.type === 'progress' ? `  ${progressLine(line.event.progress)}` : '';

/** What is known of a stage, in a line. */
const lineOf = async (
  stage: PlanFile['stages'][number],
  job: JobState | undefined,
  stored: StageFolder | undefined,
  store: string,
): Promise<string> => {
  if (stored?.state === 'finished') {
    const record = await recordIn(stored.folder);
    if (record?.failure !== undefined) return `failed  ${record.failure.what}`;
    return `done${record === undefined ? '' : `  ${showSeconds(record.seconds)}`}`;
  }
  const lines = await jobReader(store, stage.id)();
  const last = lines.filter(({ type }) => type !== 'event').at(-1);
  const started = lines.filter(({ type }) => type === 'begun').length;
  const times = started > 1 ? `  start ${started}` : '';
  if (job?.state === 'waiting') return `${job.id}  waits: ${job.reason}${times}`;
  if (job?.state === 'running') return `${job.id}  ${job.node}${times}${madeOf(lines.at(-1))}`;
  if (last?.type === 'failed') return `failed  ${last.failure.what}`;
  return job === undefined ? 'no job' : `${job.id}  ended: ${job.word}${job.node ? ` on ${job.node}` : ''}`;
};

/** Lists the jobs of a run. Gives the exit code. */
export const jobsCommand = async (run: string, out: Terminal = terminal()): Promise<number> => {
  const { owner, plan } = await open(run, 'jobs');
  const jobs = jobsByStage(await slurmCluster().jobs(), owner);
  const stored = await stagesIn(owner.store);
  const long = plan.stages.filter(takesLong);
  const width = extent([...long.map(({ label }) => label.length), 'report'.length])[1];
  for (const stage of long)
    out.log(
      `${stage.label.padEnd(width)}  ${await lineOf(stage, jobs.get(stage.id), stored.get(stage.id), owner.store)}`,
    );
  const last = jobs.get(lastJob(owner.run));
  if (last !== undefined)
    out.log(
      `${'report'.padEnd(width)}  ${last.id}  ${last.state === 'ended' ? `ended: ${last.word}` : last.node || `waits: ${last.reason}`}`,
    );
  const count = (state: JobState['state']): number => long.filter(({ id }) => jobs.get(id)?.state === state).length;
  const done = long.filter(({ id }) => stored.get(id)?.state === 'finished').length;
  out.log(`${counted(long.length, 'model')}: ${done} done, ${count('running')} running, ${count('waiting')} waiting.`);
  return 0;
};

/** Ends the jobs that a run submitted, for good. Gives the exit code. */
export const cancelCommand = async (run: string, out: Terminal = terminal()): Promise<number> => {
  const { owner } = await open(run, 'cancel');
  const cluster = slurmCluster();
  const ours = (await cluster.jobs()).filter((job) => job.state !== 'ended' && stageOfJob(job, owner)?.isOurs === true);
  await cluster.cancel(ours.map(({ id }) => id));
  out.log(
    ours.length === 0
      ? 'No jobs of it were there.'
      : `${counted(ours.length, 'job')} ended. What is finished is kept, and what was begun has a checkpoint.`,
  );
  return 0;
};

/** Prints what the job of a stage has said. Gives the exit code. */
export const logsCommand = async (run: string, stage: string, out: Terminal = terminal()): Promise<number> => {
  const { owner, plan } = await open(run, 'logs');
  const named = plan.stages.filter(({ label }) => label === stage);
  const found = named.length > 0 ? named : plan.stages.filter((each) => takesLong(each) && each.label.includes(stage));
  const ids = stage === 'report' ? [lastJob(owner.run)] : found.map(({ id }) => id);
  const refuse = (what: string, remedy: string): never => {
    throw new FailureError(failure('usage', what, { where: stage, remedy }));
  };
  if (ids.length > 1)
    refuse('several stages have this in their label', `Give one of: ${found.map(({ label }) => label).join(', ')}.`);
  const id =
    ids[0] ?? refuse('no stage has this in its label', '`undistill jobs` lists them, and `report` is the last job.');
  const path = jobLog(owner.store, id);
  if (!(await isThere(path))) refuse('its job has said nothing yet', `That will be in ${path}.`);
  out.print(await guarded(path, () => readEnd(path)));
  return 0;
};
