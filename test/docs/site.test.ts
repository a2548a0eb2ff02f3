import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { dirname, join, resolve } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browserPath, isDemanded, openBrowser } from '../report/html/browser.js';
import { serveSite, siteFolder } from './site.js';

const isBuilt = existsSync(join(siteFolder, 'index.html'));
const isLeftOut = !isDemanded && (browserPath === undefined || !isBuilt);
if (isLeftOut) console.warn('The site is not tested: `npm run docs` builds it, and it needs a Chromium on the PATH.');

describe.skipIf(isLeftOut)('the documentation site', () => {
  let browser: Browser;
  let site: { readonly url: string; readonly server: Server };
  beforeAll(async () => {
    browser = await openBrowser();
    site = await serveSite();
  });
  afterAll(async () => {
    await browser?.close();
    site?.server.close();
  });

  it('opens, leads on, is searched, and asks nobody else for anything', async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(120_000);
    const misdeeds: string[] = [];
    page.on('pageerror', ({ message }) => misdeeds.push(message));
    page.on('request', (request) => {
      if (!request.url().startsWith(site.url) && !request.url().startsWith('data:')) misdeeds.push(request.url());
    });
    page.on('response', (response) => {
      if (response.status() >= 400) misdeeds.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(site.url);
    await page.getByRole('link', { name: 'First steps' }).first().click();
    await page.getByRole('heading', { level: 1, name: 'First steps' }).waitFor();
    await page.getByRole('link', { name: 'A defence', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Write a defence' }).waitFor();
    expect(await page.locator('pre').count()).toBeGreaterThan(5);
    await page.getByRole('button', { name: 'Search' }).first().click();
    await page.getByRole('searchbox').fill('DeepInversion');
    await page.getByRole('option').first().waitFor();
    await page.goto(`${site.url}/docs/architecture.html`);
    const drawn = page.getByRole('img', { name: /^From a step of the attack/ });
    expect(await drawn.evaluate((image: HTMLImageElement) => image.decode().then(() => image.naturalWidth))).toBe(880);
    expect(misdeeds).toEqual([]);
  });

  it('fits a phone', async () => {
    const page = await browser.newPage({ viewport: { width: 360, height: 740 } });
    for (const name of ['docs/first-steps', 'docs/plugins', 'docs/attack', 'docs/architecture', 'results/bench']) {
      await page.goto(`${site.url}/${name}.html`);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBeLessThanOrEqual(360);
    }
  });

  it('has no link to a page, or to a part of one, that is not there', () => {
    const html = new Map<string, string>();
    const read = (path: string): string => {
      const text = html.get(path) ?? (existsSync(path) ? readFileSync(path, 'utf8') : '');
      html.set(path, text);
      return text;
    };
    const pages = ['docs', 'results'].flatMap((folder) =>
      readdirSync(join(siteFolder, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.html'))
        .map((name) => join(siteFolder, folder, name)),
    );
    expect(pages.length).toBeGreaterThan(20);
    const links = pages.flatMap((path) =>
      [...read(path).matchAll(/<a [^>]*href="([^"#:]*)(?:#([^"]+))?"/g)].map(([, to = '', part]) => ({
        path,
        to,
        part,
      })),
    );
    const lost = links.filter(({ path, to, part }) => {
      const named =
        to === '' ? path : to.startsWith('/') ? join(siteFolder, to) : resolve(dirname(path), decodeURIComponent(to));
      const target = to.endsWith('/') ? join(named, 'index.html') : named;
      return part === undefined ? read(target) === '' : !read(target).includes(`id="${decodeURIComponent(part)}"`);
    });
    expect(links.length).toBeGreaterThan(100);
    expect(lost).toEqual([]);
  });
});
