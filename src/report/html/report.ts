import { createHash } from 'node:crypto';
import { bundled } from './bundle.js';
import { codeInScript, html, Markup } from './markup.js';
import { pageOf } from './model.js';
import type { Run } from './run.js';
import { style } from './style.js';
import { bodyView } from './view.js';

export interface Report {
  readonly html: string;
  /** What the page may do: run its own scripts and show its own pictures, and nothing from elsewhere. */
  readonly policy: string;
}

const hashed = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** A run as a page that needs nothing but itself and, where there were too many, the pictures that it links. */
export const report = async (
  run: Run,
  { live = false, title }: { readonly live?: boolean; readonly title?: string | undefined } = {},
): Promise<Report> => {
  const page = pageOf(run, title);
  const scripts = await Promise.all([bundled('page'), ...(page.charts.length > 0 ? [bundled('charts')] : [])]);
  const code = scripts.map(codeInScript);
  const policy = [
    "default-src 'none'",
    `script-src ${code.map(hashed).join(' ')}`,
    `style-src ${hashed(style)}`,
    `img-src data: ${live ? "'self'" : "'self' file:"}`,
    ...(live ? ["connect-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return {
    policy,
    html: html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="icon" href="data:,">
<title>${page.title} · undistill</title>
<style>${new Markup(style)}</style>
</head>
<body>${bodyView(page, { live })}
${code.map((text) => html`<script>${new Markup(text)}</script>`)}
</body>
</html>
`.text,
  };
};
