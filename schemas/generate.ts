import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createGenerator } from 'ts-json-schema-generator';
import { metrics } from '../src/metrics/metric.js';

// `npm run schema` writes the JSON Schemas of a run's matrix.json and of a ranking.json out of the TypeScript types, and a test holds the
// two together. A field that is added and may be absent keeps the version; any other change takes a new one, and a new file.

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const schemaPath = at('matrix-1.json');
export const rankingSchemaPath = at('ranking-1.json');

/** Numbers that are not finite are null in JSON; constants are as they are. */
const asWritten = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(asWritten);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, asWritten(each)]));
  return fields.type === 'number' && !('const' in fields) ? { ...fields, type: ['number', 'null'] } : fields;
};

type Node = Readonly<Record<string, unknown>>;

/** A record by the names of metrics, with a sentence for each of those that are built in. */
const withMetrics = (node: Node): Node => ({
  ...node,
  properties: Object.fromEntries(
    metrics.map(({ name, describe }) => [name, { ...(node.additionalProperties as Node), description: describe }]),
  ),
});

/** Every `metrics` of numbers, wherever it lies. */
const describingMetrics = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(describingMetrics);
  if (typeof value !== 'object' || value === null) return value;
  const described = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, describingMetrics(each)]));
  const properties = (described.properties ?? {}) as Readonly<Record<string, Node>>;
  const own = properties.metrics;
  if (typeof own?.additionalProperties !== 'object') return described;
  return { ...described, properties: { ...properties, metrics: withMetrics(own) } };
};

/** The schema of a type. `others`: whether fields that it has not may be there, as a later version may have more of them. */
const schemaOf = (file: string, type: string, others: boolean) =>
  createGenerator({
    path: at(file),
    tsconfig: at('../tsconfig.json'),
    type,
    topRef: false,
    jsDoc: 'extended',
    additionalProperties: others,
    skipTypeCheck: true,
  }).createSchema(type);

export const matrixSchema = (others: boolean): Readonly<Record<string, unknown>> => {
  const made = describingMetrics(asWritten(schemaOf('../src/results/types.ts', 'Matrix', others)));
  const { $schema, ...schema } = made as Readonly<Record<string, unknown>>;
  return {
    $schema,
    $id: 'matrix-1.json',
    title: 'The matrix of an undistill run, version 1',
    description:
      'Accuracies, their differences and published numbers are shares, 0 to 1. A number that is not finite is null.',
    ...schema,
  };
};

export const rankingSchema = (others: boolean): Readonly<Record<string, unknown>> => {
  const made = asWritten(schemaOf('../src/results/ranking.ts', 'Ranking', others));
  const { $schema, description: _, ...schema } = made as Readonly<Record<string, unknown>>;
  return {
    $schema,
    $id: 'ranking-1.json',
    title: 'Defences by what the strongest attacker gets of them, version 1',
    description: 'Accuracies and their differences are shares, 0 to 1. A number that is not finite is null.',
    ...schema,
  };
};

/** A schema as it lies here. */
export const publishedSchema = (path = schemaPath): Readonly<Record<string, unknown>> =>
  JSON.parse(readFileSync(path, 'utf8'));

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const [path, schema] of [
    [schemaPath, matrixSchema(true)],
    [rankingSchemaPath, rankingSchema(true)],
  ] as const)
    writeFileSync(path, `${JSON.stringify(schema, null, 2)}\n`);
