// The error of everything that reads LoRA files and their relatives: a file that cannot be an expert, said in words.

/** An adapter that cannot be used. The message names the file, what was expected, what came, and what to do. */
export class ExpertError extends Error {
  override readonly name = 'ExpertError';
  readonly file: string;

  constructor(file: string, message: string, cause?: unknown) {
    super(`${file}: ${message}`, { cause });
    this.file = file;
  }
}
