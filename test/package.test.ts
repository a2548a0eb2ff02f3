import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const json = (path: string) => JSON.parse(readFileSync(at(path), 'utf8'));

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
}

const { name: own, version: current, dependencies, optionalDependencies, devDependencies } = json('package.json');

/** What whoever installs the package gets with it, by the path of its folder. */
const shipped = (Object.entries(json('package-lock.json').packages) as [string, Locked][]).filter(
  ([path, { dev }]) => path !== '' && dev !== true,
);

/** Licences that ask for no more than to be named, and for no code to be published. */
const permissive = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT', 'Unlicense'];

/** Looked at one by one. */
const others: readonly { readonly path: RegExp; readonly license: string }[] = [
  // Of changed files of its own alone the source must be given, and it is used as it comes.
  { path: /^node_modules\/@resvg\/resvg-js(-[\w-]+)?$/, license: 'MPL-2.0' },
  // Bitstream Vera's licence, which lets fonts be used and passed on freely.
  { path: /^node_modules\/dejavu-fonts-ttf$/, license: 'SEE LICENSE IN README.md AND LICENSE' },
];

interface Bill {
  readonly bomFormat: string;
  readonly metadata: { readonly component: { readonly purl: string } };
  readonly components: readonly { readonly purl: string; readonly properties?: readonly { readonly name: string }[] }[];
}

/** Whose folder a path is. */
const nameIn = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

const isFine = (path: string, license = 'none'): boolean =>
  license
    .replace(/[()]/g, '')
    .split(/ (?:AND|OR) /)
    .every((each) => permissive.includes(each)) ||
  others.some((other) => other.path.test(path) && other.license === license);

describe('what is shipped with the package', () => {
  it('is under licences that are known and permissive', () => {
    expect(shipped.length).toBeGreaterThan(100);
    expect(shipped.filter(([path, { license }]) => !isFine(path, license)).map(([path]) => path)).toEqual([]);
    for (const license of ['GPL-3.0-only', 'AGPL-3.0', 'MIT AND GPL-2.0', 'MPL-2.0', 'UNLICENSED', undefined])
      expect(isFine('node_modules/x', license)).toBe(false);
  });

  it('is, where it is installed, under the licence that the lock file names', () => {
    const installed = shipped.filter(([path]) => existsSync(at(`${path}/package.json`)));
    expect(installed.length).toBeGreaterThan(100);
    for (const [path, { license, version }] of installed)
      expect(json(`${path}/package.json`), path).toMatchObject({ version, license });
  });

  it('is known by its version and its checksum', () => {
    for (const [path, { integrity }] of shipped) expect(integrity, path).toMatch(/^sha512-/);
    const site: Readonly<Record<string, string>> = json('docs/package.json').devDependencies;
    for (const version of Object.values({ ...dependencies, ...optionalDependencies, ...devDependencies, ...site }))
      expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    // What is locked, and nothing newer.
    expect(readFileSync(at('.ci/run'), 'utf8')).toMatch(/^npm ci$/m);
  });

  it('is never packed or published without its build', () => {
    // Where npm runs no scripts, `npm pack` writes to the build's folder, and fails where there is none; what is private it
    // does not publish. `npm run release` builds first.
    expect(readFileSync(at('.npmrc'), 'utf8')).toMatch(/^pack-destination=dist$/m);
    expect(json('package.json').private).toBe(true);
    expect(readFileSync(at('.ci/release'), 'utf8')).toMatch(/^npm pack .*--ignore-scripts=false/m);
  });

  it.skipIf(process.env.UNDISTILL_INSTALLED === undefined)(
    'brings the scripts of its report, made when it was built',
    () => {
      for (const script of ['page', 'charts']) {
        const path = join(process.env.UNDISTILL_INSTALLED as string, `dist/report/html/browser/${script}.bundle.js`);
        expect(readFileSync(path, 'utf8').length, path).toBeGreaterThan(1000);
      }
    },
  );

  it('has all that its README and its pages link to', async () => {
    const packing = promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: at('.') });
    const [{ files }] = JSON.parse((await packing).stdout) as [
      { readonly files: readonly { readonly path: string }[] },
    ];
    const packed = new Set(files.flatMap(({ path }) => [path, dirname(path)]));
    const pages = [...packed].filter((path) => path === 'README.md' || /^docs\/.*\.md$/.test(path));
    const linked = pages.flatMap((page) =>
      [...readFileSync(at(page), 'utf8').matchAll(/\]\((?!\w+:)([\w/.-]+)/g)].map(([, path]) =>
        normalize(join(dirname(page), path as string)),
      ),
    );
    expect(linked.length).toBeGreaterThan(100);
    expect(linked.filter((path) => !packed.has(path))).toEqual([]);
  });

  it('has one version, in the manifest, the citation and the changelog', () => {
    expect(readFileSync(at('CITATION.cff'), 'utf8')).toContain(`\nversion: ${current}\n`);
    expect(readFileSync(at('CHANGELOG.md'), 'utf8')).toContain(`\n## ${current}\n`);
  });

  // npm can since its version 10.
  const npm = Number.parseInt(execFileSync('npm', ['--version'], { encoding: 'utf8' }), 10);
  it.skipIf(npm < 10)('is listed in a bill of materials, apart from what is for development alone', async () => {
    const listing = promisify(execFile)('npm', ['run', '--silent', 'sbom'], { cwd: at('.'), maxBuffer: 1e8 });
    const { bomFormat, metadata, components } = JSON.parse((await listing).stdout) as Bill;
    expect(bomFormat).toBe('CycloneDX');
    expect(metadata.component.purl).toMatch(new RegExp(`^pkg:npm/${own}@`));
    const listed = components
      .filter(({ properties = [] }) => !properties.some(({ name }) => name === 'cdx:npm:package:development'))
      .map(({ purl }) => purl);
    const needed = shipped.map(([path, { version }]) => `pkg:npm/${nameIn(path).replace('@', '%40')}@${version}`);
    expect([...new Set(listed)].sort()).toEqual([...new Set(needed)].sort());
  });
});

it('gives TensorFlow.js under the names that it has', async () => {
  const [ours, theirs] = await Promise.all([import(at('bin/tfjs.js')), import('@tensorflow/tfjs')]);
  const names = Object.keys(theirs).filter((name) => name !== 'default' && name !== 'module.exports');
  expect(
    Object.keys(ours)
      .filter((name) => name !== 'default')
      .sort(),
    'npm run tfjs',
  ).toEqual(names.sort());
  expect(ours.tensor).toBe(theirs.tensor);
});
