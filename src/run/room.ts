import type { Dataset } from '../data/dataset.js';
import { evaluationSets, type Others } from '../experiment/data-access.js';
import type { Plan } from '../experiment/plan.js';
import { makesNetwork, type Stage } from '../experiment/stage.js';
import type { NetworkPlugin } from '../models/network.js';

/** What a stage's room on disk depends on. */
export interface RoomOf {
  readonly plan: Plan;
  readonly data: Dataset;
  readonly others: Others;
}

const bytesOfFloat = Float32Array.BYTES_PER_ELEMENT;

const networkOf = ({ work }: Stage): NetworkPlugin | undefined => {
  switch (work.kind) {
    case 'teacher':
    case 'protect':
      return work.learner.network;
    case 'import':
      return work.teacher.network;
    case 'steal':
      return work.student.network;
    default:
      return undefined;
  }
};

/**
 * Bytes that finished stages take on disk: weights of the checkpoints, and logits. What plans do not tell is left out: images that are
 * synthesised, logs, and what is there only while a stage is made.
 */
export const bytesOfStages = (stages: readonly Stage[], { plan, data, others }: RoomOf): number => {
  const { experiment } = plan;
  const weights = new Map<NetworkPlugin, number>();
  const weightsOf = (network: NetworkPlugin): number => {
    const known = weights.get(network);
    if (known !== undefined) return known;
    const { variables } = network.build(data.image, data.classes.length);
    const numbers = variables.reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
    weights.set(network, numbers * bytesOfFloat);
    return numbers * bytesOfFloat;
  };
  const images = Object.values(evaluationSets({ data, others, experiment })).reduce(
    (sum, set) => sum + (set?.indices.length ?? 0),
    0,
  );
  const logits = images * data.classes.length * bytesOfFloat;
  const checkpoints = experiment.validation > 0 ? 2 : 1;
  return stages.reduce((sum, stage) => {
    const network = networkOf(stage);
    if (network !== undefined && makesNetwork(stage.work)) return sum + checkpoints * weightsOf(network);
    if (stage.work.kind === 'evaluate') return sum + checkpoints * logits;
    return stage.work.kind === 'answer' ? sum + logits : sum;
  }, 0);
};
