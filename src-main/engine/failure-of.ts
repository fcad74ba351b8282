// Thrown errors as failures of the contract. Library classes are told by their `name`, so that no layer below has to know
// the contract, and an error that crossed a process or a bundle is understood too.
import { FailureError, type Failure, type FailureKind } from '../contract/failure.ts';

/** Kind by the class name of library errors; what the message says is for the user already. */
const kinds: Readonly<Record<string, FailureKind>> = {
  SafetensorsError: 'bad-file',
  CheckpointError: 'bad-file',
  ExpertError: 'bad-file',
  WeightShapeError: 'bad-file',
  GateError: 'bad-file',
  WeightTextError: 'bad-request',
  PictureError: 'bad-file',
  JsonError: 'bad-file',
  FileNamePatternError: 'bad-request',
  WriteError: 'disk',
  RuntimeFailure: 'device',
};

/** System error codes of a file that was asked for, or of the disk it lies on, with what they mean in words. */
const systemErrors: Readonly<Record<string, readonly [FailureKind, string]>> = {
  ENOENT: ['bad-request', 'There is no such file or folder. Check the path.'],
  ENOTDIR: ['bad-request', 'A part of the path is a file where a folder is needed. Check the path.'],
  EEXIST: ['bad-request', 'A file has this name where a folder is needed. Choose another name.'],
  EISDIR: ['bad-request', 'This is a folder where a file is needed. Check the path.'],
  ENAMETOOLONG: ['bad-request', 'The name is too long. Choose a shorter one.'],
  EACCES: ['disk', 'This account may not use it. Change its permissions or choose another place.'],
  EPERM: ['disk', 'This account may not use it. Change its permissions or choose another place.'],
  EROFS: ['disk', 'The disk is read-only. Choose another place.'],
  ENOSPC: ['disk', 'The disk is full. Free some space or choose another disk.'],
  EDQUOT: ['disk', 'The disk space of this account is used up. Free some space or choose another disk.'],
  EFBIG: ['disk', 'The file is larger than this disk allows. Choose another disk.'],
  EIO: ['disk', 'The disk reports an error. Check its cable and health.'],
  EMFILE: ['disk', 'Too many files are open on this system. Close other programs and try again.'],
  ENOMEM: ['out-of-memory', 'The system has no memory left. Close other programs and try again.'],
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
  const system = systemErrors[textField(error, 'code') ?? ''];
  return {
    kind,
    message: system === undefined ? error.message : `${file === undefined ? '' : `${file}: `}${system[1]}`,
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
  return code === undefined ? undefined : systemErrors[code]?.[0];
}

function textField(error: Error, name: string): string | undefined {
  const value = (error as unknown as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}
