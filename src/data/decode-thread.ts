import { parentPort } from 'node:worker_threads';
import { decodeLot, END, type Lot } from './decode-lot.js';

// A thread of `decoding-threads.ts`: answers lots in the order in which they come. Once its port is closed, nothing keeps
// the thread alive.
parentPort?.on('message', (lot: Lot | typeof END) => {
  if (lot === END) return parentPort?.close();
  const found = decodeLot(lot);
  const pixels = found.flatMap((each) => ('pixels' in each ? [each.pixels.buffer as ArrayBuffer] : []));
  parentPort?.postMessage(found, pixels);
});
