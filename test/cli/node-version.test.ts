import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';

const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
const oldest = engines.node.replace('>=', '');

/** `undistill --version` under a Node that calls itself `node`. */
const underNode = (node: string): Promise<{ readonly code: number; readonly out: string; readonly err: string }> => {
  const source = `Object.defineProperty(process.versions, 'node', { value: '${node}' });
    process.argv.push('undistill', '--version');
    await import(${JSON.stringify(pathToFileURL(resolve('bin/undistill.js')).href)});`;
  return new Promise((done) =>
    execFile(process.execPath, ['--input-type=module', '-e', source], (error, out, err) =>
      done({ code: Number(error?.code ?? 0), out, err }),
    ),
  );
};

describe('the oldest Node', () => {
  it.each(['18.20.0', '20.5.9'])('%s is refused in a sentence', async (node) => {
    expect(await underNode(node)).toEqual({
      code: 2,
      out: '',
      err: `undistill needs Node ${oldest} or newer, and this is Node ${node}.\n`,
    });
  });

  it.each([`${oldest}.0`, '20.10.0', '22.1.0'])('%s is taken', async (node) => {
    expect(await underNode(node)).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });

  it.each(['README.md', 'CONTRIBUTING.md'])('is the one that %s names', (file) => {
    expect(readFileSync(file, 'utf8')).toContain(`Node ${oldest} or newer`);
  });
});
