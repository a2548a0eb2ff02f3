import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Fault } from '../../chaos/faults.js';
import { effortsIn } from '../../chaos/runs.js';
import { type Project, project } from '../cli/project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write(
    'writes.mjs',
    `import { mkdirSync, writeFileSync } from 'node:fs';
     import { mkdir, open, rename } from 'node:fs/promises';
     mkdirSync('runs', { recursive: true });
     const path = (name) => process.cwd() + '/runs/' + name;
     for (const name of ['a', 'b', 'c']) {
       try {
         const file = await open(path(name + '.tmp'), 'w');
         await file.writeFile('0123456789');
         await file.close();
         await rename(path(name + '.tmp'), path(name));
       } catch (error) {
         console.log(name, error.code);
       }
     }`,
  );
});
afterAll(() => at.remove());

const preload = fileURLToPath(new URL('../../chaos/preload.js', import.meta.url));

/** The script above, under a fault. */
const under = async (fault: Omit<Fault, 'struck' | 'who'> | undefined) => {
  await at.node(['-e', "fs.rmSync('runs', { recursive: true, force: true }); fs.rmSync('counts', { force: true })"]);
  const struck = join(at.folder, 'struck');
  const env = {
    ...{ CHAOS_BELOW: join(at.folder, 'runs'), CHAOS_COUNTS: join(at.folder, 'counts') },
    ...(fault === undefined ? {} : { CHAOS_FAULT: JSON.stringify({ ...fault, who: 'main', struck }) }),
  };
  return at.node(['--import', pathToFileURL(preload).href, 'writes.mjs'], { env });
};
const held = (name: string): Promise<string | undefined> =>
  readFile(join(at.folder, 'runs', name), 'utf8').catch(() => undefined);

describe('what is done to the files of a process', () => {
  it('is counted, by operation', async () => {
    expect((await under(undefined)).code).toBe(0);
    const [effort] = await effortsIn(join(at.folder, 'counts'));
    expect(effort).toMatchObject({ who: 'main', counts: { open: 3, writeFile: 3, close: 3, rename: 3 } });
    expect(effort?.seconds).toBeGreaterThan(0);
  });

  it.each([
    ['before', 'rename', undefined, '0123456789'],
    ['after', 'rename', '0123456789', undefined],
    ['half', 'writeFile', undefined, '01234'],
  ] as const)('ends with a kill %s a %s', async (act, operation, final, aside) => {
    expect((await under({ operations: [operation], at: 2, act })).code).toBe('SIGKILL');
    expect([await held('a'), await held('b'), await held('b.tmp'), await held('c.tmp')]).toEqual([
      '0123456789',
      final,
      aside,
      undefined,
    ]);
  });

  it('is refused from one on', async () => {
    const { code, out } = await under({ operations: ['open', 'rename'], at: 2, act: 'refuse', code: 'ENOSPC' });
    expect([code, out]).toEqual([0, 'a ENOSPC\nb ENOSPC\nc ENOSPC\n']);
  });
});
