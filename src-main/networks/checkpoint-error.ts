// The error of everything that reads checkpoints: a file that cannot be used as a model, said in words.

/** A checkpoint that cannot be used. The message names the file, what was expected, what came, and what to do. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly file: string;

  constructor(file: string, message: string, cause?: unknown) {
    super(`${file}: ${message}`, { cause });
    this.file = file;
  }
}
