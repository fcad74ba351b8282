// The queue on disk: one JSON file. A damaged one is moved aside and said, what can be read of it is kept.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Failure } from '../contract/failure.ts';
import { generateRequestSchema, type FinishedPicture, type GenerateRequest } from '../contract/generation.ts';
import { parseJson, setAside } from './damaged-file.ts';
import { writeAtomically } from './write-atomically.ts';

export type JobState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled';

/** A picture, or a batch of them, that was ordered. */
export interface Job {
  readonly id: string;
  /** Its seed is fixed when the job is added, so that every attempt draws the same pictures. */
  readonly request: GenerateRequest & { readonly seed: number };
  readonly state: JobState;
  /** How often it was started. */
  readonly attempts: number;
  readonly pictures: readonly FinishedPicture[];
  readonly failure?: Failure | undefined;
  /** Milliseconds since 1970. */
  readonly addedAt: number;
  readonly endedAt?: number | undefined;
}

export interface StoredQueue {
  readonly paused: boolean;
  readonly jobs: readonly Job[];
}

const version = 1;

const jobSchema = z.object({
  id: z.string().min(1),
  // As it was sent: defaults are filled in by the engine, and may change with the version.
  request: z.custom<Job['request']>(
    (value) => generateRequestSchema.safeParse(value).success && typeof (value as { seed?: unknown }).seed === 'number',
  ),
  state: z.enum(['waiting', 'running', 'done', 'failed', 'cancelled']),
  attempts: z.number().int().min(0),
  pictures: z.array(
    z.object({ path: z.string(), seed: z.number().int(), width: z.number().int(), height: z.number().int() }),
  ),
  failure: z.custom<Failure>((value) => typeof value === 'object' && value !== null && 'message' in value).optional(),
  addedAt: z.number(),
  endedAt: z.number().optional(),
});

const fileSchema = z.object({ version: z.literal(version), paused: z.boolean(), jobs: z.array(z.unknown()) });

export const queueFileName = 'queue.json';

/** What lies in `folder`: the queue, and a sentence for the user when not all of it could be read. */
export async function readQueueFile(
  folder: string,
): Promise<{ readonly queue: StoredQueue; readonly message: string | undefined }> {
  const path = join(folder, queueFileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return { queue: { paused: false, jobs: [] }, message: undefined };
    }
    throw error;
  }
  const file = fileSchema.safeParse(parseJson(text));
  const jobs = (file.data?.jobs ?? []).flatMap((job): Job[] => {
    const read = jobSchema.safeParse(job);
    return read.success ? [read.data] : [];
  });
  const unreadable = file.success ? file.data.jobs.length - jobs.length : undefined;
  const queue = { paused: file.data?.paused ?? false, jobs };
  if (unreadable === 0) return { queue, message: undefined };
  const aside = await setAside(path);
  const what =
    unreadable === undefined
      ? `The queue in ${path} is damaged or of another version; it starts empty.`
      : `${unreadable} of ${file.data!.jobs.length} jobs of the queue in ${path} could not be read; the others were kept.`;
  return { queue, message: `${what} The file was kept as ${aside}. Finished pictures are not touched.` };
}

/** Puts `queue` in `folder`; on the disk when it resolves. */
export async function writeQueueFile(folder: string, { paused, jobs }: StoredQueue): Promise<void> {
  await writeAtomically(join(folder, queueFileName), `${JSON.stringify({ version, paused, jobs }, undefined, 1)}\n`);
}
