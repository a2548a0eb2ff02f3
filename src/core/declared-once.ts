import { callers, isOwn } from './callers.js';

/** What was declared so far: `source name`. */
const declared = new Set<string>();

/**
 * Whether a module declares it as it is loaded, and nothing else by that name: then name, options and the module's code tell all. A function
 * may declare something else each time (`const rounded = (digits) => defineDefense({ … })`), by what it was given, which no text says.
 *
 * Looks from where this package was called: to be asked while it declares.
 *
 * @param source the URL of the module
 */
export const isDeclaredOnce = (name: string, source: string): boolean => {
  if (isOwn(source)) return true;
  const isFirst = !declared.has(`${source} ${name}`);
  declared.add(`${source} ${name}`);
  return isFirst && isCalledByLoading();
};

/** Whether a module that Node loads called this package, and no function did. */
const isCalledByLoading = (): boolean => {
  const [, beforeIt] = callers();
  return beforeIt === undefined || beforeIt.startsWith('node:');
};
