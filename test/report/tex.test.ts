import { describe, expect, it } from 'vitest';
import { escapedTex, tex } from '../../src/report/tex.js';
import type { Matrix } from '../../src/results/types.js';
import { cell, example, result } from './matrix.js';

describe('LaTeX', () => {
  it('shows every character as itself', () => {
    expect(escapedTex('a_b & 50 % of #1 $x^2$ {~}')).toBe(
      'a\\_b \\& 50 \\% of \\#1 \\$x\\textasciicircum{}2\\$ \\{\\textasciitilde{}\\}',
    );
    expect(escapedTex('\\end{tabular}\\\\')).toBe(
      '\\textbackslash{}end\\{tabular\\}\\textbackslash{}\\textbackslash{}',
    );
    expect(escapedTex('<b a="1">|`--\'\'')).toBe(
      "\\textless{}b a={\\char34}1{\\char34}\\textgreater{}\\textbar{}\\textasciigrave{}-{}-{}'{}'{}",
    );
    expect(escapedTex('one\r\ntwo\u2028three')).toBe('one two three');
    expect(escapedTex('Zürich 🐈/π')).toBe('Zürich 🐈/π');
    expect(escapedTex('*a [1] ¹²')).toBe('{*}a {[}1{]} \\textsuperscript{1}\\textsuperscript{2}');
  });

  const lines = tex(example).split('\n');

  it('is a table by booktabs a student, whose caption says over how many seeds', () => {
    expect(lines).toContain('  \\begin{tabular}{llll}');
    expect(lines.filter((line) => /\\(top|mid|bottom)rule/.test(line))).toHaveLength(4);
    expect(lines).toContain(
      '    kd & 93.00 $\\pm$ 0.00 (+2.00) & 85.00 ($-$5.00) \\textsuperscript{2} & n/a \\textsuperscript{3} \\\\',
    );
    expect(lines).toContain('    attack & none & nasty & a\\textbar{}b \\\\');
    expect(lines).toContain('    best attack & kd 93.00 &  &  \\\\');
    expect(lines.find((line) => line.includes('\\caption'))).toMatch(
      /^ {2}\\caption\{student small, teacher big\. Accuracy in \\% on 10,000 test images, .* over 2 seeds \(0, 1\)\. .*\}$/,
    );
    expect(lines).toContain(
      '  \\par{\\footnotesize \\textsuperscript{2} 1 of 2 seeds: seed 1 loss, {\\char34}said{\\char34} NaN}',
    );
    expect(lines).toContain('% nasty: KL to the adversary 3.00 nats (between two normal teachers: 0.500).');
    expect(tex({ ...example, seeds: ['0'] })).toContain('1 seed (0): no spread.');
    expect(tex(example, { undefended: true })).toContain('{[}$-$8.00{]}');
  });

  it('has a table for each student, with its own footnotes', () => {
    const failed = { seed: '0', status: 'failed' as const, reason: 'out of memory', warnings: [] };
    const two: Matrix = {
      ...example,
      students: ['small', 'large'],
      cells: [
        cell('kd', 'none', [result('0', 0.9)]),
        { ...cell('kd', 'none', [failed]), student: 'large', reason: 'out of memory' },
      ],
    };
    const [, first = '', second = ''] = tex(two).split('\\begin{table}');
    expect(first).not.toContain('out of memory');
    expect(second.split('\\end{table}')[0]).toContain('out of memory');
  });

  it('keeps its shape whatever names hold, and without a cell', () => {
    const label = '\\end{tabular} & % \\\\\n</script>"\'🐈';
    const hostile: Matrix = {
      ...example,
      experiment: 'x',
      about: 'one\ntwo \\input{/etc/passwd}',
      attacks: [{ label, needs: 'none', owns: 'all', params: {} }],
      defenses: [{ label, exposes: 'weights', params: {} }],
      students: [label],
      victims: [],
      best: [],
      cells: [{ ...cell(label, label, [result('0', 0.5)]), student: label }],
    };
    const text = tex(hostile);
    const code = text.split('\n').filter((line) => !line.startsWith('%'));
    expect(code.filter((line) => line.includes('\\end{tabular}'))).toEqual(['  \\end{tabular}']);
    // Two columns: one separator that is not escaped.
    for (const row of code.filter((line) => line.endsWith(' \\\\')))
      expect(row.replaceAll('\\&', '').split('&')).toHaveLength(2);
    expect(text).not.toMatch(/^\\input/m);
    const empty = tex({ ...example, cells: [], victims: [], best: [], students: [], defenses: [], attacks: [] });
    expect(empty).toContain('% example: made by hand');
    expect(empty).not.toContain('tabular');
  });
});
