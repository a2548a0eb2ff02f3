/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
// The images of all pools: those that are chosen, taken out of the details of their cells.
import type { Pool } from '../model.js';
import { type Choice, type Pictured, paired } from './choice.js';
import { detailOf } from './details.js';

interface Found extends Pictured {
  readonly image: HTMLImageElement;
}

const chosen = (id: string): string => (document.querySelector(`#${id}`) as HTMLSelectElement | null)?.value ?? '';

/** The images of a pool, in the details of its cell. */
const imagesOf = async ({ cell, seed, classes }: Pool): Promise<readonly Found[]> => {
  const sheet = document.createElement('template');
  sheet.innerHTML = (await detailOf(cell)) ?? '';
  const images = [...sheet.content.querySelectorAll<HTMLImageElement>('img[data-place]')];
  return images
    .filter(({ dataset }) => dataset.seed === seed)
    .map((image) => {
      const { place, label, teacher, verifier } = image.dataset;
      return {
        image,
        place: Number(place),
        label: classes[Number(label)] ?? '',
        teacher: Number(teacher ?? Number.NaN),
        verifier: verifier === undefined ? undefined : classes[Number(verifier)],
      };
    });
};

const figure = (images: readonly HTMLImageElement[], caption: string): HTMLElement => {
  const made = document.createElement('figure');
  const said = document.createElement('figcaption');
  said.textContent = caption;
  made.append(...images, said);
  return made;
};

/** Only pools of one attack, student and seed can be compared image by image. */
const offer = (pool: Pool, pools: readonly Pool[]): void => {
  const select = document.querySelector('#other') as HTMLSelectElement;
  for (const option of select.options) {
    const other = option.value === '' ? undefined : pools[Number(option.value)];
    const alike =
      other !== undefined &&
      other !== pool &&
      (['attack', 'student', 'seed'] as const).every((of) => other[of] === pool[of]);
    option.hidden = option.disabled = other !== undefined && !alike;
  }
  if (select.selectedOptions[0]?.disabled) select.value = '';
};

const percent = (share: number): string => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : '–');

/** How often something was chosen: what was chosen before the last is not shown any more. */
let choices = 0;

/** Shows what is chosen. */
export const showPictures = async (): Promise<void> => {
  choices += 1;
  const turn = choices;
  const place = document.querySelector('#pictures');
  const listed = document.querySelector('#pools')?.textContent;
  if (place === null || listed == null) return;
  const pools: readonly Pool[] = JSON.parse(listed);
  const pool = pools[Number(chosen('pool'))];
  if (pool === undefined) return;
  offer(pool, pools);
  const other = chosen('other') === '' ? undefined : pools[Number(chosen('other'))];
  const choice: Choice = {
    class: chosen('class'),
    sure: Number(chosen('sure')),
    verifier: chosen('verifier') as Choice['verifier'],
  };
  const [all, beside] = await Promise.all([imagesOf(pool), other === undefined ? [] : imagesOf(other)]);
  if (turn !== choices) return;
  const pairs = paired(choice, all, beside);
  place.classList.toggle('pairs', other !== undefined);
  place.replaceChildren(
    ...pairs.map(([own, beside]) =>
      figure(
        beside === undefined ? [own.image] : [own.image, beside.image],
        [own, ...(beside === undefined ? [] : [beside])]
          .map(({ label, teacher }) => `${label} ${percent(teacher)}`)
          .join(' | '),
      ),
    ),
  );
  const count = document.querySelector('#pictured');
  if (count !== null) count.textContent = pairs.length === 0 ? 'no such image' : `${pairs.length} of ${all.length}`;
};
