import { cpus } from 'node:os';
import { FailureError, toFailure } from '../core/errors.js';
import { onOneBackend } from '../engine/backend.js';
import { processorName } from '../engine/setup/processor.js';
import type { Stage, Work } from '../experiment/stage.js';
import { inspectStage } from './inspect.js';
import { measureStage } from './measure.js';
import { files } from './outputs.js';
import type { Provenance, StageRecord, TrainingRecord } from './record.js';
import { recordingsOf } from './recordings.js';
import type { StagingDir } from './store.js';
import { trainStage } from './train-stage.js';
import type { RunEnvironment, StageEvent, StageRun } from './types.js';

/**
 * Makes one stage whose inputs are in the store, in a staging that the caller has begun, and finishes it. Rejects with
 * a `FailureError`; a divergence is kept in the store as the stage's result before it is thrown.
 */
export const runStage = async (
  environment: RunEnvironment,
  stage: Stage,
  staging: StagingDir,
  emit: (event: StageEvent) => void,
): Promise<StageRecord> => {
  const warnings: string[] = [];
  const warn = (message: string): void => {
    if (warnings.includes(message)) return;
    warnings.push(message);
    emit({ type: 'warning', message });
  };
  const began = performance.now();
  const before = (await staging.readJson<{ seconds: number }>('elapsed.json'))?.seconds ?? 0;
  const seconds = () => before + (performance.now() - began) / 1000;
  const record = (more: Pick<StageRecord, 'training' | 'failure'>): StageRecord => ({
    id: stage.id,
    label: stage.label,
    kind: stage.work.kind,
    inputs: stage.inputs,
    parts: stage.parts,
    warnings,
    provenance: provenanceOf(environment),
    seconds: seconds(),
    ...more,
  });
  const finish = async (made: StageRecord): Promise<StageRecord> => {
    await staging.remove('fits');
    await staging.remove('elapsed.json');
    await staging.writeJson(files.record, made);
    await staging.finish();
    return made;
  };
  try {
    const { signal, checkpointEvery } = environment;
    const note = (message: string): void => emit({ type: 'note', message });
    const recordings = await recordingsOf(environment, stage, note);
    const stageRun: StageRun = { stage: stage.id, staging, signal, checkpointEvery, emit, warn, recordings };
    const { work } = stage;
    const training = await onOneBackend(() => working(environment, stage, work, stageRun));
    return await finish(record(training === undefined ? {} : { training }));
  } catch (error) {
    const failed = toFailure('plugin', stage.label)(error);
    if (failed.kind === 'diverged') await finish(record({ failure: failed }));
    else await staging.writeJson('elapsed.json', { seconds: seconds() }).catch(() => undefined);
    throw new FailureError(failed);
  }
};

const working = (
  environment: RunEnvironment,
  stage: Stage,
  work: Work,
  stageRun: StageRun,
): Promise<TrainingRecord | undefined> => {
  switch (work.kind) {
    case 'measure':
      return measureStage(environment, stage, stageRun);
    case 'inspect':
      return inspectStage(environment, stage, work, stageRun);
    default:
      return trainStage(environment, stage, work, stageRun);
  }
};

/** Such as `2 × AMD EPYC`. */
const processor = (): string => `${cpus().length} × ${processorName()}`;

const provenanceOf = ({ engine, version, git }: RunEnvironment): Provenance => ({
  undistill: version,
  engine: engine.class,
  engineVersion: engine.version,
  threads: engine.threads,
  gpus: engine.gpus,
  node: process.version,
  platform: `${process.platform}-${process.arch}`,
  processor: processor(),
  ...(git === undefined ? {} : { git }),
  finished: new Date().toISOString(),
});
