// What a window of the app says to the process behind it (Electron's main process or `atelier serve`), and what it hears. The
// same messages travel over Electron's IPC and over a WebSocket; pictures have ids here, never paths.
import { z } from 'zod';
import type { DevicesReport } from './devices.ts';
import type { Failure } from './failure.ts';
import type { FileReport } from './files.ts';
import { generateRequestSchema, type GenerateEvent } from './generation.ts';

/** A picture as the artist orders it: the host says where it is written, and which model it is when none is named. */
const drawOrderSchema = generateRequestSchema
  .omit({ output: true, model: true })
  .extend({ model: generateRequestSchema.shape.model.optional() });
export type DrawOrder = z.input<typeof drawOrderSchema>;

const jobSchema = z.strictObject({ id: z.string().min(1).max(100) });

/** Parameters of each method, checked where the message enters the host. */
export const windowMethodSchemas = {
  /** What there is to show: asked for once, when a window opens. */
  open: z.strictObject({}),
  /** Puts a drawing at the end of the queue. */
  draw: drawOrderSchema,
  /** Stops a running or waiting job; its finished pictures are kept. */
  cancel: jobSchema,
  /** Puts a job that failed or was cancelled back into the queue. */
  retry: jobSchema,
  /** Takes a job off the list; its pictures stay on the disk. */
  remove: jobSchema,
  move: jobSchema.extend({ index: z.number().int().min(0).max(100_000) }),
  pause: z.strictObject({ paused: z.boolean() }),
  /** Reads headers only; a LoRA is compared with `model`, by default the bundled one. */
  inspect: z.strictObject({ path: z.string().min(1), model: z.string().min(1).optional() }),
  devices: z.strictObject({ refresh: z.boolean().default(false) }),
  tokenCount: z.strictObject({ prompt: z.string().max(100_000) }),
} as const;

export type WindowMethodName = keyof typeof windowMethodSchemas;

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

export interface Welcome {
  readonly version: string;
  /** Whether a file can be named by its path on this machine, or must be sent. */
  readonly place: 'desktop' | 'browser';
  /** Where finished pictures are written. */
  readonly folder: string;
  /** Undefined when the bundled model is not installed: an order must then name one. */
  readonly model?: { readonly name: string; readonly path: string };
  /** LoRAs and gates that came with the app, by path. */
  readonly bundled: readonly string[];
  readonly jobs: readonly WindowJob[];
  readonly paused: boolean;
  /** What the running job has said so far that still counts: its stage, its mixture, its last step. */
  readonly running?: { readonly id: string; readonly events: readonly DrawEvent[] };
  /** What was found wrong with the saved queue. */
  readonly message?: string;
}

/** Finished pictures come with their job. */
export type DrawEvent = Exclude<GenerateEvent, { readonly kind: 'picture' }>;

/** Told to every window. */
export type News =
  /** A job was added, or its state, pictures or failure changed. */
  | { readonly kind: 'job'; readonly job: WindowJob }
  | { readonly kind: 'removed'; readonly id: string }
  | { readonly kind: 'order'; readonly ids: readonly string[] }
  | { readonly kind: 'paused'; readonly paused: boolean }
  | { readonly kind: 'progress'; readonly id: string; readonly event: DrawEvent }
  | { readonly kind: 'message'; readonly message: string };

/** What each method takes and returns. */
export interface WindowMethods {
  open: { params: z.input<typeof windowMethodSchemas.open>; result: Welcome };
  draw: { params: DrawOrder; result: WindowJob };
  cancel: { params: z.input<typeof windowMethodSchemas.cancel>; result: null };
  retry: { params: z.input<typeof windowMethodSchemas.retry>; result: null };
  remove: { params: z.input<typeof windowMethodSchemas.remove>; result: null };
  move: { params: z.input<typeof windowMethodSchemas.move>; result: null };
  pause: { params: z.input<typeof windowMethodSchemas.pause>; result: null };
  inspect: { params: z.input<typeof windowMethodSchemas.inspect>; result: FileReport };
  devices: { params: z.input<typeof windowMethodSchemas.devices>; result: DevicesReport };
  tokenCount: {
    params: z.input<typeof windowMethodSchemas.tokenCount>;
    result: { readonly tokens: number; readonly limit: number };
  };
}

/** Window to host. */
export interface ToHost {
  readonly kind: 'request';
  readonly id: number;
  readonly method: WindowMethodName;
  readonly params: unknown;
}

/** Host to window. Exactly one `result` or `failure` ends each request. */
export type FromHost =
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: Failure }
  | { readonly kind: 'news'; readonly news: News };

/** What preload puts into the window as `mole`. */
export interface WindowPort {
  readonly send: (message: ToHost) => void;
  /** Calls `listener` with every message of the host; returns how to stop that. */
  readonly onMessage: (listener: (message: FromHost) => void) => () => void;
  /** Where a dropped file lies; empty for one that does not lie on the disk. */
  readonly pathOf: (file: unknown) => string;
}
