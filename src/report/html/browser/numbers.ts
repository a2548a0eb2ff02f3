/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
// The tables with another number than the accuracy. What they came with is kept at their elements, to be shown again.
import type { Shift } from '../model.js';

const text = (cell: Element, selector: string): HTMLElement | null => cell.querySelector(selector);

/** Sets a text, and keeps the one that was there at first. */
const say = (element: HTMLElement | null, said: string | undefined): void => {
  if (element === null) return;
  element.dataset.first ??= element.textContent ?? '';
  element.textContent = said ?? element.dataset.first;
};

/** Shows a number in all tables; the accuracy where there is none of that name. */
export const showNumber = (name: string): void => {
  const shifts: readonly Shift[] = JSON.parse(document.querySelector('#numbers')?.textContent ?? '[]');
  const shift = shifts.find((each) => each.name === name);
  const cells = document.querySelectorAll<HTMLElement>('.matrix td, .matrix thead th');
  for (const cell of cells) {
    const id = cell.querySelector('a')?.getAttribute('href')?.slice(1);
    const mean = text(cell, '.mean');
    if (id === undefined || mean === null) continue;
    const [value, deviation, sorted] = shift?.cells[id] ?? ['–', '', undefined];
    say(mean, shift && value);
    say(text(cell, '.deviation'), shift && deviation);
    if (cell.tagName === 'TH') continue;
    cell.dataset.accuracy ??= cell.dataset.value ?? '';
    cell.dataset.value = shift === undefined ? cell.dataset.accuracy : String(sorted ?? 'none');
  }
  // Colours, differences and the best attack are the accuracy's.
  for (const each of document.querySelectorAll('.matrix, .legend')) each.classList.toggle('other', shift !== undefined);
  say(document.querySelector('#shown'), shift && `${shift.heading}: ${shift.sentence} A cell opens its details.`);
};
