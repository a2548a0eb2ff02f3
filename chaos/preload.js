// Loaded into each process of a run before anything else, and so plain JavaScript. Counts the changes that a process makes below a
// folder, by operation; has it killed, or the disk refuse, at one of them (`CHAOS_FAULT`); and says at its end what it counted
// and took (`CHAOS_COUNTS`, a file, a line each process).
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** @typedef {import('./faults.js').Fault} Fault */

/** Of each function that changes something: which of its arguments are paths. */
const operations = {
  open: 1,
  writeFile: 1,
  appendFile: 1,
  mkdir: 1,
  rm: 1,
  rmdir: 1,
  unlink: 1,
  utimes: 1,
  rename: 2,
  link: 2,
  cp: 2,
  copyFile: 2,
};

const process_ = process.argv[2] === 'worker' ? 'worker' : 'main';
const counts = {};
/** Before anything is wrapped. */
const append = fs.appendFileSync;
const write = fs.writeFileSync;

const watch = (below, fault) => {
  const isBelow = (path) => typeof path === 'string' && path.startsWith(below);

  const die = () => {
    write(fault.struck, '');
    if (fault.both && process_ === 'worker') process.kill(process.ppid, 'SIGKILL');
    process.kill(process.pid, 'SIGKILL');
  };
  const refuse = (operation, path) => {
    write(fault.struck, '');
    const error = new Error(`${fault.code}: refused, ${operation} '${path}'`);
    return Object.assign(error, { code: fault.code, syscall: operation, path });
  };

  /** What is to happen at this operation, which is counted. */
  const due = (operation) => {
    counts[operation] = (counts[operation] ?? 0) + 1;
    if (fault === undefined || fault.who !== process_ || !fault.operations.includes(operation)) return undefined;
    fault.seen = (fault.seen ?? 0) + 1;
    if (fault.act === 'refuse' ? fault.seen < fault.at : fault.seen !== fault.at) return undefined;
    return fault.act;
  };

  const around = (operation, path, act, half) => {
    const now = due(operation);
    if (now === 'before') die();
    if (now === 'half') {
      half();
      die();
    }
    if (now === 'refuse') throw refuse(operation, path);
    if (now !== 'after') return act();
    // Also after one that fails, such as a folder that is there.
    let result;
    try {
      result = act();
    } finally {
      if (!(result instanceof Promise)) die();
    }
    return result.finally(die);
  };

  const halfOf = (content) => content.slice(0, content.length >> 1);

  const isReading = (name, args) =>
    name.startsWith('open') && [undefined, 'r', 0, fs.constants.O_NONBLOCK].includes(args[1]);

  const wrap = (module, name, operation, paths) => {
    const original = module[name];
    if (original === undefined) return;
    module[name] = function (...args) {
      const path = args.slice(0, paths).find(isBelow);
      if (path === undefined || isReading(name, args)) return original.apply(this, args);
      const half = () => operation.startsWith('write') && write(path, halfOf(args[1]));
      const act = () => original.apply(this, args);
      return module === fs
        ? around(operation, path, act, half)
        : asynchronously(() => around(operation, path, act, half));
    };
  };
  const asynchronously = async (act) => act();

  // What is opened writes and flushes by itself.
  const opened = fs.promises.open;
  fs.promises.open = async (...args) => {
    const handle = await opened(...args);
    if (!isBelow(args[0]) || isReading('open', args)) return handle;
    for (const name of ['writeFile', 'write', 'sync', 'close']) {
      const original = handle[name].bind(handle);
      handle[name] = (...given) =>
        asynchronously(() =>
          around(
            name,
            args[0],
            () => original(...given),
            () => name.startsWith('write') && fs.writeSync(handle.fd, halfOf(given[0])),
          ),
        );
    }
    return handle;
  };

  for (const [name, paths] of Object.entries(operations)) {
    wrap(fs.promises, name, name, paths);
    wrap(fs, `${name}Sync`, `${name}Sync`, paths);
  }
  syncBuiltinESMExports();
};

if (isMainThread && process.env.CHAOS_BELOW !== undefined) {
  const fault = process.env.CHAOS_FAULT;
  watch(process.env.CHAOS_BELOW, fault === undefined ? undefined : JSON.parse(fault));
  const { CHAOS_COUNTS } = process.env;
  if (CHAOS_COUNTS !== undefined)
    process.on('exit', () => {
      const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
      const took = { seconds: (userCPUTime + systemCPUTime) / 1e6, megabytes: maxRSS / 1024 };
      append(CHAOS_COUNTS, `${JSON.stringify({ who: process_, counts, ...took })}\n`);
    });
}
