// What can go wrong, as a value that crosses processes: an Error keeps neither its class nor its fields on the way.

export type FailureKind =
  /** The request itself is wrong: a size, a name, a file that is not there. The user can correct it. */
  | 'bad-request'
  /** A model, LoRA or picture file is damaged, incomplete or of the wrong kind. */
  | 'bad-file'
  /** No device could run it, or the device failed. */
  | 'device'
  | 'out-of-memory'
  /** The disk is full or not writable. */
  | 'disk'
  /** The numbers broke down (NaN): names the stage. */
  | 'not-a-number'
  | 'cancelled'
  /** The engine process ended unexpectedly. */
  | 'crashed'
  /** A mistake of ours; `details` holds the stack for a bug report. */
  | 'internal';

export interface Failure {
  readonly kind: FailureKind;
  /** What was expected, what came, what to do: complete sentences for the user. */
  readonly message: string;
  readonly file?: string;
  readonly details?: string;
}

/** A failure on its way through code that throws; turned into its `failure` value at the border. */
export class FailureError extends Error {
  override name = 'FailureError';
  readonly failure: Failure;

  constructor(failure: Failure, cause?: unknown) {
    super(failure.message, { cause });
    this.failure = failure;
  }
}
