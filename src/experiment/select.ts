import { FailureError, failure } from '../core/errors.js';
import { isLike } from '../core/text.js';
import { measuringOf } from './measuring.js';
import { patternSaid } from './pattern.js';
import type { CellPlan, Plan } from './plan.js';
import type { Stage } from './stage.js';

/** Whether a text goes on, as a word or as a number, from its end to what follows. */
const goesOn = (before: string, after: string): boolean =>
  /[\p{L}\p{N}_]$/u.test(before) && /^(?:[\p{L}\p{N}_]|\.\p{N})/u.test(after);

/**
 * A pattern with `*` or `?` is a glob for one or more whole parts of a label; any other matches where it occurs in one as a whole
 * word, or several: `kd` in `kd(temperature 20)`, not in `dkd`; `omega 0` not in `omega 0.1`.
 */
export const matcher = (pattern: string): ((label: string) => boolean) => {
  if (!/[*?]/.test(pattern))
    return (label) => {
      for (let at = label.indexOf(pattern); at >= 0; at = label.indexOf(pattern, at + 1)) {
        const [before, after] = [label.slice(0, at), label.slice(at + pattern.length)];
        if (!goesOn(before, pattern) && !goesOn(pattern, after)) return true;
      }
      return false;
    };
  return (label) => {
    const parts = label.split('/');
    return parts.some((_, from) =>
      parts.slice(from).some((__, more) => isLike(pattern, parts.slice(from, from + more + 1).join('/'), '?')),
    );
  };
};

/**
 * The stages whose label matches one of the patterns, those of the cells of which the attack, the defence or the
 * student does, and all that they need. The cells stay: those without stages are `not run`.
 *
 * Throws a `FailureError` of kind `usage`, said to be at `where`, when nothing matches.
 */
export const selected = (
  plan: Plan,
  patterns: readonly string[],
  where: string,
  how: 'with what they need' | 'only themselves' = 'with what they need',
): Plan => {
  const matchers = patterns.map(matcher);
  const matches = (label: string): boolean => matchers.some((match) => match(label));
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const chosen = new Set<string>();
  const add = (id: string | undefined): void => {
    if (id === undefined || chosen.has(id)) return;
    chosen.add(id);
    if (how === 'only themselves') return;
    for (const input of Object.values((byId.get(id) as Stage).inputs)) add(input);
  };
  for (const { id, label } of plan.stages) if (matches(label)) add(id);
  for (const cell of plan.cells) {
    if (!isPlanned(cell)) continue;
    const { steal, measure, baselineMeasure, inspect } = cell.stages;
    const byDefense = matches(cell.defense);
    const asked = byDefense || [cell.attack, cell.student].some(matches) || chosen.has(steal) || chosen.has(measure);
    if (!asked) continue;
    add(steal);
    for (const id of measuringOf(cell.stages)) add(id);
    add(inspect);
    if (how === 'only themselves') continue;
    add(baselineMeasure);
    // What is honestly trained is in every column, and needs none of their victims.
    if (!byDefense && (byId.get(steal) as Stage).inputs.victim === undefined) continue;
    const victim = plan.victims.find(({ defense, seed }) => defense === cell.defense && seed === cell.seed);
    for (const id of victim === undefined ? [] : [...measuringOf(victim), victim.divergence]) add(id);
  }
  if (chosen.size === 0) {
    const labels = new Set(plan.cells.flatMap(({ attack, defense, student }) => [attack, defense, student]));
    throw new FailureError(
      failure('usage', `nothing matches ${patterns.join(' or ')}`, {
        where,
        remedy: `There are: ${[...labels].join(', ')}. A pattern is ${patternSaid}.`,
      }),
    );
  }
  return { ...plan, stages: plan.stages.filter(({ id }) => chosen.has(id)) };
};

/**
 * The stages of some seeds. How far a defended teacher is from another seed's normal one is left for when that seed is run too. The cells
 * stay: those of other seeds are `not run`, or have what the store has of them.
 */
export const ofSeeds = (plan: Plan, labels: readonly string[]): Plan => {
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const chosen = new Set<string>();
  const add = (id: string | undefined): void => {
    if (id === undefined || chosen.has(id)) return;
    chosen.add(id);
    for (const input of Object.values(byId.get(id)?.inputs ?? {})) add(input);
  };
  const ofThese = <Of extends { readonly seed: string }>(all: readonly Of[]): readonly Of[] =>
    all.filter(({ seed }) => labels.includes(seed));
  const victims = ofThese(plan.victims);
  for (const id of victims.flatMap(measuringOf)) add(id);
  for (const { stages } of ofThese(plan.cells))
    for (const id of stages === undefined ? [] : [...measuringOf(stages), stages.baselineMeasure, stages.inspect])
      add(id);
  for (const { divergence } of victims)
    if (Object.values(byId.get(divergence ?? '')?.inputs ?? {}).every((id) => chosen.has(id))) add(divergence);
  return { ...plan, stages: plan.stages.filter(({ id }) => chosen.has(id)) };
};

const isPlanned = (cell: CellPlan): cell is CellPlan & { stages: NonNullable<CellPlan['stages']> } =>
  cell.stages !== undefined;
