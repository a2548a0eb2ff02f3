import { describe, expect, it, test } from 'vitest';
import { isWanted, paired } from '../../../src/report/html/browser/choice.js';
import { matches, next, ordered, wordsOf } from '../../../src/report/html/browser/table.js';
import { detailView } from '../../../src/report/html/detail-view.js';
import {
  codeInScript,
  drawing,
  escaped,
  html,
  jsonInScript,
  Markup,
  name,
  packedInScript,
} from '../../../src/report/html/markup.js';
import { pageOf } from '../../../src/report/html/model.js';
import { report } from '../../../src/report/html/report.js';
import { style } from '../../../src/report/html/style.js';
import { bodyView } from '../../../src/report/html/view.js';
import { example } from '../matrix.js';
import { unpacked } from './details.js';
import { crossed, hostile, plan, runOf } from './runs.js';

const bodyOf = (matrix: Parameters<typeof crossed> | typeof example): string =>
  bodyView(pageOf(runOf({ matrix: 'cells' in matrix ? matrix : crossed(...matrix) })), { live: false }).text;

/** What names may not bring into a page: elements, handlers and what ends a script. */
const foreign = /<script>alert|<!--|onerror|<img src=x|href="javascript/i;

describe('markup', () => {
  it('escapes every value', () => {
    expect(html`<a title="${'"'}">${'<&>'}${1}${undefined}${false}${[html`<b>${"'"}</b>`]}</a>`.text).toBe(
      '<a title="&quot;">&lt;&amp;&gt;1<b>&#39;</b></a>',
    );
    expect(escaped('a\0b\ud800')).toBe('a\ufffdb\ufffd');
    expect(escaped('🎓')).toBe('🎓');
    expect(name('kd<').text).toBe('<bdi>kd&lt;</bdi>');
    expect(name('labelSmoothing').text).toBe('<bdi>label<wbr>Smoothing</bdi>');
  });

  it('puts JSON and code into scripts that nothing in them ends', () => {
    const value = { a: '</script><!--', b: '\u2028' };
    const { text } = jsonInScript(value);
    expect(text).not.toMatch(/[<>\u2028]/);
    expect(JSON.parse(text)).toEqual(value);
    expect(unpacked(packedInScript(value).text)).toEqual(value);
    const code = codeInScript("'</script><!--'; 1 < 2");
    expect(code).toBe("'\\x3c/script>\\x3c!--'; 1 < 2");
    expect(html`${new Markup('<i>')}`.text).toBe('<i>');
  });

  it('makes pictures of drawings, which are described once', () => {
    const { text } = drawing('<svg><path aria-label="a: 1" d="M0 0"/></svg>', 'what "it" shows');
    const [, description, drawn = ''] = /^<img alt="([^"]*)" src="data:image\/svg\+xml;base64,(.*)">$/.exec(text) ?? [];
    expect(description).toBe('what &quot;it&quot; shows');
    expect(Buffer.from(drawn, 'base64').toString()).toBe('<svg><path d="M0 0"/></svg>');
  });
});

describe('the view', () => {
  it('has a table a student, with a link from each cell', () => {
    const body = bodyOf(example);
    expect(body).toContain('<h1><bdi>example</bdi></h1>');
    expect(body.match(/<table class="matrix">/g)).toHaveLength(1);
    expect(body).toContain('href="#cell/small/kd/nasty"');
    expect(body).toMatch(/data-details="[^"]*\bcell\/small\/kd\/nasty[ "]/);
    expect(body).toContain('class="d-3" data-value="0.85"');
    expect(body).toContain('class="na"');
    expect(body).toContain('class="failed"');
    expect(body).not.toContain('undefined');
  });

  it('lets no name become markup', () => {
    const body = bodyOf([hostile, hostile, hostile]);
    expect(body).not.toMatch(foreign);
    const details = pageOf(runOf({ matrix: crossed(hostile) })).details.map((detail) => detailView(detail).text);
    expect(details.join('')).not.toMatch(foreign);
  });

  it('lets no name of a stage, a metric, a class or a file become markup', () => {
    const evil = '"><script>alert(1)</script><!--';
    const page = pageOf(
      runOf({
        plan: { ...plan, stages: plan.stages.map((stage) => ({ ...stage, label: evil })) },
        stages: new Map([
          ['kd-0', { state: 'begun', logs: [{ fit: evil, epochs: [{ epoch: 0, metrics: { [evil]: 1 } }] }] }],
        ]),
        images: [
          {
            file: {
              attack: 'kd',
              defense: 'none',
              student: 'small',
              seed: evil,
              classes: Array.from({ length: 200 }, (_, i) => `${evil}${i}`),
              count: 1,
              diagnostics: [{ name: evil, value: 0, sentence: evil, warning: true }],
            },
            thumbnails: [
              {
                place: 0,
                label: 199,
                source: 'data:,',
                width: 1,
                height: 1,
                teacher: 0.5,
                verifier: { label: 0, probability: 1 },
              },
            ],
            links: [[evil, evil]],
          },
        ],
        charts: [{ name: evil, title: evil, description: evil, spec: { evil }, svg: evil }],
        files: [{ name: evil, address: evil }],
      }),
    );
    const text = bodyView(page, { live: true }).text + page.details.map((detail) => detailView(detail).text).join('');
    expect(text).not.toMatch(foreign);
    expect(text).toContain('class they were made for');
  });

  it('is a page also of nothing', () => {
    expect(bodyView(pageOf(runOf()), { live: false }).text).toContain('There is nothing in this run yet.');
  });
});

describe('the report', () => {
  it('is one document that may run and show nothing but its own', async () => {
    const { html: text, policy } = await report(runOf({ matrix: example }));
    expect(text.startsWith('<!doctype html>\n<html lang="en">')).toBe(true);
    expect(policy).toMatch(/^default-src 'none'; script-src 'sha256-[^;]+'; style-src 'sha256-[^;]+'; img-src data:/);
    expect(policy).not.toContain('unsafe');
    expect(policy).not.toContain('connect-src');
    expect(text).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    expect(text).not.toMatch(/ style=| on\w+="/);
  });

  it('asks its server for news when it is live', async () => {
    const { html: text, policy } = await report(runOf({ matrix: example }), { live: true });
    expect(policy).toContain("connect-src 'self'");
    expect(text).toContain('class="live"');
  });

  it('has the code of charts only where there are some', async () => {
    const chart = {
      name: 'omega',
      title: 'By omega',
      description: 'accuracy by omega',
      spec: { mark: 'point' },
      svg: '<svg/>',
    };
    const [without, with1] = [await report(runOf()), await report(runOf({ charts: [chart] }))];
    expect(without.html.length).toBeLessThan(50_000);
    expect(with1.html.length).toBeGreaterThan(300_000);
    expect(with1.html).toContain('data:image/svg+xml;base64,PHN2Zy8+');
    // Each script ends once: nothing in the code ends it before.
    expect(with1.html.match(/<\/script/g)?.length).toBe(with1.html.match(/<script[ >]/g)?.length);
  });
});

test('the style says nothing twice', () => {
  const rules = style.split('\n').filter((line) => /^\S.*\{/.test(line) && !line.startsWith('@'));
  const selectors = rules.map((line) => line.slice(0, line.indexOf(' {')));
  expect(selectors.filter((selector, i) => selectors.indexOf(selector) < i)).toEqual([]);
});

describe('sorting and filtering', () => {
  const rows = [0.5, Number.NaN, 0.9, 0.5].map((key, index) => ({ key, index }));
  const places = (direction: Parameters<typeof ordered>[1]) => ordered(rows, direction).map(({ index }) => index);

  it('puts the highest first, then the lowest, then all as it was; those without a number last', () => {
    expect(places('descending')).toEqual([2, 0, 3, 1]);
    expect(places('ascending')).toEqual([0, 3, 2, 1]);
    expect(places('none')).toEqual([0, 1, 2, 3]);
    const first = next(undefined, 1);
    const second = next(first, 1);
    const third = next(second, 1);
    expect([first, second, third, next(third, 2)].map(({ direction }) => direction)).toEqual([
      'descending',
      'ascending',
      'none',
      'descending',
    ]);
    expect(next(undefined, 0).direction).toBe('ascending');
  });

  it('sorts names as people count', () => {
    const names = ['b', 'a10', 'a9'].map((key, index) => ({ key, index }));
    expect(ordered(names, 'ascending').map(({ key }) => key)).toEqual(['a9', 'a10', 'b']);
  });

  it('finds each word in the attack or the defence', () => {
    expect(wordsOf('  KD  nasty ')).toEqual(['kd', 'nasty']);
    expect(matches(['kd', 'nasty'], 'partialKd', 'nasty + rounding')).toBe(true);
    expect(matches(['kd', 'nasty'], 'kd', 'none')).toBe(false);
    expect(matches([], 'kd', 'none')).toBe(true);
  });
});

describe('the choice of images', () => {
  const image = (place: number, label: string, teacher: number, verifier?: string) => ({
    ...{ place, label, teacher, verifier },
  });
  const any = { class: '', sure: 0, verifier: '' } as const;

  it('goes by class, by how sure the victim is, and by what another net says, where that is known', () => {
    const [cat, dog, unknown] = [image(0, 'cat', 0.9, 'cat'), image(1, 'dog', 0.4, 'cat'), image(2, 'cat', Number.NaN)];
    const wanted = (choice: Partial<Parameters<typeof isWanted>[0]>) =>
      [cat, dog, unknown].filter((each) => isWanted({ ...any, ...choice }, each)).map(({ place }) => place);
    expect(wanted({})).toEqual([0, 1, 2]);
    expect(wanted({ class: 'cat' })).toEqual([0, 2]);
    expect(wanted({ sure: 0.5 })).toEqual([0]);
    expect(wanted({ verifier: 'agrees' })).toEqual([0]);
    expect(wanted({ verifier: 'differs' })).toEqual([1]);
  });

  it('puts beside an image the one at its place, where there is one', () => {
    const own = [image(0, 'cat', 1), image(3, 'dog', 1)];
    const others = [image(3, 'dog', 0.5), image(4, 'cat', 0.5)];
    expect(paired(any, own, others)).toEqual([
      [own[0], undefined],
      [own[1], others[0]],
    ]);
  });
});
