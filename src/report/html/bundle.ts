import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

type Script = 'page' | 'charts';

const made = new Map<Script, Promise<string>>();

/** One of the page's scripts with all that it imports, as small code that needs nothing else. */
export const bundled = (script: Script): Promise<string> => {
  const code = made.get(script) ?? bundle(script);
  made.set(script, code);
  return code;
};

const bundle = async (script: Script): Promise<string> => {
  const entry = new URL(`./browser/${script}${extname(import.meta.url)}`, import.meta.url);
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    charset: 'ascii',
    legalComments: 'none',
    // The scripts are what they are, whatever project they are bundled in.
    tsconfigRaw: {},
    logLevel: 'silent',
  });
  return (outputFiles[0] as { readonly text: string }).text;
};
