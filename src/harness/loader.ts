import { existsSync } from 'node:fs';
import * as module from 'node:module';
import { fileURLToPath } from 'node:url';
import { register } from 'tsx/esm/api';

/** The index beside this module: its source in a checkout, else what was built of it. */
const index = (): string => {
  const source = new URL('../index.ts', import.meta.url);
  return (existsSync(fileURLToPath(source)) ? source : new URL('../index.js', import.meta.url)).href;
};

let registered = false;

/** From here on TypeScript can be imported, and `undistill` in it is this package (see bin/hooks.js). */
export const registerLoader = async (): Promise<void> => {
  if (registered) return;
  registered = true;
  register();
  const hooks = new URL('../../bin/hooks.js', import.meta.url).href;
  const data = { index: index() };
  // Newer versions of Node run hooks in this thread, and are about to drop the other way.
  const { registerHooks } = module as unknown as { registerHooks?: (hooks: { resolve: unknown }) => void };
  if (registerHooks === undefined) {
    module.register(hooks, { data });
  } else {
    const { initialize, resolve } = await import(hooks);
    initialize(data);
    registerHooks({ resolve });
  }
};
