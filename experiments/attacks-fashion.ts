import { fashionMnist, mnist } from 'undistill';
import { attacksOn } from './attacks.js';

/** As `attacks.ts`, on Fashion-MNIST, with MNIST's digits as the images of something else. */
export default attacksOn('attacks-fashion', fashionMnist(), mnist());
