import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { cacheFolder } from '../core/cache-folder.js';
import { type Failure, FailureError, failure, firstLine } from '../core/errors.js';
import * as tree from '../core/tree.js';
import { underXla } from './backend.js';
import { eager } from './eager.js';
import { feedNames, fetchNames, graphOf, type Program, reading, writing } from './graph.js';
import { paceOf, type Stride } from './pace.js';
import { type Change, changeSince } from './retrace.js';
import { storeGraph } from './saved-model.js';
import { openSession, type Session } from './session.js';
import { type Call, formKey, own, type Run, type Runner, type Step, type Taken, take } from './step.js';
import { type Form, formsOf, NotTraceable, trace } from './trace.js';
import { takenBothWays } from './xla-check.js';

export interface CompileOptions {
  /**
   * Steps in one native call, where that many batches of one shape are given at once: a number, or a function of the
   * milliseconds that a step takes, which are measured on the first steps. Default 1.
   */
  readonly stride?: Stride;
  /** Have XLA compile the graph: other operations, other roundings. Default false. */
  readonly xla?: boolean;
  /** Called with a sentence when steps run eagerly, or without XLA, although a graph or XLA was asked for. */
  readonly fellBack?: (reason: string) => void;
  /** Called with a sentence before something that takes long, such as compiling. */
  readonly note?: (message: string) => void;
  /** Where graphs are kept. Default: the cache folder. */
  readonly cache?: string;
}

/** A step traced for one form of its batch. Of `metrics` only the structure counts: its tensors are disposed of. */
interface Compiled {
  readonly program: Program;
  readonly metrics: tree.Tree;
  /** Whether its graph ran once. */
  ran: boolean;
  /** Whether the step was called once more and did the same. */
  lasts: boolean;
  /** How often XLA's numbers were compared with the plain graph's. */
  checked: number;
  /** What calls of it feed and fetch, by their kind. */
  readonly names: Map<string, CallNames>;
}

type CallNames = Readonly<Record<'feedNames' | 'fetchNames', readonly string[]>>;

/** What a call of so many steps feeds and fetches. */
const namesOf = ({ program, names }: Compiled, repeat: number, xla: boolean): CallNames => {
  const kind = `${repeat} ${xla}`;
  const known = names.get(kind);
  if (known !== undefined) return known;
  const used = variant(program, repeat, xla);
  const found = { feedNames: feedNames(used), fetchNames: fetchNames(used) };
  names.set(kind, found);
  return found;
};

/** Steps of each shape on which XLA is compared with the plain graph before it is trusted. */
const checkedSteps = 3;

/**
 * A runner that calls a step's operations once, notes them as a TensorFlow graph, and from then on runs the graph: a step
 * is one native call. On a CPU the numbers are the same bits as the eager runner's.
 *
 * There is one graph for all steps on the state and all shapes of their batches; a step of a new shape is traced when it
 * is first taken. The state lives in the graph's variables between steps.
 *
 * Where a step cannot be traced or TensorFlow does not take the graph, steps run eagerly, and `execution` says why. What XLA
 * computes is compared with the plain graph on the first steps of each shape; where it differs by more than rounding, or XLA
 * cannot compile the step, the plain graph runs.
 *
 * Before a graph runs for the second time its step is called once more, without computing anything.
 *
 * @throws FailureError of kind `plugin` from `run`, where the step does something else then: the graph would not
 */
export const compile = <
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
>(
  step: Step<Frozen, State, Batch, Metrics>,
  frozen: Frozen,
  {
    stride: wanted = 1,
    xla = false,
    fellBack = () => {},
    note = () => {},
    cache = join(cacheFolder(), 'graphs'),
  }: CompileOptions = {},
): Runner<Frozen, State, Batch, Metrics> => {
  /** The state while it is outside the graph: what `load` was given or a traced step left. */
  let held: State | undefined;
  /** A state of which only the structure counts: its tensors are disposed of. */
  let template: State | undefined;
  let variables: readonly Form[] = [];
  /** With the scalars of its graph. */
  let session: (Session & { readonly scalars: Float32Array }) | undefined;
  /** Set once a graph turned out to be impossible. */
  let instead: { readonly runner: Runner<Frozen, State, Batch, Metrics>; readonly reason: string } | undefined;
  const pace = paceOf(wanted);
  /** Why XLA is not used although it was asked for. */
  let withoutXla: string | undefined;
  const compiled = new Map<string, Compiled>();
  const fixed = tree.leaves(frozen).length;

  const loaded = (): State => {
    if (template === undefined) throw new Error('this runner holds no state: call load first');
    return template;
  };

  /** Takes the state out of the graph, which is closed. */
  const takeOut = (): State => {
    const state = held ?? tree.keep(readOut());
    close();
    held = undefined;
    return state;
  };

  const readOut = (): State => {
    const form = loaded();
    const leaves = tree.entries(form);
    // TensorFlow does not run a graph for nothing.
    if (leaves.length === 0) return form;
    const values = (session as Session).run([], [], reading(leaves.map((_, i) => fixed + i)));
    return tree.filled(form, values);
  };

  const close = (): void => {
    session?.close();
    session = undefined;
  };

  const giveUp = (reason: string, state: State): Runner<Frozen, State, Batch, Metrics> => {
    const runner = eager(step, frozen);
    runner.load(state);
    tree.dispose(state);
    compiled.clear();
    instead = { runner, reason };
    fellBack(`steps run operation by operation: ${reason}`);
    return runner;
  };

  const noting = <A>(body: () => A): A => (xla ? underXla(body) : body());
  const usesXla = (): boolean => xla && withoutXla === undefined;

  /**
   * Traces a step by taking it once, operation by operation. Its result is thrown away and the graph takes the step again, so
   * that all numbers of a run come from the graph, also of one that is resumed and traces anew.
   */
  const first = <B extends tree.Tree, M extends tree.Tree>(
    of: Step<Frozen, State, B, M>,
    key: string,
    call: Call<B>,
  ): void => {
    const state = takeOut();
    held = state;
    template = state;
    try {
      const { taken, program, forms } = noting(() => traced(`p${compiled.size}`, of, frozen, state, call));
      tree.dispose([taken.state, taken.metrics]);
      variables = forms;
      compiled.set(key, { program, metrics: taken.metrics, ran: false, lasts: false, checked: 0, names: new Map() });
    } catch (error) {
      if (!(error instanceof NotTraceable)) throw error;
      held = undefined;
      giveUp(error.message, state);
    }
  };

  /**
   * Calls a step whose graph is to run for the second time again, and throws where it does otherwise than at first: what changes
   * from call to call would stay in the graph as it was.
   */
  const assertLasting = <B extends tree.Tree, M extends tree.Tree>(
    of: Step<Frozen, State, B, M>,
    known: Compiled,
    call: Call<B>,
  ): void => {
    const change = noting(() => {
      const again = filledStep(of, frozen, loaded(), call);
      return changeSince(known.program.trace, (copies) => leavesOf(again(copies)));
    });
    if (change !== undefined) throw new FailureError(notLasting(change));
    known.lasts = true;
  };

  const stored = () => {
    const { scalars, ...graph } = graphOf(
      variables,
      [...compiled.values()].flatMap(({ program }) => variants(program)),
    );
    return { folder: storeGraph(graph, cache), scalars };
  };

  /** The graph of all programs. Where the first one's was timed before, it is settled at once how many steps go into a call. */
  const graph = () => {
    const found = stored();
    return pace.begin(found.folder) ? stored() : found;
  };

  /** The session with the state in it. */
  const open = (): Session => {
    if (session === undefined) {
      const { folder, scalars } = graph();
      const bytes = variables.reduce((sum, { shape }) => sum + 4 * tf.util.sizeFromShape([...shape]), 0);
      session = { ...openSession(folder, bytes), scalars };
    }
    if (held !== undefined) {
      write(held);
      tree.dispose(held);
      held = undefined;
    }
    return session;
  };

  const variants = (program: Program): Program[] => {
    const repeats = pace.stride === 1 ? [1] : [1, pace.stride];
    return [false, ...(usesXla() ? [true] : [])].flatMap((xla) =>
      repeats.map((repeat) => variant(program, repeat, xla)),
    );
  };

  const write = (state: State): void => {
    const { run, scalars } = session as NonNullable<typeof session>;
    const last = tf.tensor1d(scalars);
    const { feeds, fetches } = writing(variables.length);
    try {
      tf.dispose(run([...tree.leaves(frozen), ...tree.leaves(state), last], feeds, fetches));
    } finally {
      last.dispose();
    }
  };

  const call = <B extends tree.Tree, M extends tree.Tree>(
    known: Compiled,
    calls: readonly Call<B>[],
    byXla: boolean,
  ): M[] => {
    const { program, metrics } = known;
    const { feedNames, fetchNames } = namesOf(known, calls.length, byXla);
    const feeds = calls.flatMap(({ batch, inputs }) => [...tree.leaves(batch), ...tree.leaves(inputs)]);
    const values = open().run(feeds, feedNames, fetchNames);
    values.pop()?.dispose();
    const count = program.metrics.length;
    return calls.map((_, i) => tree.filled(metrics as M, values.slice(i * count, (i + 1) * count)));
  };

  /** Takes several steps of one form that was traced before. */
  const again = <B extends tree.Tree, M extends tree.Tree>(known: Compiled, calls: readonly Call<B>[]): M[] => {
    if (!usesXla()) return call(known, calls, false);
    if (known.checked >= checkedSteps) return call(known, calls, true);
    return calls.map((one) => checkedCall<B, M>(known, one));
  };

  /** Takes a step by the plain graph and by XLA, which is not used any more where it computes something else. */
  const checkedCall = <B extends tree.Tree, M extends tree.Tree>(known: Compiled, one: Call<B>): M => {
    open();
    const { metrics, unfit } = takenBothWays<State, M>({
      take: (byXla) => {
        if (byXla && known.checked === 0) note('XLA compiles the step, which may take a minute');
        return (call<B, M>(known, [one], byXla) as [M])[0];
      },
      read: () => tree.keep(readOut()),
      write,
    });
    if (unfit === undefined) known.checked += 1;
    else {
      withoutXla = unfit;
      fellBack(`steps run as a graph without XLA: ${unfit}`);
    }
    return metrics;
  };

  let steps = 0;
  const running = <B extends tree.Tree, M extends tree.Tree>(of: Step<Frozen, State, B, M>): Run<B, M> => {
    const name = steps++;
    let fallback: Run<B, M> | undefined;
    return (calls) => {
      loaded();
      const results: M[] = [];
      const eagerly = (): M[] => {
        if (instead === undefined) throw new Error('nothing failed');
        fallback ??= instead.runner.also(of);
        return [...results, ...fallback(calls.slice(results.length))];
      };
      try {
        while (results.length < calls.length) {
          if (instead !== undefined) return eagerly();
          const [call, ...rest] = calls.slice(results.length) as [Call<B>, ...Call<B>[]];
          const key = `${name}: ${formKey(call)}`;
          const known = compiled.get(key);
          if (known === undefined) {
            first(of, key, call);
            continue;
          }
          const others = rest.slice(0, pace.stride - 1);
          const alike =
            others.length === pace.stride - 1 && others.every((other) => `${name}: ${formKey(other)}` === key);
          if (known.ran && !known.lasts) assertLasting(of, known, call);
          const began = performance.now();
          try {
            results.push(...again<B, M>(known, alike ? [call, ...others] : [call]));
            known.ran = true;
          } catch (error) {
            if (known.ran) throw error;
            giveUp(`TensorFlow does not run the graph: ${firstLine(error)}`, takeOut());
            continue;
          }
          // The graph is opened again, with the longer calls in it.
          if (pace.took(name, performance.now() - began)) held = takeOut();
        }
        return results;
      } catch (error) {
        for (const metrics of results) tree.dispose(metrics);
        throw error;
      }
    };
  };

  return {
    load: (state) => {
      if (instead !== undefined) {
        template = state;
        instead.runner.load(state);
        return;
      }
      // Graphs are of the form of the state that they were traced with.
      if (template !== undefined && formKey(template) !== formKey(state)) {
        close();
        compiled.clear();
      }
      if (held !== undefined) tree.dispose(held);
      held = own(state);
      template = held;
    },
    run: running(step),
    also: running,
    read: () => {
      loaded();
      if (instead !== undefined) return instead.runner.read();
      return held === undefined ? readOut() : tree.clone(held);
    },
    get stride() {
      return pace.stride;
    },
    get execution() {
      if (instead !== undefined) return `eager: ${instead.reason}`;
      if (!xla) return 'graph';
      return withoutXla === undefined ? 'xla' : `graph: ${withoutXla}`;
    },
    dispose: () => {
      close();
      instead?.runner.dispose();
      if (held !== undefined) tree.dispose(held);
      held = undefined;
      template = undefined;
    },
  };
};

const variant = (program: Program, repeat: number, xla: boolean): Program => ({
  ...program,
  name: `${program.name}${repeat === 1 ? '' : `times${repeat}`}${xla ? 'xla' : ''}`,
  repeat,
  xla,
});

/** The failure of a step that depends on more than it is given. */
const notLasting = ({ what, trace }: Change): Failure =>
  failure('plugin', `its step is not the same from call to call: ${what}`, {
    trace,
    remedy:
      'A step is called once, and what it did then is run again and again: a counter, Date.now() or another value of JavaScript stays as it was. ' +
      'What changes must come in as a tensor: a number of steps from the state (a loss is given `step`, or `epoch` and `progress`), ' +
      'the rate as `learningRate`, and chance by `seed`, as in standardNormal(shape, seed) of undistill/ops.',
  });

/** The trees of a step, filled with tensors in their order. */
const filledStep =
  <Frozen extends tree.Tree, State extends tree.Tree, B extends tree.Tree, M extends tree.Tree>(
    step: Step<Frozen, State, B, M>,
    frozen: Frozen,
    state: State,
    { batch, inputs }: Call<B>,
  ) =>
  (copies: readonly tf.Tensor[]): Taken<State, M> => {
    let at = 0;
    const given = <T extends tree.Tree>(form: T): T => {
      const count = tree.leaves(form).length;
      at += count;
      return tree.filled(form, copies.slice(at - count, at));
    };
    const [f, s, b, i] = [given(frozen), given(state), given(batch), given(inputs)];
    return take(step, f, s, { batch: b, inputs: i });
  };

const leavesOf = <State extends tree.Tree, M extends tree.Tree>({ state, metrics }: Taken<State, M>) => [
  ...tree.leaves(state),
  ...tree.leaves(metrics),
];

/** Takes a step and notes it: variables are the leaves of `frozen`, then those of the state. */
const traced = <Frozen extends tree.Tree, State extends tree.Tree, B extends tree.Tree, M extends tree.Tree>(
  name: string,
  step: Step<Frozen, State, B, M>,
  frozen: Frozen,
  state: State,
  call: Call<B>,
): { readonly taken: Taken<State, M>; readonly program: Program; readonly forms: readonly Form[] } => {
  const parts = [frozen, state, call.batch, call.inputs].map((part) => tree.leaves(part));
  const [fixed = 0, moving = 0] = parts.map(({ length }) => length);
  const leaves = parts.flat();
  const { result, trace: noted } = trace(leaves, filledStep(step, frozen, state, call), leavesOf);
  const next = noted.outputs.slice(0, moving);
  const program: Program = {
    name,
    trace: noted,
    roles: leaves.map((_, i) => (i < fixed + moving ? { variable: i } : { feed: i - fixed - moving })),
    updates: next.flatMap((output, i) => (output.node === fixed + i ? [] : [{ variable: fixed + i, output }])),
    metrics: noted.outputs.slice(moving),
    repeat: 1,
    xla: false,
  };
  return { taken: result, program, forms: formsOf(noted).slice(0, fixed + moving) };
};
