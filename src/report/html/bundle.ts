import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const scripts = ['page', 'charts'] as const;
type Script = (typeof scripts)[number];

const made = new Map<Script, string>();

/** One of the page's scripts with all that it imports, as small code that needs nothing else. */
export const bundled = (script: Script): string => {
  const code = made.get(script) ?? (existsSync(built(script)) ? readFileSync(built(script), 'utf8') : bundle(script));
  made.set(script, code);
  return code;
};

/** Bundles them once for all, where this package is built. */
export const writeBundles = (): void => {
  for (const script of scripts) writeFileSync(built(script), bundle(script));
};

/** Where the build leaves a script. In a checkout there is none. */
const built = (script: Script): URL => new URL(`./browser/${script}.bundle.js`, import.meta.url);

// In a process of its own that ends at once: esbuild's service would be ended by the Ctrl-C that ends a run, whose report
// is yet to be written.
const bundle = (script: Script): string => {
  const entry = new URL(`./browser/${script}${extname(import.meta.url)}`, import.meta.url);
  const { outputFiles } = buildSync({
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
