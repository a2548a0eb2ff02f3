import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The source of our own operations, which this package brings along: its folder lies beside that of this module's. */
const folder = fileURLToPath(new URL('../../../native', import.meta.url));

const files = (): readonly string[] => readdirSync(folder).sort();

/** What is compiled: paths. */
export const ownSources = (): readonly string[] =>
  files()
    .filter((name) => name.endsWith('.cc'))
    .map((name) => join(folder, name));

let known: string | undefined;

/** Eight hexadecimal digits that change with the source: engines are known by them, and so are the numbers they give. */
export const ownHash = (): string => {
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for (const name of files()) hash.update(`${name}\n`).update(readFileSync(join(folder, name)));
  known = hash.digest('hex').slice(0, 8);
  return known;
};
