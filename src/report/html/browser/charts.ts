/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
// The script of a report that has charts: draws them where their specifications stand, and lets them be pointed at.
import embed from 'vega-embed';

const draw = async (specification: HTMLElement): Promise<void> => {
  const paper = specification.parentElement?.querySelector<HTMLElement>('.paper');
  if (paper == null || specification.dataset.drawn !== undefined) return;
  specification.dataset.drawn = '';
  const drawing = document.createElement('div');
  // What is drawn already stays where this fails. Expressions are interpreted, so that the page needs no eval.
  await embed(drawing, JSON.parse(specification.textContent ?? ''), {
    actions: false,
    ast: true,
    defaultStyle: false,
    renderer: 'svg',
    tooltip: { disableDefaultStyle: true },
  });
  const svg = drawing.querySelector('svg');
  svg?.setAttribute('role', 'img');
  svg?.setAttribute('aria-label', specification.dataset.chart ?? '');
  paper.replaceChildren(drawing);
};

const drawAll = (): void => {
  for (const each of document.querySelectorAll<HTMLElement>('script[data-chart]')) {
    draw(each).catch((error) => console.warn('a chart stays as it was drawn:', error));
  }
};

drawAll();
document.addEventListener('renewed', drawAll);
