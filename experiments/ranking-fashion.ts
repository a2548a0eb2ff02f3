import { fashionMnist, mnist } from 'undistill';
import { rankingOn } from './ranking-mnist.js';

/** As `ranking-mnist.ts`, on Fashion-MNIST, with MNIST's digits as out-of-distribution images. */
export default rankingOn('ranking-fashion', fashionMnist(), mnist());
