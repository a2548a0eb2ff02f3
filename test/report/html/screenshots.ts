// The pictures of a report in docs/: npm run screenshots -- RUN, where RUN is the folder of a run of the quickstart.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openBrowser } from './browser.js';

const views = [
  { name: 'wide', width: 1280, height: 900, hash: '', scheme: 'light' },
  { name: 'phone', width: 360, height: 740, hash: '#cell/leNet5Half/deepInversion/nasty', scheme: 'dark' },
] as const;

const url = pathToFileURL(resolve(process.argv[2] ?? 'runs/quickstart', 'report.html')).href;
const browser = await openBrowser();
for (const { name, width, height, hash, scheme } of views) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
  await page.goto(`${url}${hash}`);
  await page.screenshot({ path: `docs/report-${name}.png` });
  await page.close();
}
await browser.close();
