// Orders, the queue, and news of both: the part of the window's language that draws.
import { z } from 'zod';
import type { Failure } from './failure.ts';
import { generateRequestSchema, type GenerateEvent } from './generation.ts';

/**
 * A picture as the artist orders it: the host says where it is written, and which model it is when none is named. The picture
 * to start from is named by its id.
 */
export const drawOrderSchema = generateRequestSchema
  .omit({ output: true, model: true })
  .extend({ model: generateRequestSchema.shape.model.optional() });
export type DrawOrder = z.input<typeof drawOrderSchema>;

const jobSchema = z.strictObject({ id: z.string().min(1).max(100) });

export const drawingMethodSchemas = {
  /** Puts a drawing at the end of the queue. */
  draw: drawOrderSchema,
  /** Stops a running or waiting job; its finished pictures are kept. */
  cancel: jobSchema,
  /** Puts a job that failed or was cancelled back into the queue. */
  retry: jobSchema,
  /** Takes a job off the list; its pictures stay on the disk. */
  remove: jobSchema,
  /** Takes all jobs that are over off the list; their pictures stay on the disk. */
  clearEnded: z.strictObject({}),
  /** Takes all jobs off the list that have not begun. */
  clearWaiting: z.strictObject({}),
  /** Puts a job at a place of the list, from 0. */
  move: jobSchema.extend({ index: z.number().int().min(0).max(100_000) }),
  pause: z.strictObject({ paused: z.boolean() }),
} as const;

export interface DrawingMethods {
  draw: { params: DrawOrder; result: WindowJob };
  cancel: { params: z.input<typeof jobSchema>; result: null };
  retry: { params: z.input<typeof jobSchema>; result: null };
  remove: { params: z.input<typeof jobSchema>; result: null };
  clearEnded: { params: z.input<typeof drawingMethodSchemas.clearEnded>; result: null };
  clearWaiting: { params: z.input<typeof drawingMethodSchemas.clearWaiting>; result: null };
  move: { params: z.input<typeof drawingMethodSchemas.move>; result: null };
  pause: { params: z.input<typeof drawingMethodSchemas.pause>; result: null };
}

/** A finished picture; it is fetched from `pictures/<id>`. */
export interface WindowPicture {
  readonly id: string;
  /** Of its file. */
  readonly name: string;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
}

/** A job of the queue. */
export interface WindowJob {
  readonly id: string;
  readonly order: DrawOrder & { readonly seed: number };
  readonly state: 'waiting' | 'running' | 'done' | 'failed' | 'cancelled';
  readonly pictures: readonly WindowPicture[];
  readonly failure?: Failure | undefined;
}

/** Finished pictures come with their job. */
export type DrawEvent = Exclude<GenerateEvent, { readonly kind: 'picture' }>;

export type DrawingNews =
  /** A job was added, or its state, pictures or failure changed. */
  | { readonly kind: 'job'; readonly job: WindowJob }
  | { readonly kind: 'removed'; readonly id: string }
  | { readonly kind: 'order'; readonly ids: readonly string[] }
  | { readonly kind: 'paused'; readonly paused: boolean }
  | { readonly kind: 'progress'; readonly id: string; readonly event: DrawEvent };
