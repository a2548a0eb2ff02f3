// What `npm run build` does after the compiler: all that is the same each time the command line starts, once.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../', import.meta.url));
const dist = join(root, 'dist');

const { writeBundles } = await import(join(dist, 'report/html/bundle.js'));
writeBundles();
const { writeBuilt } = await import(join(dist, 'experiment/numbers.js'));
await writeBuilt();

// TensorFlow.js by names that are known (bin/tfjs.js says why), without the hooks that do so in a checkout. Last, since what a
// module's numbers depend on is hashed as it is written.
for (const path of readdirSync(dist, { recursive: true }).filter((path) => path.endsWith('.js'))) {
  const file = join(dist, path);
  const text = readFileSync(file, 'utf8');
  const asked = ts.preProcessFile(text).importedFiles.find(({ fileName }) => fileName === '@tensorflow/tfjs');
  if (asked === undefined) continue;
  const tfjs = relative(dirname(file), join(root, 'bin/tfjs.js'));
  const [before, after] = [text.slice(0, asked.pos), text.slice(asked.pos + "'@tensorflow/tfjs'".length)];
  writeFileSync(file, `${before}'${tfjs}'${after}`);
}
