// Part of the build: what was built imports TensorFlow.js from bin/tfjs.js, which says why. In a checkout the loader sees to it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const modules = readdirSync(join(root, 'dist'), { recursive: true }).filter((name) => name.endsWith('.js'));
for (const path of modules.map((name) => join(root, 'dist', name))) {
  const text = readFileSync(path, 'utf8');
  const tfjs = relative(dirname(path), join(root, 'bin', 'tfjs.js')).replaceAll('\\', '/');
  const mended = text.replaceAll("from '@tensorflow/tfjs';", `from '${tfjs}';`);
  if (mended !== text) writeFileSync(path, mended);
}
