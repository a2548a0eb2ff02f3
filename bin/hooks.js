// How the files of a user are imported. Plain JavaScript, because Node 20 loads it in a thread of its own.
//
// - `undistill` is this very package, wherever the file lies and whatever is installed near it: a second copy would have
//   a TensorFlow of its own.
// - A TypeScript file is an ES module also where the nearest package.json does not say so: required as CommonJS it would
//   get that second copy.

const self = new URL('../', import.meta.url).href;
let index = '';

/** @param {{ index: string }} data URL of the package's index */
export const initialize = (data) => {
  index = data.index;
};

const asModule = (resolved) =>
  /^file:.*\.tsx?$/.test(resolved.url) && !resolved.url.includes('/node_modules/') && !resolved.url.startsWith(self)
    ? { ...resolved, format: 'module' }
    : resolved;

export const resolve = (specifier, context, next) => {
  const resolved = next(specifier === 'undistill' ? index : specifier, context);
  return resolved instanceof Promise ? resolved.then(asModule) : asModule(resolved);
};
