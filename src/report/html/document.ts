import { createHash } from 'node:crypto';
import { html, Markup, type Part } from './markup.js';
import { style } from './style.js';

const hashed = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** What a page may do: run its own scripts, and show pictures and be told things from where it says; nothing else. */
export const policyOf = ({
  scripts = [],
  images = 'data:',
  connect,
}: {
  readonly scripts?: readonly string[];
  readonly images?: string;
  readonly connect?: string | undefined;
} = {}): string =>
  [
    "default-src 'none'",
    ...(scripts.length === 0 ? [] : [`script-src ${scripts.map(hashed).join(' ')}`]),
    `style-src ${hashed(style)}`,
    `img-src ${images}`,
    ...(connect === undefined ? [] : [`connect-src ${connect}`]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');

/** What a page is, around what it shows. */
export const documentOf = (title: string, policy: string, body: Part): string =>
  html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="icon" href="data:,">
<title>${title} · undistill</title>
<style>${new Markup(style)}</style>
</head>
<body>${body}
</body>
</html>
`.text;
