import { describe, expect, test } from 'vitest';
import { diagnosticsCsv, diagnosticsLayout, diagnosticsRows } from '../../src/report/diagnostics.js';
import { inMarkdown } from '../../src/report/markdown.js';
import type { TeacherDiagnostics } from '../../src/results/diagnose.js';
import { example, hostile } from './diagnostics.js';

const { responses: _, maps: __, ...bare } = example;
const none: TeacherDiagnostics = { ...bare, given: [], teachers: [], stages: [], missing: [] };

describe('rows', () => {
  const rows = diagnosticsRows(example);

  test('are one a teacher, seed and temperature; a class of an answer; an image of a map', () => {
    expect(rows.teachers).toHaveLength(2);
    expect(rows.teachers[1]).toEqual({
      defense: hostile,
      seed: '0',
      accuracy: 0.8,
      calibrationError: 0.02,
      logitMargin: 3,
      temperature: 4,
      entropy: 0.5,
      peaks: 2,
      margin: 0.25,
      klFromNormal: 1.25,
    });
    expect(rows.responses).toHaveLength(6);
    expect(rows.responses[2]).toEqual({
      image: 7,
      label: hostile,
      defense: 'none',
      class: 2,
      name: 'cat',
      right: false,
      logit: -1,
      probability: 0.04,
      softened: 0.21,
    });
    expect(rows.maps).toHaveLength(8);
    expect(rows.maps[1]).toEqual({ of: 'features', defense: 'none', image: 5, class: 2, label: 'cat', x: -1, y: -2 });
  });

  test('are none where there is nothing', () => {
    expect(diagnosticsRows(none)).toEqual({ teachers: [], responses: [], maps: [] });
  });
});

test('CSV has all columns in every line, whatever names hold', () => {
  const files = diagnosticsCsv(example);
  expect(files.teachers.split('\r\n')[0]).toBe(
    'defense,seed,temperature,entropy,peaks,margin,klFromNormal,accuracy,calibrationError,logitMargin',
  );
  expect(files.teachers).toContain('\r\nnone,0,4,0.5,2,0.25,,0.9,0.02,3\r\n');
  expect(files.responses).toContain(`7,"${hostile.replaceAll('"', '""')}",none,1,cat,false,0,0.11,0.27\r\n`);
  expect(files.maps.split('\r\n').filter((line) => line.startsWith('logits'))).toHaveLength(4);
  expect(diagnosticsCsv(none).maps).toBe('of,defense,image,class,label,x,y\r\n');
});

describe('Markdown', () => {
  const markdownOf = (of: TeacherDiagnostics): string => inMarkdown(diagnosticsLayout(of));
  const text = markdownOf(example);

  test('has what is answered behind each defence that changes it', () => {
    expect(text).toMatch(/\| 12\.95 \| 50\.00 \| 1\.25 \| 3\.00 \| 87\.00 \|/);
    expect(markdownOf(none)).not.toContain('What is answered');
  });

  test('has a table of teachers and one of their answers by temperature, and says what is in them', () => {
    expect(text).toContain('| none | 90.00 | 2.00 | 3.00 |');
    expect(text).toContain('| none | 4 | 0.500 | 2.00 | 0.250 |  |');
    expect(text).toMatch(/\| 4 \| 0\.500 \| 2\.00 \| 0\.250 \| 1\.25 \|/);
    expect(text).toContain('On 48 test images of thirds (3 classes).');
    expect(text).toContain('A peak is a class with a probability above 0.05');
    expect(text).toContain('- labelOnly: the same network as none.');
    expect(text).toContain('- The teacher of nasty, seed 1, is not finished.');
    expect(text).toContain('the first 1 image of different classes');
    expect(text).toContain('t-SNE of 2 images');
  });

  test('keeps its columns whatever names hold, and stands without images', () => {
    for (const row of text.split('\n').filter((line) => line.startsWith('|')))
      expect([5, 7]).toContain(row.replaceAll('\\|', '').split('|').length - 1);
    expect(text).not.toContain('</script>');
    expect(markdownOf({ ...bare, teachers: [] })).toContain('responses.csv is empty');
    expect(markdownOf(bare)).toContain('maps.csv is empty');
  });
});
