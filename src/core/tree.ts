import * as tf from '@tensorflow/tfjs';

/**
 * Tensors at the leaves of records and lists, to any depth. A step's state, frozen part, batch and metrics are trees.
 */
export type Tree = tf.Tensor | { readonly [name: string]: Tree } | readonly Tree[];

/** Whether something of a plugin's is a tree. A promise is none. */
export const isTree = (value: unknown): value is Tree =>
  value instanceof tf.Tensor ||
  (typeof value === 'object' && value !== null && !('then' in value) && Object.values(value).every(isTree));

/** Every leaf with its path (`slots/momentum/conv1.weight`), records in key order, so that equal trees list alike. */
export const entries = (tree: Tree, path = ''): (readonly [string, tf.Tensor])[] => {
  if (tree instanceof tf.Tensor) return [[path, tree]];
  const names = Array.isArray(tree) ? tree.map((_, i) => String(i)) : Object.keys(tree).sort();
  return names.flatMap((name) =>
    entries((tree as Record<string, Tree>)[name] as Tree, path === '' ? name : `${path}/${name}`),
  );
};

/** The leaves in the order of `entries`. */
export const leaves = (tree: Tree): tf.Tensor[] => addLeaves(tree, []);

// Trees are taken apart and filled in every step: no paths are written where only leaves are wanted.
const addLeaves = (tree: Tree, to: tf.Tensor[]): tf.Tensor[] => {
  if (tree instanceof tf.Tensor) to.push(tree);
  else if (Array.isArray(tree)) for (const child of tree) addLeaves(child, to);
  else for (const name of Object.keys(tree).sort()) addLeaves((tree as Record<string, Tree>)[name] as Tree, to);
  return to;
};

/** The same tree with every leaf replaced. */
export const map = <T extends Tree>(tree: T, f: (leaf: tf.Tensor, path: string) => tf.Tensor, path = ''): T => {
  if (tree instanceof tf.Tensor) return f(tree, path) as Tree as T;
  const at = (name: string | number) => (path === '' ? String(name) : `${path}/${name}`);
  if (Array.isArray(tree)) return tree.map((child: Tree, i) => map(child, f, at(i))) as unknown as T;
  return Object.fromEntries(
    Object.entries(tree as Record<string, Tree>).map(([name, child]) => [name, map(child, f, at(name))]),
  ) as unknown as T;
};

/** The tree with other leaves, in the order of its entries. */
export const filled = <T extends Tree>(form: T, values: readonly tf.Tensor[]): T => fill(form, values.values()) as T;

const fill = (form: Tree, next: Iterator<tf.Tensor>): Tree => {
  if (form instanceof tf.Tensor) return next.next().value as tf.Tensor;
  if (Array.isArray(form)) return form.map((child: Tree) => fill(child, next));
  const record = { ...form } as Record<string, Tree>;
  for (const name of Object.keys(record).sort()) record[name] = fill(record[name] as Tree, next);
  return record;
};

/** A copy whose tensors are disposed of independently of the original's. */
export const clone = <T extends Tree>(tree: T): T => map(tree, (leaf) => leaf.clone());

/** Frees every tensor of a tree. */
export const dispose = (tree: Tree): void => {
  for (const leaf of leaves(tree)) leaf.dispose();
};

/** Marks every leaf so that no enclosing `tf.tidy` disposes of it; whoever calls this owns the tree. */
export const keep = <T extends Tree>(tree: T): T => map(tree, (leaf) => tf.keep(leaf));

/** A tree without its numbers, as plain JSON: the type of each leaf, in the records and lists that it lies in. */
export type Outline = tf.DataType | { readonly [name: string]: Outline } | readonly Outline[];

export const outlineOf = (tree: Tree): Outline => {
  if (tree instanceof tf.Tensor) return tree.dtype;
  if (Array.isArray(tree)) return tree.map(outlineOf);
  return Object.fromEntries(Object.entries(tree).map(([name, child]) => [name, outlineOf(child)]));
};

/** The tree of an outline; `leafAt` gives each leaf. */
export const fromOutline = (
  outline: Outline,
  leafAt: (path: string, dtype: tf.DataType) => tf.Tensor,
  path = '',
): Tree => {
  if (typeof outline === 'string') return leafAt(path, outline);
  const at = (name: string | number) => (path === '' ? String(name) : `${path}/${name}`);
  if (Array.isArray(outline)) return outline.map((child: Outline, i) => fromOutline(child, leafAt, at(i)));
  return Object.fromEntries(
    Object.entries(outline).map(([name, child]) => [name, fromOutline(child, leafAt, at(name))]),
  );
};

/**
 * The numbers of a tensor of float32 that is computed for them alone. (A `tf.tidy` that is given an array back looks at each
 * of its elements for tensors.)
 */
export const floatsOf = (compute: () => tf.Tensor): Float32Array => {
  const tensor = tf.tidy(compute);
  try {
    // What is read of a tensor may be the engine's own.
    return tensor.dataSync().slice() as Float32Array;
  } finally {
    tensor.dispose();
  }
};
