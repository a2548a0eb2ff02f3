import { realpath } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { hostname } from 'node:os';
import { extname, join, sep } from 'node:path';
import { FailureError, failure, showFailure, toFailure } from '../core/errors.js';
import { isFile, readPlain } from '../core/files.js';
import { type Report, report } from '../report/html/report.js';
import { shownWhole } from './paths.js';
import { type RunReader, runReader } from './report-run.js';
import { imageFiles, runFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface ServeOptions {
  readonly port: number;
  readonly host: string;
}

/** Milliseconds between two looks for something new, while somebody watches. */
const lookEvery = 1000;

const types: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.gif': 'image/gif',
  '.csv': 'text/csv; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.json': 'application/json',
  '.tex': 'text/plain; charset=utf-8',
};

const headers = {
  'cache-control': 'no-store',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** Says no to a request. */
class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Whether a request was meant for this server. A page elsewhere can make its own name stand for this machine, and would
 * then be asked for by that name; nobody can do so with an address.
 */
export const isOurs = (asked: string | undefined, host: string): boolean => {
  const named = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(asked ?? '');
  const name = (named?.[1] ?? named?.[2] ?? '').toLowerCase();
  return isIP(name) !== 0 || ['localhost', host.toLowerCase(), hostname().toLowerCase()].includes(name);
};

/** The parts of an address's path. Refuses what could name something outside. */
export const partsOf = (url: string): readonly string[] => {
  let parts: readonly string[];
  try {
    parts = (url.split(/[?#]/)[0] as string).split('/').slice(1).map(decodeURIComponent);
  } catch {
    throw new Refusal(400, 'The address is malformed.');
  }
  if (parts.some((part) => /[/\\\0]/.test(part) || part.startsWith('.')))
    throw new Refusal(404, 'There is no such file here.');
  return parts;
};

/** The file of a run that a path names: a table, or a picture among the synthesised images. */
const fileOf = async (folder: string, parts: readonly string[]): Promise<{ path: string; type: string }> => {
  const last = parts.at(-1) as string;
  const type = types[extname(last)];
  const isTable = parts.length === 1 && last.startsWith('matrix.');
  const isPicture = parts.length > 1 && parts[0] === imageFiles.folder && ['.png', '.gif'].includes(extname(last));
  if (type === undefined || !(isTable || isPicture)) throw new Refusal(404, 'There is no such file here.');
  const path = await realpath(join(folder, ...parts)).catch(() => undefined);
  // A link may lead anywhere, and what has the name of a picture may be a folder or a pipe.
  if (!path?.startsWith((await realpath(folder)) + sep) || !(await isFile(path)))
    throw new Refusal(404, 'There is no such file here.');
  return { path, type };
};

/** The page as it is now, made anew when there is something new. */
const pageOf = (reader: RunReader): (() => Promise<Report>) => {
  let last: { readonly mark: string; readonly page: Promise<Report> } | undefined;
  return async () => {
    const mark = await reader.mark();
    if (last?.mark !== mark) last = { mark, page: reader.read().then((run) => report(run, { live: true })) };
    const { page } = last;
    page.catch(() => {
      last = undefined;
    });
    return page;
  };
};

/** Tells everybody who listens when there is something new. */
const teller = (reader: RunReader) => {
  const listening = new Set<ServerResponse>();
  let mark: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let first: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    const now = await reader.mark().catch(() => mark);
    if (mark !== undefined && now !== mark) for (const each of listening) each.write('event: changed\ndata:\n\n');
    mark = now;
    timer = listening.size === 0 ? undefined : setTimeout(look, lookEvery);
  };
  return {
    add: (response: ServerResponse): void => {
      response.writeHead(200, { ...headers, 'content-type': 'text/event-stream' });
      listening.add(response);
      response.on('close', () => listening.delete(response));
      if (timer === undefined) {
        first ??= look().finally(() => {
          first = undefined;
        });
      }
      // What it shows may be older than this; what changes after the first look is told.
      void (first ?? Promise.resolve()).then(() => response.write('event: changed\ndata:\n\n'));
    },
    end: (): void => {
      clearTimeout(timer);
      for (const each of listening) each.end();
    },
  };
};

/** A server of a run's page that writes nothing. Rejects with a failure of kind `usage` when it cannot listen. */
export const serve = async (folder: string, { port, host }: ServeOptions): Promise<Server> => {
  const reader = runReader(folder, { embed: 0 });
  const page = pageOf(reader);
  const events = teller(reader);

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!isOurs(request.headers.host, host)) throw new Refusal(421, 'This server is not the one that was asked for.');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      throw new Refusal(405, 'There is nothing to do here but to look.');
    }
    const parts = partsOf(request.url ?? '');
    const isHead = request.method === 'HEAD';
    const send = (type: string, content: string | Buffer, more: Readonly<Record<string, string>> = {}): void => {
      response.writeHead(200, {
        ...headers,
        'content-type': type,
        'content-length': Buffer.byteLength(content),
        ...more,
      });
      response.end(isHead ? undefined : content);
    };
    if (parts.length === 1 && parts[0] === '') {
      const { html, policy } = await page();
      send('text/html; charset=utf-8', html, { 'content-security-policy': `${policy}; frame-ancestors 'none'` });
    } else if (parts.length === 1 && parts[0] === 'events' && !isHead) {
      events.add(response);
    } else {
      const { path, type } = await fileOf(folder, parts);
      send(type, await readPlain(path));
    }
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      const status = error instanceof Refusal ? error.status : 500;
      const said = error instanceof Refusal ? error.message : showFailure(toFailure('store')(error));
      if (!response.headersSent)
        response.writeHead(status, { ...headers, 'content-type': 'text/plain; charset=utf-8' });
      response.end(`${said}\n`);
    });
  });
  server.on('close', events.end);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what = error.code === 'EADDRINUSE' ? `port ${port} is taken` : error.message;
      const remedy = 'Choose another with --port, or --port 0 for any that is free.';
      reject(new FailureError(failure('usage', what, { where: 'serve', remedy })));
    });
    server.listen(port, host, resolve);
  });
  return server;
};

/** Serves a run's page until it is stopped. Gives the exit code. */
export const serveCommand = async (run: string, options: ServeOptions, out: Terminal = terminal()): Promise<number> => {
  const folder = await runFolder(run, 'serve');
  const server = await serve(folder, options);
  const { address, port, family } = server.address() as AddressInfo;
  out.log(`${shownWhole(folder)}: http://${family === 'IPv6' ? `[${address}]` : address}:${port}/ (Ctrl-C ends it)`);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  server.close();
  server.closeAllConnections();
  return 0;
};
