// The engine's methods: name -> parameters, progress events and result. Client and engine process share this table,
// and nothing else, so that the same client code serves the command line, the web server and the desktop.
import { z } from 'zod';
import type { DevicesReport } from './devices.ts';
import { mixSchema } from './experts.ts';
import type { Failure } from './failure.ts';
import type { FileReport } from './files.ts';
import {
  generateRequestSchema,
  type FinishedPicture,
  type GenerateEvent,
  type GenerateRequest,
  type GenerateResult,
} from './generation.ts';
import type { PictureReport } from './pictures.ts';

import {
  trainGateSchema,
  trainLoraSchema,
  type TrainEvent,
  type TrainGateRequest,
  type TrainingMemory,
  type TrainLoraRequest,
  type TrainResult,
} from './training.ts';

export const networkNames = ['text-encoder', 'unet', 'vae-encoder', 'vae-decoder'] as const;
export type NetworkName = (typeof networkNames)[number];

/** Parameters of each method, checked where the message enters the engine process. */
export const methodSchemas = {
  generate: generateRequestSchema,
  /** Reads headers only, unless `hashes` are asked for: those take the whole file. */
  inspect: z.strictObject({
    path: z.string().min(1),
    hashes: z.boolean().default(false),
    /** The model whose layers a LoRA is compared with; by default SD 1.5 or SD 2.1, whichever it was made for. */
    model: z.string().min(1).optional(),
  }),
  /** Runs one network on the raw tensors of a .safetensors file and writes its outputs to another. */
  network: z.strictObject({
    network: z.enum(networkNames),
    model: z.string().min(1),
    vae: z.string().optional(),
    input: z.string().min(1),
    output: z.string().min(1),
    device: generateRequestSchema.shape.device,
    clipSkip: generateRequestSchema.shape.clipSkip,
    mix: mixSchema.optional(),
    /** A .safetensors file for the gates' values: `gates` [B, G, N], with the names of G and N in its metadata. */
    gatesOut: z.string().min(1).optional(),
  }),
  /** Writes the starting noise of a seed: float32 `noise` of the given shape, as torch's CPU generator draws it. */
  noise: z.strictObject({
    seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
    shape: z.array(z.number().int().min(1).max(65_536)).min(1).max(8),
    output: z.string().min(1),
  }),
  /** Trains a gate over the experts of a mix. */
  trainGate: trainGateSchema,
  /** Trains a LoRA from sample pictures. */
  trainLora: trainLoraSchema,
  /** What a training would need in memory, from headers alone. */
  trainingMemory: z.strictObject({
    model: z.string().min(1),
    vae: z.string().optional(),
    resolution: trainGateSchema.shape.resolution,
    batch: trainGateSchema.shape.batch,
    recompute: trainGateSchema.shape.recompute,
  }),
  /** A mix as one plain LoRA: mean gates, listened to while `prompts` are drawn. */
  bake: z.strictObject({
    model: z.string().min(1),
    vae: z.string().optional(),
    mix: mixSchema,
    prompts: z.array(z.string().max(2000)).min(1).max(64),
    negativePrompt: z.string().max(2000).default(''),
    seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
    steps: generateRequestSchema.shape.steps,
    cfgScale: generateRequestSchema.shape.cfgScale,
    width: generateRequestSchema.shape.width,
    height: generateRequestSchema.shape.height,
    /** Ranks of a layer at most; undefined keeps all, which leaves nothing out. */
    rank: z.number().int().min(1).max(4096).optional(),
    device: generateRequestSchema.shape.device,
    threads: generateRequestSchema.shape.threads,
    /** A .safetensors file; never overwritten. */
    output: z.string().min(1),
  }),
  /** Writes a mix as a recipe file: experts and gate by name and hash, never by path. */
  saveRecipe: z.strictObject({
    mix: mixSchema,
    prompt: z.string().max(100_000).default(''),
    output: z.string().min(1),
  }),
  devices: z.strictObject({ refresh: z.boolean().default(false) }),
  /**
   * One picture with all the given ones in rows, each over its label; never overwrites. A cell without a path stays empty. The
   * sheet tells the settings of its first picture, and what its columns and rows are.
   */
  sheet: z.strictObject({
    pictures: z
      .array(z.strictObject({ path: z.string().min(1).optional(), label: z.string().max(200) }))
      .min(1)
      .max(1024),
    columns: z.number().int().min(1).max(100).default(4),
    columnLabels: z.array(z.string().max(200)).max(100).default([]),
    rowLabels: z.array(z.string().max(200)).max(100).default([]),
    title: z.string().max(500).default(''),
    output: z.string().min(1),
  }),
  /** Writes a picture, or the picture of a LoRA, small as WebP; replaces what lies at `output`. */
  thumbnail: z.strictObject({
    path: z.string().min(1),
    /** Pixels of its longer side at most. */
    side: z.number().int().min(16).max(1024).default(256),
    output: z.string().min(1),
  }),
  /** What a picture says of how it was made, whoever made it. */
  readPicture: z.strictObject({ path: z.string().min(1) }),
  /** Writes a copy of a picture in another format, under a new name. */
  exportPicture: z.strictObject({
    path: z.string().min(1),
    ...generateRequestSchema.shape.output.shape,
    /** Its place in a batch, for the pattern's `[index]`. */
    index: z.number().int().min(1).default(1),
  }),
  /** Tokens of a prompt, for a live counter. */
  tokenCount: z.strictObject({ prompt: z.string().max(100_000) }),
} as const;

export type MethodName = keyof typeof methodSchemas;

export interface BakeResult {
  readonly path: string;
  readonly layers: number;
  /** Least and greatest rank of a layer. */
  readonly ranks: readonly [number, number];
  /** Mean strength times gate, per expert in the order of `experts`. */
  readonly coefficients: readonly number[];
  readonly experts: readonly string[];
  /** Share of the deltas' energy that constant gates leave out, 0..1. */
  readonly gateResidual: number;
  /** Share of the deltas' energy that the cut in rank leaves out, 0..1. */
  readonly rankResidual: number;
  /** Mean difference of the drawings with the mix and with the baked file, in steps of 0..255. */
  readonly pictureDifference: number;
  readonly warnings: readonly string[];
}

/** What each method takes, reports and returns. */
export interface Methods {
  generate: { params: GenerateRequest; event: GenerateEvent; result: GenerateResult };
  inspect: { params: z.input<typeof methodSchemas.inspect>; event: never; result: FileReport };
  network: {
    params: z.input<typeof methodSchemas.network>;
    event: never;
    result: {
      readonly outputs: Readonly<Record<string, readonly number[]>>;
      readonly elapsedMs: number;
      readonly device: string;
    };
  };
  noise: { params: z.input<typeof methodSchemas.noise>; event: never; result: { readonly shape: readonly number[] } };
  trainGate: { params: TrainGateRequest; event: TrainEvent; result: TrainResult };
  trainLora: { params: TrainLoraRequest; event: TrainEvent; result: TrainResult };
  trainingMemory: {
    params: z.input<typeof methodSchemas.trainingMemory>;
    event: never;
    result: TrainingMemory;
  };
  bake: { params: z.input<typeof methodSchemas.bake>; event: GenerateEvent; result: BakeResult };
  saveRecipe: { params: z.input<typeof methodSchemas.saveRecipe>; event: never; result: { readonly path: string } };
  devices: { params: z.input<typeof methodSchemas.devices>; event: never; result: DevicesReport };
  sheet: {
    params: z.input<typeof methodSchemas.sheet>;
    event: never;
    /** The file that was written. */
    result: { readonly path: string; readonly width: number; readonly height: number };
  };
  thumbnail: {
    params: z.input<typeof methodSchemas.thumbnail>;
    event: never;
    /** Whether there was a picture to draw. */
    result: { readonly drawn: boolean };
  };
  readPicture: { params: z.input<typeof methodSchemas.readPicture>; event: never; result: PictureReport };
  exportPicture: { params: z.input<typeof methodSchemas.exportPicture>; event: never; result: FinishedPicture };
  tokenCount: {
    params: z.input<typeof methodSchemas.tokenCount>;
    event: never;
    result: { readonly tokens: number; readonly limit: number };
  };
}

/** Client to engine. `cancel` is soft: the job stops within one step. */
export type ToEngine =
  | { readonly kind: 'request'; readonly id: number; readonly method: MethodName; readonly params: unknown }
  | { readonly kind: 'cancel'; readonly id: number };

/** Engine to client. Exactly one `result` or `failure` ends each request. */
export type FromEngine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'event'; readonly id: number; readonly event: unknown }
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: Failure };
