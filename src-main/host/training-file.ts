// A training on disk: its order, where it stands and its curve, in one JSON file, so that an app that ended in any way finds it
// again. Beside it, how long updates took here, for the next estimate.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parseJson, setAside } from '../client/damaged-file.ts';
import { writeAtomically } from '../client/write-atomically.ts';
import type { Failure } from '../contract/failure.ts';
import type { FinishedPicture } from '../contract/generation.ts';
import type { TrainResult } from '../contract/training.ts';
import {
  trainingOrderSchema,
  type CheckedTrainingOrder,
  type TrainingPoint,
  type TrainingProgress,
  type TrainingState,
} from '../contract/window-training.ts';

export interface Training {
  readonly id: string;
  readonly order: CheckedTrainingOrder & { readonly model: string };
  readonly state: TrainingState;
  readonly stage: string;
  readonly startedAt: number;
  readonly pictures: number;
  readonly progress?: TrainingProgress | undefined;
  /** Every `stride`th update. */
  readonly curve: readonly TrainingPoint[];
  readonly stride: number;
  readonly samples: readonly { readonly step: number; readonly picture: FinishedPicture }[];
  readonly notes: readonly string[];
  readonly failure?: Failure | undefined;
  readonly resumable: boolean;
  readonly result?: TrainResult | undefined;
}

export interface StoredTraining {
  readonly training?: Training | undefined;
  /** Milliseconds of one update for each picture of it, by what they depend on. */
  readonly rates: Readonly<Record<string, number>>;
}

const version = 1;
const mostPoints = 2000;
export const trainingFileName = 'training.json';

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const trainingSchema = z.object({
  id: z.string().min(1),
  order: z.custom<Training['order']>(
    (value) => trainingOrderSchema.safeParse(value).success && typeof (value as { model?: unknown }).model === 'string',
  ),
  state: z.enum(['running', 'pausing', 'paused', 'interrupted', 'failed', 'cancelled', 'finished']),
  stage: z.string(),
  startedAt: z.number(),
  pictures: z.number().int().min(0),
  progress: z.custom<TrainingProgress>(isObject).optional(),
  curve: z.array(z.object({ step: z.number().int(), loss: z.number(), gates: z.array(z.number()).optional() })),
  stride: z.number().int().min(1),
  samples: z.array(
    z.object({
      step: z.number().int(),
      picture: z.object({ path: z.string(), seed: z.number(), width: z.number(), height: z.number() }),
    }),
  ),
  notes: z.array(z.string()),
  failure: z.custom<Failure>((value) => isObject(value) && 'message' in (value as object)).optional(),
  resumable: z.boolean(),
  result: z.custom<TrainResult>((value) => isObject(value) && 'path' in (value as object)).optional(),
});
const fileSchema = z.object({
  version: z.literal(version),
  training: trainingSchema.optional(),
  rates: z.record(z.string(), z.number().positive()),
});

/** What lies in `folder`, and a sentence for the user when it could not be read. */
export async function readTrainingFile(
  folder: string,
): Promise<{ readonly stored: StoredTraining; readonly message: string | undefined }> {
  const path = join(folder, trainingFileName);
  const nothing: StoredTraining = { rates: {} };
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return { stored: nothing, message: undefined };
  const file = fileSchema.safeParse(parseJson(text));
  if (file.success) return { stored: file.data, message: undefined };
  const aside = await setAside(path);
  const message = `What was known of the last training, in ${path}, is damaged or of another version. The file was kept as ${aside}; what was trained before is not touched.`;
  return { stored: nothing, message };
}

/** On the disk when it resolves. Throws the system's error. */
export async function writeTrainingFile(folder: string, stored: StoredTraining): Promise<void> {
  await writeAtomically(join(folder, trainingFileName), `${JSON.stringify({ version, ...stored })}\n`);
}

/**
 * The curve with a new point: what stood at its step or later was undone by a resume and goes. Beyond 2000 points every other
 * one is left out.
 */
export function withPoint(
  { curve, stride }: Pick<Training, 'curve' | 'stride'>,
  point: TrainingPoint,
): Pick<Training, 'curve' | 'stride'> {
  const kept = (curve.at(-1)?.step ?? 0) < point.step ? curve : curve.filter(({ step }) => step < point.step);
  if ((point.step - 1) % stride !== 0) return { curve: kept, stride };
  const longer = [...kept, point];
  if (longer.length <= mostPoints) return { curve: longer, stride };
  return { curve: longer.filter(({ step }) => (step - 1) % (2 * stride) === 0), stride: 2 * stride };
}
