import { fileURLToPath } from 'node:url';

/** This package's own modules, compiled or not. */
const here = new URL('../', import.meta.url).href;

const isOwn = (file: string): boolean => file.startsWith(here) || file.startsWith(fileURLToPath(here));

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
  if (source.startsWith(here)) return true;
  const isFirst = !declared.has(`${source} ${name}`);
  declared.add(`${source} ${name}`);
  return isFirst && isCalledByLoading();
};

/** Whether a module that Node loads called this package, and no function did. */
const isCalledByLoading = (): boolean => {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const trace: { stack?: NodeJS.CallSite[] } = {};
  try {
    Error.stackTraceLimit = 20;
    Error.prepareStackTrace = (_, sites) => sites;
    Error.captureStackTrace(trace);
    const files = (trace.stack ?? []).map((site) => site.getFileName() ?? '');
    const [, caller] = files.slice(files.findIndex((file) => !isOwn(file)));
    return caller === undefined || caller.startsWith('node:');
  } finally {
    Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  }
};
