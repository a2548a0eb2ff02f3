import { parseArgs } from 'node:util';
import { presentCode, readReleases, releasedAs, writeReleases } from '../src/experiment/numbers.js';

// Before a release: what code gives which numbers (see src/experiment/numbers.ts). What changed gives new ones, and stages that users
// have made with it go stale, unless `--same` says that all numbers are what they were. `--check` writes nothing, and fails where
// something is not in the table as it is.

const { values } = parseArgs({ options: { same: { type: 'boolean', default: false }, check: { type: 'boolean' } } });

const before = readReleases();
const after = releasedAs(await presentCode(), before, values.same);
const changed = Object.keys(after).filter((module) => after[module]?.code !== before[module]?.code);
const kept = changed.filter((module) => after[module]?.numbers === before[module]?.numbers);

console.log(
  `${Object.keys(after).length} modules, ${changed.length} changed, of which ${kept.length} give the same numbers as before`,
);
if (values.check) process.exitCode = changed.length === 0 ? 0 : 1;
else writeReleases(after);
