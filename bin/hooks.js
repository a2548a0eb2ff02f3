// How the files of a user are imported. Plain JavaScript, because Node 20 loads it in a thread of its own.
//
// - `undistill` and its modules (`undistill/train`) are this very package, and TensorFlow is the one it uses, wherever the file lies and whatever is installed
//   near it: a second copy would know nothing of the engine that the first one loaded.
// - A TypeScript file is an ES module also where the nearest package.json does not say so: required as CommonJS it would
//   get that second copy.
// - What was built of this package is as it is to be run: it is read as it lies there, and tsx does not look at it.

import { readFileSync } from 'node:fs';

const self = new URL('../', import.meta.url).href;
const built = `${self}dist/`;
let modules = {};

/** @param {{ modules: Record<string, string> }} data URLs of the package's modules, by what they are imported as */
export const initialize = (data) => {
  modules = data.modules;
};

/** Whether a module is the user's: neither this package's nor a dependency's. */
const isForeign = (url) => url !== undefined && !url.startsWith(self) && !url.includes('/node_modules/');

const asModule = (resolved) =>
  /^file:.*\.tsx?$/.test(resolved.url) && isForeign(resolved.url) ? { ...resolved, format: 'module' } : resolved;

export const resolve = (specifier, context, next) => {
  if (context.parentURL?.startsWith(built) && /^\.\.?\/.*\.js$/.test(specifier))
    return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true };
  const ours = specifier.startsWith('@tensorflow/') && isForeign(context.parentURL);
  // Newer versions of Node ask here about what is required, too: TensorFlow.js itself by bin/tfjs.js and by its binding.
  const replaced = context.conditions?.includes('require') ? undefined : modules[specifier];
  const resolved = next(replaced ?? specifier, ours ? { ...context, parentURL: self } : context);
  return resolved instanceof Promise ? resolved.then(asModule) : asModule(resolved);
};

export const load = (url, context, next) =>
  url.startsWith(built) && url.endsWith('.js')
    ? { format: 'module', source: readFileSync(new URL(url)), shortCircuit: true }
    : next(url, context);
