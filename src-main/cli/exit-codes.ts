// Exit codes, for scripts: 0 done, 2 what was asked is wrong (the user can correct it), 1 it went wrong, 130 cancelled.
import type { Failure, FailureKind } from '../contract/failure.ts';

export const usageExitCode = 2;
export const cancelledExitCode = 130;

const exitCodes: Readonly<Record<FailureKind, number>> = {
  'bad-request': usageExitCode,
  'bad-file': usageExitCode,
  disk: usageExitCode,
  device: 1,
  'out-of-memory': 1,
  'not-a-number': 1,
  crashed: 1,
  internal: 1,
  // As a shell reports Ctrl-C: 128 + SIGINT.
  cancelled: cancelledExitCode,
};

export function exitCodeOf(failure: Failure): number {
  return exitCodes[failure.kind];
}
