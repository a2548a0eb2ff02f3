#!/usr/bin/env node
// The command line. In a checkout it runs the sources, in an installed package what was built of them.
import { readFileSync } from 'node:fs';

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const oldest = engines.node.replace('>=', '');
const [[major, minor], [oldestMajor, oldestMinor]] = [process.versions.node, oldest].map((version) =>
  version.split('.').map(Number),
);

if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
  console.error(`undistill needs Node ${oldest} or newer, and this is Node ${process.versions.node}.`);
  process.exitCode = 2;
} else {
  // Imported here, since an old version of Node could not even read it.
  const { inCheckout, moduleUrl, registerLoader } = await import('./loader.js');
  // What was built needs none of it: there it comes with a user's file (harness/session.ts).
  if (inCheckout) await registerLoader();
  const { main } = await import(moduleUrl('cli/main'));
  // Set and not exited with: what is still being written to a pipe must get there.
  process.exitCode = await main(process.argv.slice(2));
}
