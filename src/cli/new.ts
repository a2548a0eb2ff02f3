import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Refusal, refusal } from '../core/errors.js';
import { makeFolder } from '../core/files.js';
import { guarded } from '../run/store.js';
import type { PluginKind } from './choices.js';
import { type Naming, templates } from './templates.js';
import { type Terminal, terminal } from './terminal.js';

/** Words that no value can be called by, as far as they look like a name. */
const reserved = new Set(
  'await break case catch class const continue debugger default delete do else enum export extends false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield'.split(
    ' ',
  ),
);

const refuse: Refusal = refusal('usage');

/** `my-attack` and `myAttack` are both a file of that name and a value `myAttack`. */
export const naming = (name: string, taken: ReadonlySet<string>): Naming => {
  const kebab = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
  const camel = /^[a-z][A-Za-z0-9]*$/;
  if (!kebab.test(name) && !camel.test(name)) {
    refuse('that is no name for a plugin', name, 'Write it like my-attack or myAttack.');
  }
  const value = name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (reserved.has(value)) refuse('that is a word of the language', name, 'Choose another name.');
  if (taken.has(value)) refuse('undistill exports something of that name itself', name, 'Choose another name.');
  return { value, file: name };
};

/** Whether TypeScript takes files in a folder for ES modules: the nearest package.json says so. */
const holdsModules = async (folder: string): Promise<boolean> => {
  const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => undefined);
  if (text !== undefined) return /"type"\s*:\s*"module"/.test(text);
  return dirname(folder) !== folder && holdsModules(dirname(folder));
};

export const newCommand = async (kind: PluginKind, name: string, out: Terminal = terminal()): Promise<number> => {
  const named = naming(name, new Set(Object.keys(await import('../index.js'))));
  const { folder, plugin, test, use } = templates[kind];
  const files = [
    [join(folder, `${named.file}.ts`), plugin(named)],
    [join(folder, `${named.file}.test.ts`), test(named)],
  ] as const;
  await guarded(folder, () => makeFolder(folder));
  for (const [path, text] of files) {
    await guarded(path, () =>
      writeFile(path, text, { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        refuse('there is such a file already', path, 'Choose another name, or move that file away.');
      }),
    );
    out.log(`wrote ${path}`);
  }
  out.log(`\nIn an experiment file beside the folder ${folder}:`);
  out.log(`  import { ${named.value} } from './${folder}/${named.file}.js';`);
  out.log(`  ${use(named.value)}`);
  out.log(`\nIts test:\n  node --import undistill/register --test ${files[1][0]}`);
  if (!(await holdsModules(resolve('.')))) {
    out.log('\nIt works as it is. For an editor to agree, package.json should have "type": "module".');
  }
  return 0;
};
