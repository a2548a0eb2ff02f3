import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRun, writeReport } from '../../../src/cli/report.js';
import { serve } from '../../../src/cli/serve.js';
import { report } from '../../../src/report/html/report.js';
import type { DrawnChart, Run } from '../../../src/report/html/run.js';
import { pictureToPng } from '../../../src/report/pictures.js';
import type { Matrix } from '../../../src/results/types.js';
import { aRecord } from '../../run/record.js';
import { example } from '../matrix.js';
import { browserPath, isDemanded, openBrowser } from './browser.js';
import { crossed, hostile, plan, runOf } from './runs.js';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser: Browser;
let folder: string;

/** A page, and what it did that it should not: errors, words on the console, requests, dialogs of the browser's. */
interface Visit {
  readonly page: Page;
  readonly misdeeds: readonly string[];
}

const visit = async (url: string, options: BrowserContextOptions = {}): Promise<Visit> => {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce',
    ...options,
  });
  context.setDefaultTimeout(600_000);
  const page = await context.newPage();
  const misdeeds: string[] = [];
  page.on('console', (message) => misdeeds.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => misdeeds.push(`error: ${error.message}`));
  page.on('dialog', async (dialog) => {
    misdeeds.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on('request', (request) => {
    if (/^\w+:\/\//.test(request.url()) && !request.url().startsWith(url.split('#')[0] as string))
      misdeeds.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  return { page, misdeeds };
};

const written = async (name: string, run: Run): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, (await report(run)).html);
  return pathToFileURL(path).href;
};

/** The violations that axe finds, with where. */
const violations = async (page: Page): Promise<readonly string[]> => {
  await page.evaluate(axe);
  // Cells are links into the page, which axe takes for links that skip to its content.
  const found = (await page.evaluate('axe.run({ rules: { "skip-link": { enabled: false } } })')) as {
    readonly violations: readonly { readonly id: string; readonly nodes: readonly { readonly html: string }[] }[];
  };
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`);
};

const labels = (page: Page): Promise<readonly string[]> =>
  page.locator('.matrix tbody tr:not([hidden]) th').allInnerTexts();

const sortBy = (page: Page, column: string) => page.getByRole('button', { name: `sort by ${column}`, exact: true });

const widthOf = (page: Page): Promise<number> =>
  page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth));

const withSource: Matrix = {
  ...example,
  published: 'A paper, Table 1; quoted from memory, unverified',
  reproduction: [
    {
      what: 'kd on none',
      paper: 0.95,
      ours: { mean: 0.93, count: 2 },
      difference: -0.02,
      tolerance: 0.01,
      verdict: 'outside',
    },
  ],
  scores: [{ defense: 'none', student: 'small', attack: 'kd', verdict: 'Distillable: the best attack is above.' }],
};

/** A metric of one's own, of two cells. */
const withOwnMetric: Matrix = {
  ...example,
  metrics: [
    { name: 'accuracy', unit: 'share', better: 'higher', describe: 'Share of images that are right.' },
    { name: 'margin', unit: 'number', better: 'higher', describe: 'How far the two largest are apart.' },
  ],
  cells: example.cells.map((cell) => {
    const means: Readonly<Record<string, number>> = { scratch: 0.1, kd: 0.2 };
    const mean = cell.defense === 'none' ? means[cell.attack] : undefined;
    return mean === undefined ? cell : { ...cell, metrics: { margin: { mean, count: 2 } } };
  }),
};

const picture = (grey: number, side = 8) => ({
  source: `data:image/png;base64,${pictureToPng({ width: side, height: side, pixels: new Uint8Array(3 * side ** 2).fill(grey) }).toString('base64')}`,
  width: side,
  height: side,
});

/** A run's folder by hand, with images of one cell and the curves of one stage. */
const writeRun = async (name: string): Promise<string> => {
  const run = join(folder, name);
  const cell = 'images/none/kd/small/seed-0';
  const picture = (grey: number, side = 8) =>
    pictureToPng({ width: side, height: side, pixels: new Uint8Array(3 * side ** 2).fill(grey) });
  const images = Array.from({ length: 12 }, (_, i) => ({
    file: `${i}.png`,
    label: i % 2,
    teacher: [0.25, 0.75],
    verifier: [0.5, 0.25],
  }));
  const files: Record<string, string | Buffer> = {
    'matrix.json': JSON.stringify(withSource),
    'plan.json': JSON.stringify({
      ...plan,
      version: 1,
      stages: plan.stages.map((stage) => ({ ...stage, kind: 'steal' })),
    }),
    'stages/seed-0/none/small/kd/metrics.jsonl': [0, 1, 2]
      .map(
        (epoch) =>
          `${JSON.stringify({ epoch, metrics: { loss: 1 / (epoch + 1), accuracy: epoch / 3 }, validation: epoch / 4 })}\n`,
      )
      .join(''),
    'stages/seed-0/none/small/kd/record.json': JSON.stringify(aRecord),
    [`${cell}/images.json`]: JSON.stringify({
      version: 1,
      attack: 'kd',
      defense: 'none',
      student: 'small',
      seed: '0',
      classes: ['cat', '<dog>'],
      shape: { height: 8, width: 8, channels: 3 },
      count: 12,
      images,
      diagnostics: [{ name: 'variety', value: 0.1, sentence: 'The images are nearly one.', warning: true }],
    }),
    [`${cell}/compare.png`]: picture(90, 16),
    ...Object.fromEntries(images.map(({ file }, i) => [`${cell}/${file}`, picture(20 * i)])),
  };
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(run, path)), { recursive: true });
    await writeFile(join(run, path), content);
  }
  return run;
};

const isLeftOut = browserPath === undefined && !isDemanded;
if (isLeftOut) console.warn('The report is not tested in a browser: there is no Chromium on the PATH.');

describe.skipIf(isLeftOut)('the report in a browser', () => {
  let url: string;
  beforeAll(async () => {
    browser = await openBrowser();
    folder = await mkdtemp(join(tmpdir(), 'undistill-browser-'));
    const run = await writeRun('example');
    url = pathToFileURL(await writeReport(await readRun(run), join(run, 'report.html'))).href;
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true });
  });

  it('opens from disk, without an error and without a network', async () => {
    const { page, misdeeds } = await visit(url);
    expect(await page.title()).toBe('example · undistill');
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('example');
    expect(await labels(page)).toEqual(['scratch', 'kd', 'partialKd', 'broken']);
    expect(await page.getByText('quoted from memory, unverified').count()).toBe(1);
    expect(await page.getByText('Distillable: the best attack').count()).toBe(1);
    expect(misdeeds).toEqual([]);
  });

  it('sorts by a column, by mouse and by keyboard', async () => {
    const { page, misdeeds } = await visit(url);
    const head = page.locator('.matrix thead th').nth(1);
    await sortBy(page, 'none').click();
    expect(await labels(page)).toEqual(['kd', 'scratch', 'partialKd', 'broken']);
    expect(await head.getAttribute('aria-sort')).toBe('descending');
    await sortBy(page, 'none').press('Enter');
    expect(await labels(page)).toEqual(['partialKd', 'scratch', 'kd', 'broken']);
    expect(await head.getAttribute('aria-sort')).toBe('ascending');
    await sortBy(page, 'none').press('Space');
    expect(await labels(page)).toEqual(['scratch', 'kd', 'partialKd', 'broken']);
    expect(await head.getAttribute('aria-sort')).toBe('none');
    await sortBy(page, 'attack').click();
    expect(await labels(page)).toEqual(['broken', 'kd', 'partialKd', 'scratch']);
    expect(misdeeds).toEqual([]);
  });

  it('filters by attack and defence', async () => {
    const { page } = await visit(url);
    const filter = page.getByLabel('Filter by attack or defence');
    await filter.fill('kd nasty');
    expect(await labels(page)).toEqual(['kd', 'partialKd']);
    expect(await page.locator('.matrix thead th:visible bdi').allInnerTexts()).toEqual(['attack', 'nasty']);
    expect(await page.locator('#count').textContent()).toBe('2 of 12 cells');
    await filter.fill('nowhere');
    expect(await page.locator('#count').textContent()).toBe('nothing matches');
    await filter.fill('');
    expect(await labels(page)).toHaveLength(4);
  });

  it('shows one student of several', async () => {
    const { page } = await visit(await written('students.html', runOf({ matrix: crossed(['a'], ['b'], ['s', 't']) })));
    expect(await page.locator('.matrix:visible').count()).toBe(2);
    await page.locator('#student').selectOption('t');
    expect(await page.locator('.matrix:visible').count()).toBe(1);
    expect(await page.locator('h3:visible', { hasText: 'student t' }).count()).toBe(1);
  });

  it('opens a cell with its seeds, curves, images and parameters, and closes it by Escape', async () => {
    const { page, misdeeds } = await visit(url);
    const link = page.locator('a[href="#cell/small/kd/none"]');
    await link.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'kd on none' });
    await dialog.waitFor();
    await page.waitForURL(`${url}#cell/small/kd/none`);
    expect(await dialog.getByRole('row', { name: 'accuracy, % 93.00 93.00' }).count()).toBe(1);
    expect(await dialog.getByRole('img', { name: /^accuracy by epoch: seed 0 from 0 to 0.667/ }).count()).toBe(1);
    expect(await dialog.getByText('The images are nearly one.').count()).toBe(1);
    const image = dialog.getByRole('img', { name: 'made for <dog>; victim 75 % sure; another net: cat, 50 %' }).first();
    expect(await image.evaluate((each: HTMLImageElement) => each.decode().then(() => each.naturalWidth))).toBe(8);
    expect(await dialog.locator('.thumbnails img').count()).toBe(12);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await page.waitForURL(url);
    expect(await link.evaluate((each) => each === document.activeElement)).toBe(true);
    expect(misdeeds).toEqual([]);
  });

  it('opens where its address points, goes on with the address, and closes by its button and beside it', async () => {
    const { page } = await visit(`${url}#teacher/nasty`);
    await page.getByRole('dialog', { name: 'teacher behind nasty' }).waitFor();
    await page.evaluate(() => {
      location.hash = '#cell/small/kd/a%7Cb';
    });
    const dialog = page.getByRole('dialog', { name: 'kd on a|b' });
    await dialog.waitFor();
    expect(await dialog.getByText('kd needs probabilities; a|b exposes label').count()).toBe(1);
    await dialog.getByRole('button', { name: 'close' }).click();
    await dialog.waitFor({ state: 'hidden' });
    await page.locator('a[href="#cell/small/kd/none"]').click();
    await page.getByRole('dialog', { name: 'kd on none' }).waitFor();
    await page.mouse.click(5, 5);
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await page.goto(`${url}#nowhere`);
    expect(await page.getByRole('dialog').count()).toBe(0);
  });

  it.each(['light', 'dark'] as const)('has no fault that axe finds, %s', async (colorScheme) => {
    const { page } = await visit(url, { colorScheme });
    expect(await violations(page)).toEqual([]);
    await page.locator('a[href="#cell/small/kd/none"]').click();
    await page.getByRole('dialog').waitFor();
    expect(await violations(page)).toEqual([]);
  });

  it.each(['light', 'dark'] as const)(
    'has no colour of a difference on which text is hard to read, %s',
    async (colorScheme) => {
      const matrix = crossed(
        ['a'],
        Array.from({ length: 9 }, (_, i) => `d${i}`),
      );
      const differences = [-0.5, -0.05, -0.02, -0.005, 0, 0.005, 0.02, 0.05, 0.5];
      const cells = matrix.cells.map((cell, i) => ({
        ...cell,
        toBaseline: { mean: differences[i] as number, count: 1 },
      }));
      const { page } = await visit(
        await written(`colours-${colorScheme}.html`, runOf({ matrix: { ...matrix, cells } })),
        {
          colorScheme,
        },
      );
      expect(await page.locator('.matrix td[class^=d]').count()).toBe(9);
      expect(await violations(page)).toEqual([]);
    },
  );

  it('fits a phone', async () => {
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
    const pages = [url, await written('hostile-phone.html', runOf({ matrix: crossed([...hostile, 'x'.repeat(300)]) }))];
    for (const each of pages) {
      const { page } = await visit(each, phone);
      expect(await widthOf(page)).toBeLessThanOrEqual(360);
      await page.locator('.matrix td a').first().tap();
      await page.getByRole('dialog').waitFor();
      expect(await page.locator('dialog').evaluate((dialog) => dialog.scrollWidth - dialog.clientWidth)).toBe(0);
      await page.getByRole('button', { name: 'close' }).tap();
      await page.getByRole('dialog').waitFor({ state: 'hidden' });
    }
  });

  it('shows six columns at once, on a phone, on a desk and on paper, and breaks no number', async () => {
    const names = [
      'none',
      'nasty(omega 0.04)',
      'labelOnly',
      'reverseSigmoid(beta 0.9)',
      'adaptiveMisinformation',
      'a + b',
    ];
    const { victims, ...six } = crossed(['labelSmoothing(rate 0.1)', 'kd(temperature 20)'], names);
    const matrix: Matrix = {
      ...six,
      victims: victims.map((victim) => ({ ...victim, toUndefended: { mean: -0.002, count: 2 } })),
      best: names.map((defense, i) => ({
        defense,
        student: 'small',
        attack: six.attacks[i % 2]?.label ?? '',
        accuracy: { mean: 0.9712, count: 2 },
      })),
    };
    const url = await written('six.html', runOf({ matrix }));
    const cutBy = (page: Page): Promise<number> =>
      page
        .locator('.wide')
        .first()
        .evaluate((wide) => wide.scrollWidth - wide.clientWidth);
    const lines = (page: Page): Promise<readonly number[]> =>
      page
        .locator('.matrix :is(tbody, tfoot) .mean')
        .evaluateAll((all) => all.map((each) => each.getClientRects().length));
    const wide = await visit(url, { viewport: { width: 1400, height: 900 } });
    expect([await cutBy(wide.page), new Set(await lines(wide.page))]).toEqual([0, new Set([1])]);
    await wide.page.setViewportSize({ width: 703, height: 1000 });
    await wide.page.emulateMedia({ media: 'print' });
    expect(await widthOf(wide.page)).toBe(703);
    const { page } = await visit(url, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    expect([await cutBy(page), new Set(await lines(page))]).toEqual([0, new Set([1])]);
    expect(await page.locator('.matrix tbody .mean').count()).toBe(12);
    const size = await page
      .locator('.matrix td .mean')
      .first()
      .evaluate((each) => Number.parseFloat(getComputedStyle(each).fontSize));
    expect(size).toBeGreaterThanOrEqual(11);
  });

  it('shows another number, metrics of one’s own among them, in all cells, and sorts by it', async () => {
    const { page, misdeeds } = await visit(await written('number.html', runOf({ matrix: withOwnMetric })));
    await page.getByLabel('Number').selectOption('margin');
    const means = page.locator('.matrix tbody tr td:nth-child(2) .mean');
    expect(await means.allInnerTexts()).toEqual(['0.100', '0.200', '–']);
    expect(await page.getByText('How far the two largest are apart. Higher is better.').count()).toBeGreaterThan(0);
    await sortBy(page, 'none').click();
    expect(await labels(page)).toEqual(['kd', 'scratch', 'partialKd', 'broken']);
    await page.getByLabel('Number').selectOption('');
    expect(await means.allInnerTexts()).toEqual(['93.00', '91.00', '80.00']);
    expect(misdeeds).toEqual([]);
  });

  it('shows the images of every pool: by class, confidence and another net, and two defences side by side', async () => {
    const pool = (defense: string, sure: number) => ({
      file: {
        ...{ attack: 'kd', defense, student: 'small', seed: '0' },
        classes: ['cat', 'dog'],
        count: 8,
        diagnostics: [],
      },
      thumbnails: Array.from({ length: 8 }, (_, i) => ({
        ...picture(i * 30),
        place: i,
        label: i % 2,
        teacher: i < 4 ? sure : 0.2,
        verifier: { label: i < 2 ? i % 2 : 0, probability: 0.5 },
      })),
      links: [],
    });
    const images = [pool('none', 0.95), pool('nasty', 0.6), { ...pool('a|b', 0.5), thumbnails: [] }];
    const { page, misdeeds } = await visit(await written('pools.html', runOf({ matrix: example, images })));
    const shown = page.locator('#pictures img');
    const said = page.locator('#pictured');
    expect(await shown.count()).toBe(8);
    expect(await page.locator('#pool option').allInnerTexts()).toEqual([
      'kd on none, student small, seed 0',
      'kd on nasty, student small, seed 0',
    ]);
    await page.locator('#class').selectOption('dog');
    expect(await said.textContent()).toBe('4 of 8');
    await page.getByLabel('Victim at least this sure').selectOption('0.9');
    expect(await said.textContent()).toBe('2 of 8');
    await page.getByLabel('Another net').selectOption('differs');
    expect(await said.textContent()).toBe('1 of 8');
    await page.getByLabel('Beside it').selectOption('1');
    expect(await shown.count()).toBe(2);
    expect(await page.locator('#pictures figcaption').allInnerTexts()).toEqual(['dog 95 % | dog 60 %']);
    expect(await violations(page)).toEqual([]);
    expect(misdeeds).toEqual([]);
  });

  it('gives the link to a cell, which opens it', async () => {
    const { page } = await visit(`${url}#cell/small/kd/none`, { permissions: ['clipboard-read', 'clipboard-write'] });
    await page.getByRole('button', { name: 'Copy the link to this' }).click();
    await page.getByText('copied', { exact: true }).waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${url}#cell/small/kd/none`);
  });

  it('prints the whole page, or the cell that is open, on white and without tools', async () => {
    const { page } = await visit(url, { colorScheme: 'dark' });
    await page.emulateMedia({ media: 'print' });
    await page.evaluate(() => window.dispatchEvent(new Event('beforeprint')));
    expect(await page.locator('details:not([open])').count()).toBe(0);
    expect(await page.locator('.tools:visible').count()).toBe(0);
    expect(
      await page
        .locator('.wide')
        .first()
        .evaluate((wide) => wide.scrollHeight - wide.clientHeight),
    ).toBe(0);
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe('rgb(255, 255, 255)');
    await page.evaluate(() => {
      location.hash = '#cell/small/kd/none';
    });
    await page.getByRole('dialog').waitFor();
    expect(await page.locator('main').isVisible()).toBe(false);
    expect(await page.locator('.share').isVisible()).toBe(false);
  });

  it('takes names for what they are', async () => {
    const { page, misdeeds } = await visit(await written('hostile.html', runOf({ matrix: crossed(hostile) })));
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe(hostile[0]);
    for (const cell of [0, 3, 7].map((i) => page.locator('.matrix td a').nth(11 * i))) {
      await cell.click();
      await page.getByRole('dialog').waitFor();
      await page.keyboard.press('Escape');
    }
    await page.getByLabel('Filter by attack or defence').fill('</script>');
    expect(misdeeds).toEqual([]);
    expect(await violations(page)).toEqual([]);
  });

  it('opens and sorts a thousand cells', async () => {
    const names = (letter: string, count: number) => Array.from({ length: count }, (_, i) => `${letter}${i}`);
    const { page, misdeeds } = await visit(
      await written('thousand.html', runOf({ matrix: crossed(names('attack', 50), names('defense', 20)) })),
    );
    expect(await page.locator('.matrix td a').count()).toBe(1000);
    await sortBy(page, 'defense7').click();
    const values = await page
      .locator('.matrix tbody tr td:nth-child(9)')
      .evaluateAll((cells) => cells.map((cell) => Number((cell as HTMLElement).dataset.value)));
    expect(values).toEqual([...values].sort((a, b) => b - a));
    await page.getByLabel('Filter by attack or defence').fill('attack7 defense7');
    expect(await page.locator('#count').textContent()).toBe('1 of 1000 cells');
    expect(misdeeds).toEqual([]);
  });

  it('shows five hundred images of a cell, and loads none before they are looked at', async () => {
    const source = (i: number) =>
      `data:image/png;base64,${pictureToPng({ width: 32, height: 32, pixels: new Uint8Array(3 * 32 ** 2).fill(i % 256) }).toString('base64')}`;
    const classes = Array.from({ length: 200 }, (_, i) => `class ${i}`);
    const images = ['0', '1'].map((seed) => ({
      file: { attack: 'kd', defense: 'none', student: 'small', seed, classes, count: 300, diagnostics: [] },
      thumbnails: Array.from({ length: 250 }, (_, i) => ({
        source: source(i),
        place: i,
        width: 32,
        height: 32,
        label: i % 200,
        teacher: 0.5,
      })),
      links: [],
    }));
    const { page, misdeeds } = await visit(await written('images.html', runOf({ matrix: example, images })));
    // The first pool is in the gallery.
    expect(await page.locator('#pictures img').count()).toBe(250);
    await page.locator('a[href="#cell/small/kd/none"]').click();
    await page.getByRole('dialog').waitFor();
    expect(await page.locator('.thumbnails img[loading=lazy]').count()).toBe(500);
    const last = page.locator('.thumbnails img').last();
    await last.scrollIntoViewIfNeeded();
    expect(await last.evaluate((each: HTMLImageElement) => each.decode().then(() => each.naturalWidth))).toBe(32);
    expect(misdeeds).toEqual([]);
  });

  const chart: DrawnChart = {
    name: 'omega',
    title: 'By omega',
    description: 'accuracy </script> by omega',
    spec: {
      $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
      data: { values: [0, 1, 2].map((omega) => ({ omega, accuracy: 1 - omega / 4, note: '</script>' })) },
      mark: { type: 'line', point: true, tooltip: true },
      encoding: {
        x: { field: 'omega', type: 'quantitative' },
        y: { field: 'accuracy', type: 'quantitative', scale: { zero: false } },
      },
    },
    svg: '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>',
  };

  it('draws charts that can be pointed at, under its own strict policy', async () => {
    const { page, misdeeds } = await visit(await written('charts.html', runOf({ charts: [chart] })));
    await page.locator('.paper svg').waitFor();
    expect(await violations(page)).toEqual([]);
    await page
      .locator('.paper path[aria-roledescription="point"], .paper .mark-symbol path')
      .first()
      .hover({ force: true });
    await page.locator('#vg-tooltip-element.visible').waitFor();
    expect(misdeeds).toEqual([]);
  });

  it('shows its tables, and charts as they were drawn, without scripts', async () => {
    const { page } = await visit(await written('still.html', runOf({ matrix: example, charts: [chart] })), {
      javaScriptEnabled: false,
    });
    expect(await page.locator('.matrix td a').count()).toBe(10);
    const drawn = await page.locator('.paper img').boundingBox();
    expect([drawn?.width, drawn?.height]).toEqual([40, 20]);
  });

  it('can be printed', async () => {
    const { page } = await visit(url);
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('.tools:visible').count()).toBe(0);
    expect((await page.pdf()).length).toBeGreaterThan(1000);
  });

  it('follows a run that is served, and stays as it is looked at', async () => {
    const run = await writeRun('live');
    const server = await serve(run, { port: 0, host: '127.0.0.1' });
    try {
      const { page, misdeeds } = await visit(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      await page.getByText('live: last change at').waitFor();
      await page.getByLabel('Filter by attack or defence').fill('kd');
      await sortBy(page, 'none').click();
      await page.locator('a[href="#cell/small/kd/none"]').focus();
      const cells = withSource.cells.map((cell) => ({ ...cell, accuracy: { mean: 0.4242, count: 1 } }));
      await writeFile(join(run, 'aside'), JSON.stringify({ ...withSource, cells }));
      await rename(join(run, 'aside'), join(run, 'matrix.json'));
      await page.locator('.matrix td a:visible', { hasText: '42.42' }).first().waitFor();
      expect(await labels(page)).toEqual(['kd', 'partialKd']);
      expect(await page.locator('.matrix thead th').nth(1).getAttribute('aria-sort')).toBe('descending');
      expect(await page.evaluate(() => document.activeElement?.getAttribute('href'))).toBe('#cell/small/kd/none');
      await page.keyboard.press('Enter');
      const image = page.getByRole('dialog').locator('.thumbnails img').first();
      expect(await image.evaluate((each: HTMLImageElement) => each.decode().then(() => each.naturalWidth))).toBe(8);
      expect(misdeeds).toEqual([]);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});
