// What went wrong, in words for the artist, whatever was thrown.
import { FailureError } from '../../src-main/contract/failure.ts';
import { ConnectionError } from '../bridge.ts';
import { strings } from '../strings.ts';

/** A complete sentence. */
export function wordsOf(error: unknown): string {
  if (error instanceof FailureError) return error.failure.message;
  if (error instanceof ConnectionError) return strings.connection.lost;
  return error instanceof Error ? error.message : String(error);
}
