/** A file or folder inside a source; paths are relative to it, with `/` between the parts. */
export interface Entry {
  readonly path: string;
  readonly kind: 'file' | 'folder';
  /** Bytes; 0 for a folder. */
  readonly size: number;
}

export interface FileContent {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** A folder, a tar, a gzipped tar, a zip or several of them: the same to whoever reads it. Everything rejects with a failure of kind `data`. */
export interface Source {
  /** Absolute. */
  readonly path: string;
  /** Changes with the files: size and time of the archive, or of every file of the folder. */
  readonly stamp: string;
  /** All files and folders, without their content. Names that begin with a dot are left out. */
  list(): Promise<readonly Entry[]>;
  /** The files of `wanted`, in the source's own order, each once; a file that is not there any more is a failure. */
  read(wanted: ReadonlySet<string>): AsyncGenerator<FileContent, void, void>;
}
