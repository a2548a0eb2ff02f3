// `node --import undistill/register file.ts`: what loader.js says.
import { registerLoader } from './loader.js';

await registerLoader();
