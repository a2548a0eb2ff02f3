// TypeScript, and `undistill` in a user's files as this very package. Plain JavaScript, since it comes before the rest.
import { existsSync } from 'node:fs';
import * as module from 'node:module';

/** Whether this is a checkout, with sources that nothing was built of yet. */
export const inCheckout = existsSync(new URL('../src/index.ts', import.meta.url));

/** The URL of one of this package's modules, as `cli/main`. */
export const moduleUrl = (name) =>
  new URL(inCheckout ? `../src/${name}.ts` : `../dist/${name}.js`, import.meta.url).href;

// What esbuild is asked for in this thread it does in a process that ends at once, and not in one that a Ctrl-C ends before the
// report is written. It reads this where it is imported.
process.env.ESBUILD_WORKER_THREADS = '0';

let registered = false;

/** From here on TypeScript can be imported; see hooks.js for the rest. */
export const registerLoader = async () => {
  if (registered) return;
  registered = true;
  // tsx's cache is a folder that anybody on the machine could have made before, with code of theirs in it. The thread of the hooks
  // copies the environment when it starts.
  process.env.TSX_DISABLE_CACHE = '1';
  const hooks = new URL('./hooks.js', import.meta.url).href;
  const parts = ['plugin', 'train', 'synthesis', 'ops'].map((name) => [
    `undistill/${name}`,
    moduleUrl(`public/${name}`),
  ]);
  const tfjs = new URL('./tfjs.js', import.meta.url).href;
  const data = { modules: { undistill: moduleUrl('index'), '@tensorflow/tfjs': tfjs, ...Object.fromEntries(parts) } };
  // The hooks registered last run first, and tsx must find out from ours what is a module.
  // Newer versions of Node run hooks in this thread, and are about to drop the other way.
  if (module.registerHooks === undefined) {
    module.register(hooks, { data });
  } else {
    const { initialize, load, resolve } = await import(hooks);
    initialize(data);
    module.registerHooks({ load, resolve });
  }
  const { register: registerTsx } = await import('tsx/esm/api');
  registerTsx();
};
