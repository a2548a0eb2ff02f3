#!/usr/bin/env node
// The command line. In a checkout it runs the sources, in an installed package what was built of them.
import { existsSync } from 'node:fs';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 6)) {
  console.error(`undistill needs Node 20.6 or newer, and this is Node ${process.versions.node}.`);
  process.exitCode = 2;
} else {
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const inCheckout = existsSync(source);
  if (inCheckout) (await import('tsx/esm/api')).register();
  const { main } = await import(inCheckout ? source.href : new URL('../dist/cli/main.js', import.meta.url).href);
  // Set and not exited with: what is still being written to a pipe must get there.
  process.exitCode = await main(process.argv.slice(2));
}
