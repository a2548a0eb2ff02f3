import * as tf from '@tensorflow/tfjs';

/** Tensors at the leaves of records and lists, to any depth. A step's state, frozen part, batch and metrics are trees. */
export type Tree = tf.Tensor | { readonly [name: string]: Tree } | readonly Tree[];

/** Every leaf with its path (`slots/momentum/conv1.weight`), records in key order, so that equal trees list alike. */
export const entries = (tree: Tree, path = ''): (readonly [string, tf.Tensor])[] => {
  if (tree instanceof tf.Tensor) return [[path, tree]];
  const names = Array.isArray(tree) ? tree.map((_, i) => String(i)) : Object.keys(tree).sort();
  return names.flatMap((name) =>
    entries((tree as Record<string, Tree>)[name] as Tree, path === '' ? name : `${path}/${name}`),
  );
};

export const leaves = (tree: Tree): tf.Tensor[] => entries(tree).map(([, leaf]) => leaf);

/** The same tree with every leaf replaced. */
export const map = <T extends Tree>(tree: T, f: (leaf: tf.Tensor, path: string) => tf.Tensor, path = ''): T => {
  if (tree instanceof tf.Tensor) return f(tree, path) as Tree as T;
  const at = (name: string | number) => (path === '' ? String(name) : `${path}/${name}`);
  if (Array.isArray(tree)) return tree.map((child: Tree, i) => map(child, f, at(i))) as unknown as T;
  return Object.fromEntries(
    Object.entries(tree as Record<string, Tree>).map(([name, child]) => [name, map(child, f, at(name))]),
  ) as unknown as T;
};

/** A copy whose tensors are disposed of independently of the original's. */
export const clone = <T extends Tree>(tree: T): T => map(tree, (leaf) => leaf.clone());

export const dispose = (tree: Tree): void => {
  for (const leaf of leaves(tree)) leaf.dispose();
};

/** Marks every leaf so that no enclosing `tf.tidy` disposes of it; whoever calls this owns the tree. */
export const keep = <T extends Tree>(tree: T): T => map(tree, (leaf) => tf.keep(leaf));

/** The tree of which these are the entries; records whose names count from 0 are lists. */
export const build = (of: readonly (readonly [string, tf.Tensor])[]): Tree => {
  const [first] = of;
  if (of.length === 1 && first?.[0] === '') return first[1];
  const parts = new Map<string, (readonly [string, tf.Tensor])[]>();
  for (const [path, leaf] of of) {
    const [name, ...rest] = path.split('/') as [string, ...string[]];
    parts.set(name, [...(parts.get(name) ?? []), [rest.join('/'), leaf]]);
  }
  const built = [...parts].map(([name, entriesOf]) => [name, build(entriesOf)] as const);
  const isList = built.length > 0 && built.every(([name]) => /^\d+$/.test(name));
  if (!isList) return Object.fromEntries(built);
  return [...built].sort(([a], [b]) => Number(a) - Number(b)).map(([, child]) => child);
};
