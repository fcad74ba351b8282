// What a window of the app says to the process behind it (Electron's main process or `atelier serve`), and what it hears. The
// same messages travel over Electron's IPC and over a WebSocket; pictures have ids here, never paths.
import { z } from 'zod';
import type { DevicesReport } from './devices.ts';
import type { Failure } from './failure.ts';
import type { FileReport } from './files.ts';
import {
  drawingMethodSchemas,
  type DrawEvent,
  type DrawingMethods,
  type DrawingNews,
  type WindowJob,
} from './window-drawing.ts';
import { compareMethodSchemas, type CompareMethods } from './window-compare.ts';
import { diagnosticsMethodSchemas, type DiagnosticsMethods } from './window-diagnostics.ts';
import { droppingMethodSchemas, type DroppingMethods } from './window-dropping.ts';
import { galleryMethodSchemas, type GalleryMethods, type GalleryNews } from './window-gallery.ts';
import { libraryMethodSchemas, type LibraryMethods, type LibraryNews } from './window-library.ts';
import { promptMethodSchemas, type PromptMethods } from './window-prompts.ts';
import { settingsMethodSchemas, type SettingsMethods, type SettingsNews } from './window-settings.ts';
import { trainingMethodSchemas, type TrainingMethods, type TrainingNews } from './window-training.ts';

/** Methods of no desk in particular. */
const questionSchemas = {
  /** What there is to show: asked for once, when a window opens. */
  open: z.strictObject({}),
  /** Reads headers only, unless `hashes` are asked for; a LoRA is compared with `model`, by default the bundled one. */
  inspect: z.strictObject({
    path: z.string().min(1),
    model: z.string().min(1).optional(),
    hashes: z.boolean().default(false),
  }),
  devices: z.strictObject({ refresh: z.boolean().default(false) }),
  tokenCount: z.strictObject({ prompt: z.string().max(100_000) }),
} as const;

/** Parameters of each method, checked where the message enters the host. */
export const windowMethodSchemas = {
  ...questionSchemas,
  ...drawingMethodSchemas,
  ...compareMethodSchemas,
  ...diagnosticsMethodSchemas,
  ...droppingMethodSchemas,
  ...galleryMethodSchemas,
  ...libraryMethodSchemas,
  ...promptMethodSchemas,
  ...settingsMethodSchemas,
  ...trainingMethodSchemas,
} as const;

export type WindowMethodName = keyof typeof windowMethodSchemas;

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

/** Told to every window. */
export type News =
  | DrawingNews
  | GalleryNews
  | LibraryNews
  | SettingsNews
  | TrainingNews
  | { readonly kind: 'message'; readonly message: string };

interface QuestionMethods {
  open: { params: z.input<typeof questionSchemas.open>; result: Welcome };
  inspect: { params: z.input<typeof questionSchemas.inspect>; result: FileReport };
  devices: { params: z.input<typeof questionSchemas.devices>; result: DevicesReport };
  tokenCount: {
    params: z.input<typeof questionSchemas.tokenCount>;
    result: { readonly tokens: number; readonly limit: number };
  };
}

/** What each method takes and returns. */
export interface WindowMethods
  extends
    QuestionMethods,
    DrawingMethods,
    CompareMethods,
    DiagnosticsMethods,
    DroppingMethods,
    GalleryMethods,
    LibraryMethods,
    PromptMethods,
    SettingsMethods,
    TrainingMethods {}

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
