import { fashionMnist, mnist } from 'undistill';
import { attacksOn } from './attacks.js';

/** As `attacks.ts`, on Fashion-MNIST, with MNIST's digits as out-of-distribution images. */
export default attacksOn('attacks-fashion', fashionMnist(), mnist());
