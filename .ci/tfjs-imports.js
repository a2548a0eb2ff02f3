// Part of the build: what was built imports TensorFlow.js from bin/tfjs.js, which says why. In a checkout the loader sees to it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../', import.meta.url));
const modules = readdirSync(join(root, 'dist'), { recursive: true }).filter((name) => name.endsWith('.js'));
for (const path of modules.map((name) => join(root, 'dist', name))) {
  const text = readFileSync(path, 'utf8');
  // Its own imports, and not those in texts that it writes.
  const own = ts.preProcessFile(text).importedFiles.find(({ fileName }) => fileName === '@tensorflow/tfjs');
  if (own === undefined) continue;
  const tfjs = relative(dirname(path), join(root, 'bin', 'tfjs.js')).replaceAll('\\', '/');
  // Where the name is quoted begins; it says where it ends without the quotes.
  const [before, after] = [text.slice(0, own.pos), text.slice(own.pos + own.fileName.length + 2)];
  writeFileSync(path, `${before}${JSON.stringify(tfjs)}${after}`);
}
