import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** A block of TypeScript in a page, and the file that it is shown as. */
export interface Block {
  readonly file: string;
  readonly text: string;
}

/** A page's blocks that are opened by ```ts file=NAME. */
export const blocksOf = (page: string): readonly Block[] => {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/^```ts(?: file=(\S+))?\n(.*?)^```$/gms)].map(([, file, text = '']) => {
    if (file === undefined) throw new Error(`${page}: a block says no file: open it by \`\`\`ts file=NAME`);
    return { file, text };
  });
};

/** What the compiler says of a page's blocks, as a user's files that import `undistill` and its modules. */
export const complaints = (blocks: readonly Block[]): readonly string[] => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  // The blocks lie in a folder that is not there.
  const folder = join(root, 'page');
  const texts = new Map(blocks.map(({ file, text }) => [join(folder, file), text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, directoryExists = () => true } = host;
  const virtual: ts.CompilerHost = {
    ...host,
    fileExists: (path) => texts.has(resolve(path)) || fileExists(path),
    readFile: (path) => texts.get(resolve(path)) ?? readFile(path),
    directoryExists: (path) =>
      [...texts.keys()].some((each) => dirname(each).startsWith(resolve(path))) || directoryExists(path),
    getSourceFile: (path, version) => {
      const text = texts.get(resolve(path));
      return text === undefined ? host.getSourceFile(path, version) : ts.createSourceFile(path, text, version);
    },
  };
  const program = ts.createProgram([...texts.keys()], options, virtual);
  return [...texts.keys()].flatMap((path) => {
    const source = program.getSourceFile(path);
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ messageText, start = 0 }) => {
        const line = source === undefined ? 0 : source.getLineAndCharacterOfPosition(start).line + 1;
        return `${path.slice(folder.length + 1)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
      },
    );
  });
};
