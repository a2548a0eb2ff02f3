// How the files of a user are imported. Plain JavaScript, because Node 20 loads it in a thread of its own.
//
// - `undistill` and its modules (`undistill/train`) are this very package, and TensorFlow is the one it uses, wherever the file lies and whatever is installed
//   near it: a second copy would know nothing of the engine that the first one loaded.
// - A TypeScript file is an ES module also where the nearest package.json does not say so: required as CommonJS it would
//   get that second copy.

const self = new URL('../', import.meta.url).href;
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
  const ours = specifier.startsWith('@tensorflow/') && isForeign(context.parentURL);
  const resolved = next(modules[specifier] ?? specifier, ours ? { ...context, parentURL: self } : context);
  return resolved instanceof Promise ? resolved.then(asModule) : asModule(resolved);
};
