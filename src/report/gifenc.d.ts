/** The part of gifenc that is used. Colours are [red, green, blue], 0..255. */
declare module 'gifenc' {
  interface Encoder {
    /** One frame: `indices` into its palette, row-major; `delay` in milliseconds. The first frame's size is the file's. */
    writeFrame(
      indices: Uint8Array,
      width: number,
      height: number,
      options: { readonly palette: readonly (readonly number[])[]; readonly delay: number },
    ): void;
    finish(): void;
    bytes(): Uint8Array;
  }

  export const GIFEncoder: () => Encoder;

  /**
   * At most `most` colours for pixels of four bytes each, which fill their buffer. Colours that agree in as many bits are
   * counted as one, in time of the square of their number.
   */
  export const quantize: (
    rgba: Uint8Array,
    most: number,
    options: { readonly format: 'rgb565' | 'rgb444' },
  ) => readonly (readonly number[])[];

  /** The index of a near colour of the palette for each pixel of four bytes. */
  export const applyPalette: (rgba: Uint8Array, palette: readonly (readonly number[])[]) => Uint8Array;
}
