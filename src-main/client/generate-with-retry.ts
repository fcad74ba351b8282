// A generate job that survives one crash of the engine: pictures already written are kept, and the second attempt begins
// at the first unfinished one. Picture i of a batch uses seed + i, so the rest of a batch is a batch of its own.
import { FailureError } from '../contract/failure.ts';
import type { FinishedPicture, GenerateEvent, GenerateRequest, GenerateResult } from '../contract/generation.ts';
import type { EngineClient } from './engine-client.ts';

/** What is needed of an EngineClient. */
export type GenerateClient = Pick<EngineClient, 'request'>;

/** How often a job is started before a crash of the engine is its failure. */
export const mostAttempts = 2;

/** Seeds are drawn below 2^32: torch takes no more bits, and A1111 shows no more. */
export const drawSeed = (): number => Math.floor(Math.random() * 2 ** 32);

/** The same request with its seed fixed, so that every attempt draws the same pictures. */
export function withSeed(request: GenerateRequest): GenerateRequest & { readonly seed: number } {
  return { ...request, seed: request.seed ?? drawSeed() };
}

/** What is left of a batch when its first `finished` pictures are done; undefined when nothing is. */
export function remainingRequest(
  request: GenerateRequest & { readonly seed: number },
  finished: number,
): GenerateRequest | undefined {
  const left = (request.batch ?? 1) - finished;
  return left < 1 ? undefined : { ...request, seed: request.seed + finished, batch: left };
}

export interface RetryOptions {
  readonly signal?: AbortSignal;
  /** Pictures of earlier attempts, also of an earlier process. */
  readonly finished?: readonly FinishedPicture[];
  /** Attempts used up before. */
  readonly attempts?: number;
  readonly onEvent?: (event: GenerateEvent) => void;
  /** Before each attempt, with its number from 1. */
  readonly onAttempt?: (attempt: number) => Promise<void> | void;
}

/**
 * Runs `request`, and once more after a crash of the engine. Events count pictures over the whole batch, whatever the
 * attempt. Returns all pictures, earlier ones first; undefined timings mean that no picture was left to draw. Throws a
 * FailureError.
 */
export async function generateWithRetry(
  client: GenerateClient,
  request: GenerateRequest & { readonly seed: number },
  options: RetryOptions = {},
): Promise<{ readonly pictures: readonly FinishedPicture[]; readonly last: GenerateResult | undefined }> {
  const pictures = [...(options.finished ?? [])];
  const batch = request.batch ?? 1;
  for (let attempt = (options.attempts ?? 0) + 1; ; attempt++) {
    const done = pictures.length;
    const rest = remainingRequest(request, done);
    if (rest === undefined) return { pictures, last: undefined };
    await options.onAttempt?.(attempt);
    try {
      const last = await client.request('generate', rest, {
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        onEvent: (event) => {
          if (event.kind === 'picture') pictures.push(event.picture);
          options.onEvent?.(event.kind === 'step' ? { ...event, index: event.index + done, batch } : event);
        },
      });
      return { pictures, last };
    } catch (error) {
      const crashed = error instanceof FailureError && error.failure.kind === 'crashed';
      if (!crashed || attempt >= mostAttempts) throw error;
      options.onEvent?.({ kind: 'warning', message: `${error.message} The job is tried once more.` });
    }
  }
}
