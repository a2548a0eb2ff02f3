import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Refusal, refusal } from '../core/errors.js';
import { makeFolder } from '../core/files.js';
import { metrics, otherColumns } from '../metrics/metric.js';
import { guarded } from '../run/disk.js';
import type { NewKind, PluginKind } from './choices.js';
import { projectFiles } from './project-template.js';
import { type Naming, templates } from './templates.js';
import { type Terminal, terminal } from './terminal.js';

/** Words that no value can be called by, as far as they look like a name. */
const reserved = new Set(
  'await break case catch class const continue debugger default delete do else enum export extends false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield'.split(
    ' ',
  ),
);

const refuse: Refusal = refusal('usage');

/**
 * `my-attack` and `myAttack` are both a file of that name and a value `myAttack`.
 *
 * @param taken what undistill exports
 * @param numbers the numbers of its tables, where the value is to be one of them
 */
export const naming = (name: string, taken: ReadonlySet<string>, numbers: ReadonlySet<string> = new Set()): Naming => {
  const kebab = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
  const camel = /^[a-z][A-Za-z0-9]*$/;
  if (!kebab.test(name) && !camel.test(name)) {
    refuse('that is no name for a plugin', name, 'Write it like my-attack or myAttack.');
  }
  const value = name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (reserved.has(value)) refuse('that is a word of the language', name, 'Choose another name.');
  if (taken.has(value)) refuse('undistill exports something of that name itself', name, 'Choose another name.');
  if (numbers.has(value)) refuse('a number of that name is in the tables already', name, 'Choose another name.');
  return { value, file: name };
};

/** The nearest package.json of a folder and those above it that says something; undefined where none does. */
const nearest = async <Said>(
  folder: string,
  said: (manifest: Manifest, folder: string) => Said | undefined,
): Promise<Said | undefined> => {
  const found = await readFile(join(folder, 'package.json'), 'utf8').then(
    (text) => said(JSON.parse(text), folder),
    () => undefined,
  );
  return found ?? (dirname(folder) === folder ? undefined : nearest(dirname(folder), said));
};

interface Manifest {
  readonly type?: string;
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** New files lie below the folder in which the command is typed. */
const inAnother = 'go to another folder';

/** A file that is not there yet. */
const writeNew = (path: string, text: string): Promise<void> =>
  guarded(
    path,
    () =>
      writeFile(path, text, { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        refuse('there is such a file already', path, 'Choose another name, or move that file away.');
      }),
    inAnother,
  );

/** Makes the folder of a new file. */
const newFolder = (path: string): Promise<void> => guarded(path, () => makeFolder(path), inAnother);

const newPlugin = async (kind: PluginKind, name: string, out: Terminal): Promise<void> => {
  const numbers = kind === 'metric' ? [...metrics.map((metric) => metric.name), ...otherColumns] : [];
  const named = naming(name, new Set(Object.keys(await import('../index.js'))), new Set(numbers));
  const { folder, plugin, test, use } = templates[kind];
  const files = [
    [join(folder, `${named.file}.ts`), plugin(named)],
    [join(folder, `${named.file}.test.ts`), test(named)],
  ] as const;
  await newFolder(folder);
  for (const [path, text] of files) {
    await writeNew(path, text);
    out.log(`wrote ${path}`);
  }
  out.log(`\nIn an experiment file beside the folder ${folder}:`);
  out.log(`  import { ${named.value} } from './${folder}/${named.file}.js';`);
  out.log(`  ${use(named.value)}`);
  out.log(`\nIts test:\n  node --import undistill/register --test ${files[1][0]}`);
  // Else TypeScript does not take files here for ES modules.
  if ((await nearest(resolve('.'), ({ type = 'commonjs' }) => type)) !== 'module') {
    out.log('\nIt works as it is. For an editor to agree, package.json should have "type": "module".');
  }
};

/** What a project names to depend on this very package: a checkout, what the packages here name, or its version. */
const ownSpec = async (own: string, { version = '' }: Manifest): Promise<string> => {
  if (existsSync(join(own, 'src', 'index.ts'))) return `file:${own}`;
  const named = ({ dependencies, devDependencies }: Manifest, folder: string): string | undefined => {
    const spec = dependencies?.undistill ?? devDependencies?.undistill;
    return spec?.startsWith('file:') ? `file:${resolve(folder, spec.slice('file:'.length))}` : spec;
  };
  // The packages here, or those that npx put this one among.
  return (await nearest(resolve('.'), named)) ?? (await nearest(dirname(own), named)) ?? version;
};

const newProject = async (name: string, out: Terminal): Promise<void> => {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name))
    refuse('that is no name for a project', name, 'Write it like my-project.');
  if (existsSync(name)) refuse('there is such a folder already', name, 'Choose another name, or move it away.');
  const own = resolve(fileURLToPath(new URL('../../', import.meta.url)));
  const manifest: Manifest = JSON.parse(await readFile(join(own, 'package.json'), 'utf8'));
  const { dependencies = {}, devDependencies = {} } = manifest;
  const files = projectFiles({
    name,
    packages: {
      undistill: await ownSpec(own, manifest),
      '@tensorflow/tfjs': dependencies['@tensorflow/tfjs'] as string,
      '@types/node': devDependencies['@types/node'] as string,
      typescript: devDependencies.typescript as string,
    },
  });
  for (const [path, text] of files) {
    const at = join(name, path);
    await newFolder(dirname(at));
    await writeNew(at, text);
    out.log(`wrote ${at}`);
  }
  out.log(`\n  cd ${name}\n  npm install\n  npm test\n  npm start`);
};

export const newCommand = async (kind: NewKind, name: string, out: Terminal = terminal()): Promise<number> => {
  await (kind === 'project' ? newProject(name, out) : newPlugin(kind, name, out));
  return 0;
};
