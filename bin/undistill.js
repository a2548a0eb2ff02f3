#!/usr/bin/env node
// The command line. In a checkout it runs the sources, in an installed package what was built of them.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 6)) {
  console.error(`undistill needs Node 20.6 or newer, and this is Node ${process.versions.node}.`);
  process.exitCode = 2;
} else {
  // Imported here, since an old version of Node could not even read it.
  const { moduleUrl, registerLoader } = await import('./loader.js');
  await registerLoader();
  const { main } = await import(moduleUrl('cli/main'));
  // Set and not exited with: what is still being written to a pipe must get there.
  process.exitCode = await main(process.argv.slice(2));
}
