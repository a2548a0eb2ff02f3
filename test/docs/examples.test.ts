import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { project, register } from '../cli/project.js';
import { type Block, complaints, root } from './blocks.js';

/** The examples in the docstrings of the sources, each a module. */
const examples: readonly Block[] = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .flatMap((name) =>
    [...readFileSync(join(root, 'src', name), 'utf8').matchAll(/@example\n \* ```ts\n(.*?) \* ```/gs)].map(
      ([, text = ''], i) => ({
        file: `${name.replaceAll('/', '-').replace('.ts', '')}-${i}.ts`,
        text: text.replace(/^ \* ?/gm, ''),
      }),
    ),
  );

/** What an example says that it prints: what follows `console.log(…); // `. */
const promised = ({ text }: Block): readonly string[] =>
  [...text.matchAll(/^console\.log\(.*\); \/\/ (.*)$/gm)].map(([, said = '']) => said);

it('every example of the API compiles, and prints what it says', async () => {
  expect(examples.length).toBeGreaterThan(5);
  expect(complaints(examples)).toEqual([]);
  const at = project();
  try {
    for (const { file, text } of examples) await at.write(file, text);
    const runs = examples.map(({ file }) => `console.log('# ${file}');\nawait import('./${file}');`);
    await at.write('all.ts', `await import('undistill');\n${runs.join('\n')}\n`);
    const { code, out, err } = await at.node(['--import', register, 'all.ts']);
    expect(code, err).toBe(0);
    const printed = out.slice(out.indexOf('# ')).trimEnd().split('\n');
    expect(printed).toEqual(examples.flatMap((example) => [`# ${example.file}`, ...promised(example)]));
  } finally {
    at.remove();
  }
});
