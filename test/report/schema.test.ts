import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { matrixSchema, publishedSchema } from '../../schemas/generate.js';
import type { Matrix } from '../../src/results/types.js';
import { example } from './matrix.js';

const validator = (schema: Readonly<Record<string, unknown>>) => {
  const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);
  /** What is wrong with a value as it is written to a file. */
  return (value: unknown): readonly string[] => {
    validate(JSON.parse(JSON.stringify(value)));
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
};

describe('the JSON Schema of a matrix', () => {
  const exact = matrixSchema(false);
  const faults = validator(publishedSchema());

  test('is that of the type; `npm run schema` writes it', () => {
    expect(publishedSchema()).toEqual(matrixSchema(true));
    expect(publishedSchema()).toMatchObject({ properties: { version: { const: 1 } } });
  });

  test('holds of matrices with failed cells, without cells, and with numbers that JSON has not', () => {
    const full: Matrix = {
      ...example,
      scores: [
        {
          defense: '</script>',
          student: '"\\🐈',
          attack: 'kd',
          harm: { mean: -0.5, sd: 0.1, interval: [-1, 0], count: 2 },
          undistillable: 'undecided',
          seedsToTell: 40,
          verdict: 'x',
        },
      ],
      reproduction: [{ what: 'kd', paper: 0.9, tolerance: 0.01, verdict: 'not run' }],
      effects: [{ what: 'kd', paper: -0.1, ours: { mean: 0, count: 1 }, difference: 0.1, direction: 'opposite' }],
      reduced: '5 % of the schedules',
    };
    const infinite = { ...example.cells[0], metrics: { klToVictim: { mean: Number.POSITIVE_INFINITY, count: 1 } } };
    const empty = { ...example, cells: [], victims: [], best: [], students: [], defenses: [], attacks: [] };
    for (const matrix of [example, full, empty, { ...example, cells: [infinite] }]) {
      expect(faults(matrix)).toEqual([]);
      expect(validator(exact)(matrix)).toEqual([]);
    }
  });

  test('lets a later version 1 say more, and refuses what is no matrix', () => {
    expect(faults({ ...example, more: 1 })).toEqual([]);
    expect(validator(exact)({ ...example, more: 1 })).toEqual([' must NOT have additional properties']);
    expect(faults({ ...example, version: 2 })).toEqual(['/version must be equal to constant']);
    expect(faults({ ...example, cells: undefined })).toEqual([" must have required property 'cells'"]);
    expect(faults({ ...example, cells: [{ ...example.cells[0], status: 'maybe' }] })).toEqual([
      '/cells/0/status must be equal to one of the allowed values',
    ]);
  });
});
