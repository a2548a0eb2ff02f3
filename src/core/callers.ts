import { fileURLToPath } from 'node:url';

/** This package's own modules, compiled or not. */
const here = new URL('../', import.meta.url).href;

/** Whether a file, by its URL or its path, is a module of this package. */
export const isOwn = (file: string): boolean => file.startsWith(here) || file.startsWith(fileURLToPath(here));

/**
 * The files that this package was called from, the nearest first, by URL or path; `node:…` for Node's own, and '' for code without a file,
 * such as `Array.map`.
 */
export const callers = (): readonly string[] => {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const trace: { stack?: NodeJS.CallSite[] } = {};
  try {
    Error.stackTraceLimit = 20;
    Error.prepareStackTrace = (_, sites) => sites;
    Error.captureStackTrace(trace);
    const files = (trace.stack ?? []).map((site) => (site.getFileName() ?? '').replace(/\?.*$/, ''));
    const outside = files.findIndex((file) => !isOwn(file));
    return outside < 0 ? [] : files.slice(outside);
  } finally {
    Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  }
};
