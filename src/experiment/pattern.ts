/** What a pattern is, for help and remedies. */
export const patternSaid =
  'whole words of a label (kd is kd and kd(temperature 20), and not dkd), or parts between slashes with * and ? for any text and any character';
