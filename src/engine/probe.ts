// Run as a program by the doctor: loads the engine and tests it, in a process that may die of it. One line of JSON comes out.
import { loadEngine } from './engine.js';
import { selfTest } from './self-test.js';

const engine = await loadEngine({ say: () => undefined });
process.stdout.write(`${JSON.stringify({ engine, test: selfTest(engine.native) })}\n`);
