/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
// The script of a report: sorting, filtering, other numbers, opening cells, images. It makes no HTML of its own.
import { detailOf } from './details.js';
import { showPictures } from './gallery.js';
import { follow } from './live.js';
import { showNumber } from './numbers.js';
import { matches, next, type Order, ordered, wordsOf } from './table.js';

const dialog = document.querySelector('dialog') as HTMLDialogElement;
const textOf = (element: Element | null | undefined): string => element?.querySelector('bdi')?.textContent ?? '';
const tables = (): readonly HTMLElement[] => [...document.querySelectorAll<HTMLElement>('[data-student]')];

/* Sorting */

const orders = new Map<string, Order>();

const sort = (table: HTMLElement): void => {
  const { column, direction } = orders.get(table.dataset.student ?? '') ?? { column: 0, direction: 'none' };
  table.querySelectorAll('thead th').forEach((head, i) => {
    head.setAttribute('aria-sort', i === column ? direction : 'none');
  });
  const body = table.querySelector('tbody') as HTMLTableSectionElement;
  const rows = [...body.rows].map((row) => ({
    row,
    index: Number(row.dataset.row),
    key: column === 0 ? textOf(row.cells[0]) : Number(row.cells[column]?.dataset.value ?? Number.NaN),
  }));
  body.append(...ordered(rows, direction).map(({ row }) => row));
};

/* Filtering */

const filter = (): void => {
  const words = wordsOf((document.querySelector('#filter') as HTMLInputElement | null)?.value ?? '');
  const student = (document.querySelector('#student') as HTMLSelectElement | null)?.value ?? '';
  let [kept, all] = [0, 0];
  for (const table of tables()) {
    table.hidden = student !== '' && table.dataset.student !== student;
    const heads = [...table.querySelectorAll<HTMLElement>('thead th')];
    const defenses = heads.slice(1).map(textOf);
    const columns = new Set<number>();
    for (const row of table.querySelectorAll('tbody tr') as NodeListOf<HTMLTableRowElement>) {
      const attack = textOf(row.cells[0]);
      const found = defenses.map((defense) => matches(words, attack, defense));
      row.hidden = !found.includes(true);
      found.forEach((one, i) => {
        if (one) columns.add(i + 1);
        row.cells[i + 1]?.classList.toggle('dim', !one);
      });
      all += found.length;
      if (!table.hidden) kept += found.filter(Boolean).length;
    }
    for (const row of table.querySelectorAll('tr') as NodeListOf<HTMLTableRowElement>) {
      for (const [i, cell] of [...row.cells].entries()) cell.hidden = i > 0 && !columns.has(i);
    }
  }
  const count = document.querySelector('#count');
  if (count !== null)
    count.textContent = kept === all ? '' : kept === 0 ? 'nothing matches' : `${kept} of ${all} cells`;
};

/** Shows the number that is chosen, in the order of its values. */
const renumber = (): void => {
  showNumber((document.querySelector('#number') as HTMLSelectElement | null)?.value ?? '');
  tables().forEach(sort);
};

/* Details */

/** What the sheet shows. */
let shown: string | undefined;

/** Shows what the address names. */
const show = async (): Promise<void> => {
  const id = location.hash.slice(1);
  const detail = await detailOf(id);
  // Another was opened meanwhile.
  if (location.hash.slice(1) !== id) return;
  if (detail === undefined) {
    if (dialog.open) dialog.close();
    return;
  }
  if (shown !== detail) dialog.innerHTML = detail;
  shown = detail;
  if (dialog.open) return;
  dialog.showModal();
  dialog.scrollTop = 0;
};

/* Links and paper */

/** Copies the address of what is shown; where the browser does not let pages do so, it is there to be copied by hand. */
const copyLink = async (button: Element): Promise<void> => {
  const said = button.parentElement?.querySelector('output');
  if (said == null) return;
  said.textContent = await navigator.clipboard.writeText(location.href).then(
    () => 'copied',
    () => location.href,
  );
};

/** What is folded up is printed too, and folded up again. */
const folded = new Set<HTMLDetailsElement>();
window.addEventListener('beforeprint', () => {
  for (const each of document.querySelectorAll<HTMLDetailsElement>('details:not([open])')) {
    folded.add(each);
    each.open = true;
  }
});
window.addEventListener('afterprint', () => {
  for (const each of folded) each.open = false;
  folded.clear();
});

/* What is clicked and typed */

document.addEventListener('click', ({ target }) => {
  const element = target as Element;
  const button = element.closest<HTMLElement>('button.sort');
  const table = button?.closest<HTMLElement>('[data-student]');
  if (button && table) {
    const student = table.dataset.student ?? '';
    orders.set(student, next(orders.get(student), Number(button.dataset.column)));
    sort(table);
  }
  // Beside the sheet is the dialog itself.
  if (element === dialog || element.closest('.close')) dialog.close();
  const copy = element.closest('.copy');
  if (copy !== null) void copyLink(copy);
});
document.addEventListener('input', ({ target }) => {
  const element = target as Element;
  if (element.matches('#filter, #student')) filter();
  if (element.matches('#number')) renumber();
  if (element.matches('#choice select')) void showPictures();
});
dialog.addEventListener('close', () => {
  dialog.replaceChildren();
  shown = undefined;
  if (location.hash !== '') history.replaceState(null, '', location.pathname + location.search);
});
window.addEventListener('hashchange', () => void show());

filter();
renumber();
void showPictures();
void show();
const status = document.querySelector<HTMLElement>('.live');
if (status !== null) {
  follow(status, () => {
    renumber();
    filter();
    void showPictures();
    if (dialog.open) void show();
  });
}
