import { median } from '../core/lists.js';
import { dispose, type Tree } from '../core/tree.js';
import { profile, type StepProfile } from '../engine/profile.js';
import { runner as runnerOf } from '../engine/runner.js';
import type { Call } from '../engine/step.js';
import type { TracedNode } from '../engine/trace.js';
import type { Stage } from '../experiment/stage.js';
import { allSteps } from '../train/fit.js';
import { frameOf, wholeState, wholeStep } from '../train/fit-step.js';
import { type AnyFit, callAt, rehearse } from './rehearsal.js';
import type { RunEnvironment } from './types.js';

/** Where the time of a fit's step goes. All times in seconds a step, medians. */
export interface FitProfile {
  readonly stage: string;
  readonly fit: string;
  /** Images a step. */
  readonly images: number;
  /** Steps that were timed. */
  readonly steps: number;
  /** As a run takes it: compiled, where it can be. */
  readonly compiled: number;
  /** Operation by operation, as it was profiled; and of that what was spent in operations. */
  readonly eager: number;
  readonly inOperations: number;
  /** By TensorFlow's names of operations, the longest first. */
  readonly operations: readonly { readonly name: string; readonly calls: number; readonly seconds: number }[];
  /** In the order in which a step comes to them. */
  readonly layers: readonly LayerTime[];
}

export interface LayerTime {
  /** Whose: `victim`, `net` for the net that is trained, or where its variables lie in the state; '' of no net. */
  readonly net: string;
  /** The name of its variables without their last part, such as `layer1.0.conv1`; `input` before the first, `loss` after the last. */
  readonly layer: string;
  readonly forward: number;
  readonly backward: number;
  /** The optimiser's. */
  readonly update: number;
}

/** Profiles the longest fit of a stage, on nets that have learnt nothing. */
export const profileStage = async (environment: RunEnvironment, stage: Stage, steps: number): Promise<FitProfile> => {
  let longest: { readonly total: number; readonly profile: FitProfile } | undefined;
  await rehearse(environment, stage, {
    fit: (name, spec, { key, times }) => {
      const source = spec.source(key.split('batches'));
      const total = times * allSteps(spec, source.steps);
      if (longest !== undefined && total <= longest.total) return dispose(source.data);
      const { call, images } = callAt(spec, source, key, 0);
      const state = wholeState(spec, key.split('init'));
      try {
        const found = {
          stage: stage.label,
          fit: name,
          images,
          steps,
          ...profiled(spec, source.data, state, call, steps),
        };
        longest = { total, profile: found };
      } finally {
        dispose([state, source.data, call.batch, call.inputs]);
      }
    },
  });
  if (longest === undefined) throw new Error(`${stage.label} fits nothing`);
  return longest.profile;
};

const profiled = (
  spec: AnyFit,
  data: Tree,
  state: ReturnType<typeof wholeState>,
  call: Call<Tree>,
  steps: number,
): Omit<FitProfile, 'stage' | 'fit' | 'images' | 'steps'> => {
  const frame = frameOf(spec, data);
  const step = wholeStep(spec);
  const found = profile(step, { frozen: frame, state, call, steps });
  const inOperations = found.seconds.reduce((sum, seconds) => sum + seconds, 0);
  return {
    compiled: compiledSeconds(step, frame, state, call, steps),
    eager: found.step,
    inOperations,
    operations: operationsIn(found),
    layers: layersIn(found),
  };
};

const compiledSeconds = (
  step: ReturnType<typeof wholeStep>,
  frame: ReturnType<typeof frameOf>,
  state: ReturnType<typeof wholeState>,
  call: Call<Tree>,
  steps: number,
): number => {
  const runner = runnerOf(step, frame);
  try {
    runner.load(state);
    const seconds: number[] = [];
    for (let i = 0; i <= steps; i++) {
      const began = performance.now();
      dispose(runner.run([call as never]) as unknown as Tree);
      // The first one compiles.
      if (i > 0) seconds.push((performance.now() - began) / 1000);
    }
    return median(seconds);
  } finally {
    runner.dispose();
  }
};

const operationsIn = ({ trace: { nodes }, seconds }: StepProfile): FitProfile['operations'] => {
  const sums = new Map<string, { calls: number; seconds: number }>();
  nodes.forEach((node, at) => {
    if (node.kind !== 'operation') return;
    const sum = sums.get(node.name) ?? { calls: 0, seconds: 0 };
    sums.set(node.name, { calls: sum.calls + 1, seconds: sum.seconds + (seconds[at] as number) });
  });
  return [...sums].map(([name, sum]) => ({ name, ...sum })).sort((a, b) => b.seconds - a.seconds);
};

/** A layer of a net, or what is before or behind all of them. */
interface Place {
  readonly net: string;
  readonly layer: string;
}

const input: Place = { net: '', layer: 'input' };
const loss: Place = { net: '', layer: 'loss' };

/** The layer that a leaf is a variable of. */
const placeOf = (path: string): Place | undefined => {
  const [, owner, name] = /^(.*)\/(?:params|stats)\/([^/]+)$/.exec(path) ?? [];
  if (owner === undefined || name === undefined) return undefined;
  const net = owner
    .replace(/^frozen\/victim\/variables$/, 'victim')
    .replace(/^state\/own\/(slots|variables)$/, 'net')
    .replace(/^state\/own\//, '')
    .replace(/^frozen\/frozen\//, '');
  return { net, layer: name.replace(/\.[^.]+$/, '') };
};

/** Operations of optimisers between a gradient and what it changes. */
const arithmetic =
  /^(UndistillMomentum|UndistillAdam|Mul|Add|AddV2|AddN|Sub|RealDiv|Div|Sqrt|Rsqrt|Square|Neg|Pow|Maximum|Minimum|Identity|Cast)$/;
/** Operations after which a variable is still the same variable. */
const views = /^(Identity|Reshape|Cast|Transpose|ExpandDims|Squeeze)$/;

/**
 * Which layer each operation is of. What takes a layer's variables in is that layer's, and so is the gradient to them;
 * everything else is of the layer that it takes its numbers from. What two nets, or a net and the labels, flow into is
 * the loss.
 */
const placesIn = ({ trace: { nodes, outputs }, inputs, outputs: names }: StepProfile) => {
  const leaves = inputs.map(placeOf);
  const lossAt = names.findIndex((name) => /^metrics\/metrics\/(loss|.*[lL]oss)$/.test(name));
  const last = outputs[lossAt]?.node ?? nodes.length;
  /** Variables, and views of them. */
  const variable = new Map<number, Place>();
  leaves.forEach((place, at) => {
    if (place !== undefined) variable.set(at, place);
  });
  const isLabel = (at: number): boolean => /^(batch|frozen\/data)\/(labels|answers)$/.test(inputs[at] ?? '');
  const places: (Place | undefined)[] = [];
  const gradientOf = new Map<number, Place>();
  const updates = new Set<number>();

  /** From a changed variable back to the gradient that it was changed by. */
  const followUpdate = (at: number, place: Place): void => {
    const node = nodes[at];
    if (at <= last || node?.kind !== 'operation' || updates.has(at)) return;
    if (!arithmetic.test(node.name)) {
      if (!gradientOf.has(at)) gradientOf.set(at, place);
      return;
    }
    updates.add(at);
    gradientOf.set(at, place);
    for (const { node: before } of node.inputs) followUpdate(before, place);
  };
  names.forEach((name, i) => {
    const place = placeOf(name);
    if (place !== undefined && /\/params\//.test(name)) followUpdate((outputs[i] as { node: number }).node, place);
  });

  const placed = (node: Extract<TracedNode, { readonly kind: 'operation' }>, at: number): Place => {
    const taken = node.inputs.map(({ node: before }) => before);
    const own = taken.map((before) => variable.get(before)).find((place) => place !== undefined);
    if (own !== undefined) {
      if (views.test(node.name)) variable.set(at, own);
      return own;
    }
    const toVariable = gradientOf.get(at);
    if (toVariable !== undefined) return toVariable;
    const isBackward = at > last;
    const before = taken.filter((each) => places[each] !== undefined);
    // A gradient goes back through the layer whose numbers were kept for it.
    const kept = isBackward ? before.filter((each) => each <= last) : before;
    const from = (kept.length > 0 ? kept : before).sort((a, b) => b - a);
    const found = from.map((each) => places[each] as Place);
    if (!isBackward) {
      const nets = new Set(found.filter(({ net }) => net !== '').map(({ net }) => net));
      if (found.includes(loss) || nets.size > 1 || (nets.size > 0 && taken.some(isLabel))) return loss;
    }
    return found.find(({ net }) => net !== '') ?? found[0] ?? input;
  };
  nodes.forEach((node, at) => {
    places[at] = node.kind === 'operation' ? placed(node, at) : undefined;
  });
  return { places, updates, last };
};

const layersIn = (found: StepProfile): readonly LayerTime[] => {
  const { places, updates, last } = placesIn(found);
  const sums = new Map<string, { readonly place: Place; forward: number; backward: number; update: number }>();
  places.forEach((place, at) => {
    if (place === undefined) return;
    const name = `${place.net} ${place.layer}`;
    const sum = sums.get(name) ?? { place, forward: 0, backward: 0, update: 0 };
    const phase = updates.has(at) ? 'update' : at > last ? 'backward' : 'forward';
    sums.set(name, { ...sum, [phase]: sum[phase] + (found.seconds[at] as number) });
  });
  return [...sums.values()].map(({ place, ...times }) => ({ ...place, ...times }));
};
