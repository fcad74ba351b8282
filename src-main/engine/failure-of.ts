// Thrown errors as failures of the contract. Library classes are told by their `name`, so that no layer below has to know
// the contract, and an error that crossed a process or a bundle is understood too.
import { FailureError, type Failure, type FailureKind } from '../contract/failure.ts';

/** Kind by the class name of library errors; what the message says is for the user already. */
const kinds: Readonly<Record<string, FailureKind>> = {
  SafetensorsError: 'bad-file',
  CheckpointError: 'bad-file',
  WeightShapeError: 'bad-file',
  PictureError: 'bad-file',
  JsonError: 'bad-file',
  FileNamePatternError: 'bad-request',
  WriteError: 'disk',
  RuntimeFailure: 'device',
};

/** System error codes of a file that was asked for or of the disk it lies on. */
const systemKinds: Readonly<Record<string, FailureKind>> = {
  ENOENT: 'bad-request',
  ENOTDIR: 'bad-request',
  EISDIR: 'bad-request',
  ENAMETOOLONG: 'bad-request',
  EACCES: 'disk',
  EPERM: 'disk',
  EROFS: 'disk',
  ENOSPC: 'disk',
  EDQUOT: 'disk',
  EFBIG: 'disk',
  EIO: 'disk',
  EMFILE: 'disk',
  ENOMEM: 'out-of-memory',
};

/** The failure that `error` means to the user; anything unknown is a mistake of ours and keeps its stack. */
export function failureOf(error: unknown): Failure {
  if (error instanceof FailureError) return error.failure;
  if (!(error instanceof Error)) return { kind: 'internal', message: `The engine failed: ${String(error)}` };
  if (error.name === 'AbortError') return cancelled;
  const kind = kindOf(error);
  if (kind === undefined) {
    return {
      kind: 'internal',
      message: `The engine failed unexpectedly: ${error.message} This is a mistake in the program; please report it.`,
      ...(error.stack === undefined ? {} : { details: error.stack }),
    };
  }
  const file = textField(error, 'path') ?? textField(error, 'file');
  return {
    kind,
    message: error.message,
    ...(file === undefined ? {} : { file }),
    ...(error.cause instanceof Error ? { details: error.cause.message } : {}),
  };
}

/** What a cancelled job ends with. */
export const cancelled: Failure = { kind: 'cancelled', message: 'The job was cancelled. Finished pictures were kept.' };

function kindOf(error: Error): FailureKind | undefined {
  if ('outOfMemory' in error && error.outOfMemory === true) return 'out-of-memory';
  // V8 refuses a typed array that the machine cannot hold with a RangeError.
  if (/array buffer allocation failed|invalid (typed )?array (buffer )?length/i.test(error.message))
    return 'out-of-memory';
  const problem = textField(error, 'problem');
  if (error.name === 'PictureError' && problem === 'bad-request') return 'bad-request';
  if (error.name === 'WriteError' && (problem === 'bad-name' || problem === 'taken')) return 'bad-request';
  if (Object.hasOwn(kinds, error.name)) return kinds[error.name];
  const code = textField(error, 'code');
  return code !== undefined && Object.hasOwn(systemKinds, code) ? systemKinds[code] : undefined;
}

function textField(error: Error, name: string): string | undefined {
  const value = (error as unknown as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}
