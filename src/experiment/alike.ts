import type { Experiment } from './experiment.js';
import {
  type Code,
  canonical,
  type OwnFunction,
  otherFunction,
  ownFunctions,
  pluginsIn,
  sourcesIn,
} from './identity.js';
import { plannedValues } from './plan.js';
import { refuseAlike } from './stage.js';

/** The functions of a plugin that are known by their texts alone, and the experiment that it was found in. */
interface Known {
  readonly of: string;
  readonly functions: readonly OwnFunction[];
}

/**
 * Refuses plugins in different experiments of one file that tell the same of themselves and are not the same: of two such experiments, which
 * share their stages, the second would find what the first one made. Throws a `FailureError` of kind `experiment`.
 */
export const refuseAlikeIn = (experiments: readonly Experiment[]): void => {
  const values = experiments.map(plannedValues);
  const code: Code = { modules: new Map([...sourcesIn(values)].map((url) => [url, { hash: url, files: {} }])) };
  const known = new Map<string, Known[]>();
  experiments.forEach(({ name: of }, i) => {
    for (const plugin of pluginsIn(values[i])) {
      const functions = ownFunctions(plugin);
      if (functions.length === 0) continue;
      const text = JSON.stringify(canonical(plugin, code));
      const alike = known.get(text) ?? [];
      const differing = alike.map((each) => ({ ...each, at: otherFunction(functions, each.functions) }));
      if (differing.some(({ at }) => at === undefined)) continue;
      const other = differing.find((each) => each.of !== of);
      if (other?.at !== undefined) refuseAlike(other.at.where, other.of, of);
      known.set(text, [...alike, { of, functions }]);
    }
  });
};
