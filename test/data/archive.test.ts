import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { openSource, safePath } from '../../src/data/archive.js';
import { failureOf, gzip, type TarEntry, tarOf, tarOfFiles, temporaryFolder, writeFiles } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const fileWith = async (bytes: Uint8Array): Promise<string> => {
  const name = `file${made++}`;
  await writeFiles(root, { [name]: bytes });
  return join(root, name);
};

const listAndRead = async (path: string) => {
  const source = await openSource(path);
  const entries = await source.list();
  const files = new Map<string, string>();
  const wanted = new Set(entries.filter(({ kind }) => kind === 'file').map((entry) => entry.path));
  for await (const file of source.read(wanted)) files.set(file.path, Buffer.from(file.bytes).toString());
  return { entries, files };
};

const FILES = {
  'a/one.txt': 'one',
  'a/b/two.txt': 'two',
  'three.txt': '',
  'big.txt': 'x'.repeat(100_000),
  'empty/': '',
};

describe('a folder, a tar and a tar.gz', () => {
  it('are the same to a reader', async () => {
    const folder = await writeFiles(join(root, 'folder'), FILES);
    const tar = await tarOfFiles(FILES);
    for (const path of [folder, await fileWith(tar), await fileWith(gzip(tar))]) {
      const { entries, files } = await listAndRead(path);
      expect(new Map([...files].sort())).toEqual(
        new Map([
          ['a/b/two.txt', 'two'],
          ['a/one.txt', 'one'],
          ['big.txt', 'x'.repeat(100_000)],
          ['three.txt', ''],
        ]),
      );
      expect(entries).toContainEqual(expect.objectContaining({ path: 'empty', kind: 'folder', size: 0 }));
      expect(entries).toContainEqual(expect.objectContaining({ path: 'big.txt', kind: 'file', size: 100_000 }));
    }
  });

  it('read only what is wanted', async () => {
    const source = await openSource(await fileWith(await tarOfFiles(FILES)));
    const names: string[] = [];
    for await (const { path } of source.read(new Set(['a/one.txt']))) names.push(path);
    expect(names).toEqual(['a/one.txt']);
    expect(
      (
        await failureOf(async () => {
          for await (const _ of source.read(new Set(['other']))) expect.fail();
        })
      ).what,
    ).toBe('the archive changed while it was read');
  });

  it('may be left before the end', async () => {
    const source = await openSource(await fileWith(gzip(await tarOfFiles(FILES))));
    for await (const _ of source.read(new Set(Object.keys(FILES).filter((name) => !name.endsWith('/'))))) break;
  });

  it('leave out names that begin with a dot', async () => {
    const files = { '.hidden': 'x', 'a/._one': 'x', '.git/config': 'x', './b/two': 'two' };
    const folder = await writeFiles(join(root, 'dots'), files);
    for (const path of [folder, await fileWith(await tarOfFiles(files))]) {
      expect([...(await listAndRead(path)).files]).toEqual([['b/two', 'two']]);
    }
  });

  it('have a stamp that changes with a file', async () => {
    const folder = await writeFiles(join(root, 'stamped'), FILES);
    const before = (await openSource(folder)).stamp;
    expect((await openSource(folder)).stamp).toBe(before);
    await utimes(join(folder, 'a/one.txt'), 1, 1);
    expect((await openSource(folder)).stamp).not.toBe(before);
  });
});

describe('a folder', () => {
  it('may have links, but not in circles', async () => {
    const folder = await writeFiles(join(root, 'links'), { 'a/one.txt': 'one' });
    symlinkSync(join(folder, 'a'), join(folder, 'b'));
    expect([...(await listAndRead(folder)).files.keys()].sort()).toEqual(['a/one.txt', 'b/one.txt']);
    symlinkSync(folder, join(folder, 'a/again'));
    const failure = await failureOf(() => openSource(folder));
    expect(failure.kind).toBe('data');
    expect(failure.what).toContain('folders are more than 12 deep');
  });

  it('may not have broken links', async () => {
    const folder = join(root, 'broken');
    mkdirSync(folder);
    symlinkSync('nowhere', join(folder, 'a.jpg'));
    expect(await failureOf(() => openSource(folder))).toMatchObject({
      what: 'there is no such file or folder',
      where: join(folder, 'a.jpg'),
    });
  });

  it('must exist', async () => {
    expect(await failureOf(() => openSource(join(root, 'none')))).toMatchObject({
      kind: 'data',
      what: 'there is no such file or folder',
      where: join(root, 'none'),
    });
  });

  it('tells of a file that went away', async () => {
    const folder = join(root, 'gone');
    await mkdir(folder);
    writeFileSync(join(folder, 'a'), 'a');
    const source = await openSource(folder);
    const failure = await failureOf(async () => {
      for await (const _ of source.read(new Set(['b']))) expect.fail();
    });
    expect(failure).toMatchObject({ what: 'there is no such file or folder', where: join(folder, 'b') });
  });
});

describe('an archive', () => {
  const refused: readonly (readonly [string, TarEntry, string])[] = [
    ['..', { name: '../evil', content: 'x' }, 'the archive has a path that leads out of it: ../evil'],
    ['.. inside', { name: 'a/../../evil', content: 'x' }, 'the archive has a path that leads out of it: a/../../evil'],
    ['an absolute path', { name: '/etc/passwd', content: 'x' }, 'the archive has an absolute path: /etc/passwd'],
    ['a drive', { name: 'C:\\evil', content: 'x' }, 'the archive has an absolute path: C:\\evil'],
    [
      'a symbolic link',
      { name: 'a', type: 'symlink', linkname: '/etc/passwd' },
      'the archive has an entry that is neither a file nor a folder (symlink): a',
    ],
    [
      'a hard link',
      { name: 'a', type: 'link', linkname: 'b' },
      'the archive has an entry that is neither a file nor a folder (link): a',
    ],
    [
      'a device',
      { name: 'a', type: 'character-device' },
      'the archive has an entry that is neither a file nor a folder (character-device): a',
    ],
    ['a pipe', { name: 'a', type: 'fifo' }, 'the archive has an entry that is neither a file nor a folder (fifo): a'],
  ];
  it.each(refused)('with %s is refused', async (_, entry, what) => {
    const path = await fileWith(
      await tarOf([{ name: 'good', content: 'good' }, entry, { name: 'after', content: 'x' }]),
    );
    const failure = await failureOf(() => listAndRead(path));
    expect(failure).toMatchObject({ kind: 'data', what, where: path });
    expect(failure.remedy).toBeTruthy();
  });

  it('with one file twice is refused', async () => {
    const path = await fileWith(
      await tarOf([
        { name: 'a', content: '1' },
        { name: './a', content: '2' },
      ]),
    );
    expect((await failureOf(() => listAndRead(path))).what).toBe('the archive has a twice');
  });

  it('that is truncated is refused, wherever it is cut', async () => {
    const tar = await tarOfFiles({ 'a/one': 'one', 'a/two': 'y'.repeat(600) });
    const gzipped = gzip(tar);
    for (let length = 1; length < tar.length - 1024; length += 37) {
      const failure = await failureOf(async () => listAndRead(await fileWith(tar.subarray(0, length))));
      expect(failure.what).toBe('the tar archive is truncated');
    }
    expect((await failureOf(async () => listAndRead(await fileWith(tar.subarray(0, 1024))))).what).toBe(
      'the tar archive is truncated',
    );
    for (let length = 2; length < gzipped.length; length += 7) {
      const failure = await failureOf(async () => listAndRead(await fileWith(gzipped.subarray(0, length))));
      expect(failure.what).toBe('the gzip file is truncated');
    }
  });

  it('that is something else is refused, with what to do', async () => {
    const tell = async (bytes: Uint8Array) => failureOf(async () => listAndRead(await fileWith(bytes)));
    expect((await tell(Buffer.alloc(0))).what).toBe('the file is empty');
    expect((await tell(gzip(Buffer.alloc(0)))).what).toBe('the archive is empty');
    expect(await tell(Buffer.from('BZh91AY'))).toMatchObject({
      what: 'it is compressed with bzip2',
      remedy: 'Unpack it and give the folder, or pack it as tar.gz.',
    });
    expect((await tell(Buffer.concat([Buffer.from('text '.repeat(300)), Buffer.alloc(1024)]))).what).toMatch(
      /^it is not a tar archive, or a damaged one/,
    );
  });

  it('is read or refused whatever its bytes are', async () => {
    const whole = await tarOfFiles({ 'a/one': 'one', 'b/': '', 'c/two': 'y'.repeat(700) });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 2048 }),
      fc
        .array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
        .map((changes) => changes.reduce((copy, [at, value]) => copy.fill(value, at, at + 1), Buffer.from(whole))),
      fc.nat(whole.length).map((length) => whole.subarray(0, length)),
      // A valid checksum with any size, type and name: the header's own fields are tried too.
      fc.tuple(fc.nat(511), fc.nat(255)).map(([at, value]) => {
        const copy = Buffer.from(whole);
        copy[at] = value;
        copy.fill(' ', 148, 156);
        const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
        copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
        return copy;
      }),
    );
    const path = await fileWith(whole);
    await fc.assert(
      fc.asyncProperty(bytes, fc.boolean(), async (content, gzipped) => {
        writeFileSync(path, gzipped ? gzip(content) : content);
        await listAndRead(path).then(
          ({ files }) => expect([...files.values()].join('').length).toBeLessThanOrEqual(content.length),
          (thrown) => expect(thrown).toBeInstanceOf(FailureError),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('that announces a file of a size that is no number is refused, and not waited for', async () => {
    for (const first of [157, 194, 214, 251]) {
      const tar = await tarOf([{ name: 'a', content: 'x' }]);
      tar[124] = first;
      tar.fill(' ', 148, 156);
      const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
      tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
      const path = await fileWith(tar);
      const { what } = await failureOf(() => listAndRead(path));
      expect(what).toBe('it is not a tar archive, or a damaged one (a has no size)');
    }
  });

  it('that announces a huge file is refused without room being made for it', async () => {
    const tar = await tarOf([{ name: 'a', content: 'x' }]);
    tar.write('77777777777\0', 124, 'latin1');
    tar.fill(' ', 148, 156);
    const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const path = await fileWith(tar);
    expect((await failureOf(() => listAndRead(path))).what).toBe('the tar archive is truncated');
    const source = await openSource(path);
    const failure = await failureOf(async () => {
      for await (const _ of source.read(new Set(['a']))) expect.fail();
    });
    expect(failure.what).toMatch(/too large for a data set/);
  });
});

describe('safePath', () => {
  it('gives parts joined by / or refuses', () => {
    expect(safePath('./a//b/', 'x')).toBe('a/b');
    expect(safePath('a..b/...c', 'x')).toBe('a..b/...c');
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '..', '.', '/', '\\', 'C:', '\0')), (parts) => {
        try {
          const path = safePath(parts.join(''), 'x');
          expect(path.startsWith('/')).toBe(false);
          expect(path.split(/[\\/]/)).not.toContain('..');
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FailureError);
        }
      }),
    );
  });
});
