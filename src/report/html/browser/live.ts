/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
// How a page follows a run: the server says when there is something new, and the parts that differ are replaced.

/** What a reader changed on an element. */
const stateOf = (element: Element): object => {
  if (element instanceof HTMLDetailsElement) return { open: element.open };
  if (element instanceof HTMLInputElement || element instanceof HTMLSelectElement) return { value: element.value };
  return { scrollLeft: element.scrollLeft, scrollTop: element.scrollTop };
};

const changeable = 'details, input, select, .wide, .paper';
const focusable = 'a, button, input, select, summary, [tabindex]';

/** Replaces what is in an element. What was typed, unfolded and scrolled in it stays so. */
const replace = (element: Element, content: Iterable<Node>): void => {
  const states = [...element.querySelectorAll(changeable)].map(stateOf);
  element.replaceChildren(...content);
  [...element.querySelectorAll(changeable)].forEach((each, i) => {
    Object.assign(each, states[i]);
  });
};

/** Does something that makes elements anew. The one like that which had the focus gets it. */
const keepingFocus = (act: () => void): void => {
  const focused = document.activeElement as HTMLElement | null;
  const address = focused?.getAttribute('href');
  const index = focused === null ? -1 : [...document.querySelectorAll(focusable)].indexOf(focused);
  act();
  if (focused === document.activeElement) return;
  const again = address
    ? document.querySelector<HTMLElement>(`[href="${CSS.escape(address)}"]`)
    : document.querySelectorAll<HTMLElement>(focusable)[index];
  again?.focus({ preventScroll: true });
};

/** Follows a run, and says so in `status`; `renewed` is called when parts of the page are new. */
export const follow = (status: HTMLElement, renewed: () => void): void => {
  const parts = new Map(
    [...document.querySelectorAll<HTMLElement>('[data-part]')].map((part) => [part.dataset.part, part]),
  );
  /** Each part as it came: on the page it is sorted, filtered and drawn. */
  const sources = new Map([...parts].map(([name, part]) => [name, part.innerHTML]));

  const renew = (fresh: Document): void => {
    for (const part of fresh.querySelectorAll<HTMLElement>('[data-part]')) {
      const { part: name } = part.dataset;
      const old = parts.get(name);
      if (old === undefined || sources.get(name) === part.innerHTML) continue;
      sources.set(name, part.innerHTML);
      replace(old, part.childNodes);
    }
    renewed();
    document.dispatchEvent(new Event('renewed'));
  };

  const said = (text: string, lost: boolean): void => {
    status.textContent = `${text} ${new Date().toLocaleTimeString()}`;
    status.classList.toggle('lost', lost);
  };
  const update = async (): Promise<void> => {
    const answer = await fetch(location.pathname, { cache: 'no-store' });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    keepingFocus(() => renew(fresh));
    said('live: last change at', false);
  };
  let last = Promise.resolve();
  const events = new EventSource('events');
  events.addEventListener('changed', () => {
    last = last.then(update).catch(() => undefined);
  });
  events.addEventListener('error', () => said('not live: undistill serve is not heard of since', true));
};
