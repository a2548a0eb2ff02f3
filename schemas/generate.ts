import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createGenerator } from 'ts-json-schema-generator';
import { metrics } from '../src/metrics/metric.js';

// `npm run schema` writes the JSON Schema of a run's matrix.json out of the TypeScript type, and a test holds the two
// together. A field that is added and may be absent keeps the version; any other change takes a new one, and a new file.

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const schemaPath = at('matrix-1.json');

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

/** @param others whether fields that the type has not may be there: a later version 1 may have more of them */
export const matrixSchema = (others: boolean): Readonly<Record<string, unknown>> => {
  const generator = createGenerator({
    path: at('../src/results/types.ts'),
    tsconfig: at('../tsconfig.json'),
    type: 'Matrix',
    topRef: false,
    jsDoc: 'extended',
    additionalProperties: others,
    skipTypeCheck: true,
  });
  const { $schema, ...schema } = describingMetrics(asWritten(generator.createSchema('Matrix'))) as Readonly<
    Record<string, unknown>
  >;
  return {
    $schema,
    $id: 'matrix-1.json',
    title: 'The matrix of an undistill run, version 1',
    description:
      'Accuracies, their differences and published numbers are shares, 0 to 1. A number that is not finite is null.',
    ...schema,
  };
};

/** The schema as it lies here. */
export const publishedSchema = (): Readonly<Record<string, unknown>> => JSON.parse(readFileSync(schemaPath, 'utf8'));

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(schemaPath, `${JSON.stringify(matrixSchema(true), null, 2)}\n`);
