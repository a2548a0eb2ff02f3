import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { request, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from '../src/cli/serve.js';
import { example } from '../test/report/matrix.js';
import { type Case, type Kind, must, type Random } from './case.js';

const secret = 'a secret of the machine';

/** A server of a run beside which there is something that is nobody's business. */
const serving = async (act: (port: number, server: Server) => Promise<void> | Promise<number>): Promise<number> => {
  const root = process.cwd();
  const run = join(root, 'runs', 'example');
  await mkdir(join(run, 'images', 'none'), { recursive: true });
  await writeFile(join(run, 'matrix.json'), JSON.stringify(example));
  for (const path of ['secret.png', 'matrix.csv', 'runs/secret.png', 'runs/example/notes.txt'])
    await writeFile(join(root, path), secret);
  await symlink(join(root, 'secret.png'), join(run, 'images', 'link.png'));
  await symlink(root, join(run, 'images', 'out'));
  const server = await serve(run, { port: 0, host: '127.0.0.1' });
  try {
    const { port } = server.address() as AddressInfo;
    const tries = await act(port, server);
    const page = await ask(port, '/');
    must('aborted', page.status === 200 && page.body.includes('example'), () => `it answers ${page.status} afterwards`);
    return tries ?? 1;
  } finally {
    server.close();
    server.closeAllConnections();
  }
};

interface Answer {
  readonly status: number | undefined;
  readonly body: string;
}

const ask = (port: number, path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, headers, timeout: 60_000 }, (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
      response.on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer within 60 s')));
    asked.on('error', reject);
    asked.end();
  });

const up = ['..', '%2e%2e', '.%2e', '%252e%252e', '..;', '...', '.', '%c0%ae%c0%ae', '..%00', '\\..', '..%5c'];
const between = ['/', '%2f', '//', '\\', '%5c', '/./', '%252f'];
const ends = [
  'secret.png',
  'matrix.csv',
  'etc/passwd',
  'notes.txt',
  'link.png',
  'out/secret.png',
  '.store/x.png',
  'secret.png%00.png',
  'secret.png?.png',
  'secret.png#.png',
];
const begins = ['/', '/images/', '/images/out/', '/images/none/', '//', '/charts/', 'http://127.0.0.1/'];

/** How many addresses are asked for in one case. */
const addresses = 300;

const traversal: Case['attempt'] = (random: Random) =>
  serving(async (port) => {
    for (let i = 0; i < addresses; i++) {
      const middle = Array.from({ length: random.below(6) }, () => random.of(up) + random.of(between)).join('');
      const path = random.of(begins) + middle + random.of(ends);
      const { status, body } = await ask(port, path);
      must('silent', !body.includes(secret) && !body.includes('root:'), () => `${path} gives what is not the run's`);
      must('silent', status !== undefined && status >= 400 && status < 500, () => `${path} is answered with ${status}`);
    }
    return addresses;
  });

/** Sends bytes as they are, and waits for whatever comes; for at most so many milliseconds. */
const raw = (port: number, bytes: string | Buffer, patience: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let said = '';
    const end = (): void => {
      socket.destroy();
      resolve(said);
    };
    socket.on('data', (data) => {
      said += data;
    });
    socket.on('error', end);
    socket.on('close', end);
    socket.setTimeout(patience, end);
    socket.write(bytes);
  });

const malformed: Case['attempt'] = (random: Random) =>
  serving(async (port) => {
    const lines = [
      ...[
        'GET / HTTP/9.9\r\n\r\n',
        'GET\r\n\r\n',
        '\r\n\r\n',
        'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
        `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      ],
      ...[
        `GET / HTTP/1.1\r\nHost: localhost\r\n${'X: y\r\n'.repeat(5_000)}\r\n`,
        'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx',
      ],
      ...[
        'GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n',
        'GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n',
        'TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n',
        'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
      ],
      ...['GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n'],
      ...[
        'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
        'GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=-1,5-2,99999999999-\r\n\r\n',
      ],
      Buffer.from(Array.from({ length: 500 }, () => random.below(256))).toString('latin1'),
    ];
    for (const each of await Promise.all(lines.map((line) => raw(port, line, 3_000))))
      must('silent', !each.includes(secret), () => `it gives what is not the run's: ${each.slice(0, 200)}`);
    return lines.length;
  });

const slow: Case['attempt'] = () =>
  serving(async (port) => {
    const sockets = Array.from({ length: 200 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
    for (const part of ['GET / HT', 'TP/1.1\r\nHo', 'st: local']) {
      for (const socket of sockets) socket.write(part);
      await sleep(300);
      const { status } = await ask(port, '/');
      must('aborted', status === 200, () => `with slow ones about it answers ${status}`);
    }
    for (const socket of sockets) socket.destroy();
    return sockets.length;
  });

const many: Case['attempt'] = () =>
  serving(async (port) => {
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => ask(port, i % 3 === 0 ? '/' : '/nothing')));
    const wrong = answers.find(({ status }, i) => status !== (i % 3 === 0 ? 200 : 404));
    must('aborted', wrong === undefined, () => `one of many is answered with ${wrong?.status}`);
    return answers.length;
  });

const listeners: Case['attempt'] = () =>
  serving(async (port) => {
    const sockets = Array.from({ length: 200 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
    for (const socket of sockets) socket.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await sleep(500);
    // Half of them go without a word.
    sockets.forEach((socket, i) => {
      if (i % 2 === 0) socket.resetAndDestroy();
    });
    await writeFile(
      join(process.cwd(), 'runs', 'example', 'matrix.json'),
      JSON.stringify({ ...example, about: 'changed' }),
    );
    await sleep(3_000);
    for (const socket of sockets) socket.destroy();
    return sockets.length;
  });

/** Who asks a server of a run for what it has not, or as it does not expect. */
export const server: Kind = {
  name: 'serve',
  about: 'undistill serve under traversal, malformed, slow, many and waiting requests',
  limit: 180,
  takes: 10,
  cases: () => [
    ...Array.from({ length: 6 }, (_, i) => ({ name: `traversal (${i + 1})`, attempt: traversal })),
    ...Array.from({ length: 2 }, (_, i) => ({ name: `malformed requests (${i + 1})`, attempt: malformed })),
    { name: 'slow requests', attempt: slow },
    { name: 'many requests', attempt: many },
    { name: 'many that wait for news', attempt: listeners },
  ],
};
