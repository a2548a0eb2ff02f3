import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { readRecord } from '../../src/run/outputs.js';
import { copyRecordAndLogs, logFile, logsIn, recordIn } from '../../src/run/stage-files.js';
import { aRecord } from './record.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-stage-files-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const write = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};

describe('the folder of a stage', () => {
  test('has a log for each fit, under its name', async () => {
    write(`stage/${logFile('')}`, '{"epoch":0}\n');
    write(`stage/${logFile('student-2')}`, '{"epoch":1}\n{"ep');
    write('stage/metrics.json', '{}');
    write('stage/old-metrics.jsonl', '{}');
    expect(await logsIn(join(root, 'stage'))).toEqual([
      { fit: 'student-2', text: '{"epoch":1}\n{"ep' },
      { fit: '', text: '{"epoch":0}\n' },
    ]);
  });

  test('has its record when it is finished', async () => {
    write('finished/record.json', JSON.stringify({ ...aRecord, later: 1 }));
    write('cut-off/record.json', '{"id":');
    write('edited/record.json', JSON.stringify({ ...aRecord, seconds: 'long' }));
    expect(await recordIn(join(root, 'finished'))).toEqual({ ...aRecord, later: 1 });
    expect(await recordIn(join(root, 'cut-off'))).toBeUndefined();
    expect(await recordIn(join(root, 'edited'))).toBeUndefined();
    expect(await recordIn(root)).toBeUndefined();
  });

  test.each([
    [{ ...aRecord, warnings: undefined }, '', 'warnings is missing'],
    [{ ...aRecord, inputs: { victim: 7 } }, ': inputs', 'victim is 7'],
    [{ ...aRecord, provenance: {} }, ': provenance', 'undistill is missing'],
    [[], '', 'id is missing'],
  ])('says what is wrong where %j is whole, and no record', async (value, where, what) => {
    const path = join(root, 'stage/record.json');
    const output = { folder: join(root, 'stage'), json: async () => JSON.parse(JSON.stringify(value)) } as never;
    await expect(readRecord(output)).rejects.toMatchObject({
      failure: { kind: 'usage', where: `${path}${where}`, what, remedy: expect.stringContaining('run --force') },
    });
    write('stage/record.json', JSON.stringify(value));
    expect(await recordIn(join(root, 'stage'))).toBeUndefined();
  });

  test('that is not there has no logs, and nothing to copy', async () => {
    expect(await logsIn(join(root, 'nowhere'))).toEqual([]);
    await copyRecordAndLogs(join(root, 'nowhere'), join(root, 'copy'));
    expect(readdirSync(root)).toEqual([]);
  });

  test('is copied without its weights', async () => {
    for (const name of ['record.json', logFile(''), logFile('one'), 'last.safetensors', 'images/lot-0.json'])
      write(`stage/${name}`, name);
    await copyRecordAndLogs(join(root, 'stage'), join(root, 'copies/of/it'));
    expect(readdirSync(join(root, 'copies/of/it')).sort()).toEqual([
      'metrics-one.jsonl',
      'metrics.jsonl',
      'record.json',
    ]);
    expect(readFileSync(join(root, 'copies/of/it/record.json'), 'utf8')).toBe('record.json');
  });

  test('is copied in place of what was copied of it before', async () => {
    for (const name of ['record.json', logFile(''), logFile('one'), 'failure.txt']) write(`copy/${name}`, 'before');
    write(`stage/${logFile('')}`, 'anew');
    await copyRecordAndLogs(join(root, 'stage'), join(root, 'copy'));
    expect(readdirSync(join(root, 'copy')).sort()).toEqual(['failure.txt', 'metrics.jsonl']);
    expect(readFileSync(join(root, 'copy', logFile('')), 'utf8')).toBe('anew');
    await copyRecordAndLogs(join(root, 'nowhere'), join(root, 'copy'));
    expect(readdirSync(join(root, 'copy'))).toHaveLength(2);
  });

  test('cannot be copied to where a file is', async () => {
    write('stage/record.json', '{}');
    write('copy', 'in the way');
    const error = await copyRecordAndLogs(join(root, 'stage'), join(root, 'copy')).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FailureError);
    expect((error as FailureError).failure.kind).toBe('store');
  });
});

/** Literals by which a module would know where the store keeps what. */
const layout = [/['"`/]\.store\b/, /\.partial\b/, /record\.json/, /metrics[^'"`]*\.jsonl/];

test('where the store keeps what, `run` alone knows', () => {
  const src = fileURLToPath(new URL('../../src', import.meta.url));
  const modules = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  const knowing = (pattern: RegExp) => modules.filter((path) => pattern.test(readFileSync(join(src, path), 'utf8')));
  for (const pattern of layout) {
    const rooms = new Set(knowing(pattern).map((path) => path.split(/[\\/]/)[0]));
    expect([...rooms], `${pattern}: ${knowing(pattern)}`).toEqual(['run']);
  }
});
