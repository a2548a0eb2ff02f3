import { parentPort } from 'node:worker_threads';
import { decodeLot, type Lot } from './decode-lot.js';

// A thread of `decoding-threads.ts`: answers lots in the order in which they come.
parentPort?.on('message', (lot: Lot) => {
  const found = decodeLot(lot);
  const pixels = found.flatMap((each) => ('pixels' in each ? [each.pixels.buffer as ArrayBuffer] : []));
  parentPort?.postMessage(found, pixels);
});
