import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

// `npm run tfjs` writes bin/tfjs.js, after another version of TensorFlow.js was installed. A test holds the two together.

const require = createRequire(import.meta.url);
const names = Object.keys(require('@tensorflow/tfjs')).filter((name) => name !== 'default' && name !== '__esModule');

writeFileSync(
  new URL('../bin/tfjs.js', import.meta.url),
  `// TensorFlow.js as a module, made by \`npm run tfjs\`: Node reads its megabytes once for their names and once to run them where
// they are imported, and takes twice as long as here, where the names are known.
import { createRequire } from 'node:module';

const tf = createRequire(import.meta.url)('@tensorflow/tfjs');
// What it warns of is for others: of Node without a binding, which is loaded where something is trained.
tf.enableProdMode();

export default tf;
export const {
${names.map((name) => `  ${name},`).join('\n')}
} = tf;
`,
);
