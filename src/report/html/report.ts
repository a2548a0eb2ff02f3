import { bundled } from './bundle.js';
import { documentOf, policyOf } from './document.js';
import { codeInScript, html, Markup } from './markup.js';
import { pageOf } from './model.js';
import type { Run } from './run.js';
import { bodyView } from './view.js';

export interface Report {
  readonly html: string;
  /** What the page may do: run its own scripts and show its own pictures, and nothing from elsewhere. */
  readonly policy: string;
}

/** A run as a page that needs nothing but itself and, where there were too many, the pictures that it links. */
export const report = async (
  run: Run,
  { live = false, title }: { readonly live?: boolean; readonly title?: string | undefined } = {},
): Promise<Report> => {
  const page = pageOf(run, title);
  const scripts = await Promise.all([bundled('page'), ...(page.charts.length > 0 ? [bundled('charts')] : [])]);
  const code = scripts.map(codeInScript);
  const policy = policyOf({
    scripts: code,
    images: live ? "data: 'self'" : "data: 'self' file:",
    connect: live ? "'self'" : undefined,
  });
  const scriptElements = code.map((text) => html`<script>${new Markup(text)}</script>`);
  return { policy, html: documentOf(page.title, policy, html`${bodyView(page, { live })}\n${scriptElements}`) };
};
