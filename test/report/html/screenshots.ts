// The pictures of a report in docs/pictures/: npm run screenshots -- RUN, where RUN is the folder of a run of the quickstart.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openBrowser } from './browser.js';

const views = [
  { name: 'wide', width: 1280, height: 1440, hash: '', scheme: 'light', at: 'body' },
  {
    name: 'phone',
    width: 360,
    height: 740,
    hash: '#cell/leNet5Half/deepInversion/nasty',
    scheme: 'dark',
    at: '.seeds',
  },
] as const;

const url = pathToFileURL(resolve(process.argv[2] ?? 'runs/quickstart', 'report.html')).href;
const browser = await openBrowser();
for (const { name, width, height, hash, scheme, at } of views) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce' });
  await page.goto(`${url}${hash}`);
  await page
    .locator(at)
    .first()
    .evaluate((element) => element.scrollIntoView());
  await page.screenshot({ path: `docs/pictures/report-${name}.png` });
  await page.close();
}
await browser.close();
