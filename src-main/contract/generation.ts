// A picture ordered and delivered: the request, what is reported on the way, and the result.
// Schemas are checked where a message enters a process; the types are read off the schemas.
import { z } from 'zod';
import { mixSchema } from './experts.ts';

export const samplerNames = [
  'euler',
  'euler-a',
  'heun',
  'dpmpp-2m',
  'dpmpp-2m-sde',
  'dpmpp-sde',
  'ddim',
  'ddpm',
  'unipc',
  'lcm',
] as const;
export type SamplerName = (typeof samplerNames)[number];

export const scheduleNames = ['normal', 'karras', 'exponential', 'sgm-uniform', 'simple', 'beta'] as const;
export type ScheduleName = (typeof scheduleNames)[number];

export const deviceChoices = ['auto', 'cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

export const pictureFormats = ['png', 'jpeg', 'webp'] as const;
export type PictureFormat = (typeof pictureFormats)[number];

/** Pixels; the schema says the bounds, the engine says more (memory) before it starts. */
const side = z
  .number()
  .int()
  .min(64, 'a side must be at least 64 pixels')
  .max(4096, 'a side can be at most 4096 pixels')
  .refine((pixels) => pixels % 8 === 0, 'a side must be a multiple of 8 pixels');

/** 0..2^53-1, as JavaScript holds it exactly. */
const seed = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const generateRequestSchema = z.strictObject({
  /** A .safetensors file or a diffusers folder; absolute path. */
  model: z.string().min(1),
  /** A separate autoencoder file (KL or TAESD). */
  vae: z.string().optional(),
  /** A TAESD file for previews. */
  previewDecoder: z.string().optional(),
  prompt: z.string().max(100_000),
  negativePrompt: z.string().max(100_000).default(''),
  /** What the prompts were drawn from, where they had alternatives or lists of words: written into the picture beside them. */
  template: z.strictObject({ prompt: z.string().max(100_000), negativePrompt: z.string().max(100_000) }).optional(),
  /** Seed of the first picture; picture i of a batch uses seed + i. Undefined draws one, which the result names. */
  seed: seed.optional(),
  /** Mixes the noise of another seed in, 0..1 (A1111's variation seed). */
  variation: z.strictObject({ seed, strength: z.number().min(0).max(1) }).optional(),
  steps: z.number().int().min(1).max(1000).default(20),
  sampler: z.enum(samplerNames).default('dpmpp-2m'),
  /** `automatic` is the sampler's own recommended schedule. */
  schedule: z.enum(['automatic', ...scheduleNames]).default('automatic'),
  /** Classifier-free guidance; 1 leaves the unconditional pass out. */
  cfgScale: z.number().min(0).max(100).default(7),
  /** phi of Lin et al. 2023, 0..1. */
  cfgRescale: z.number().min(0).max(1).default(0),
  /** Undefined takes the model's own size. */
  width: side.optional(),
  height: side.optional(),
  /** Pictures, one after the other seed by seed. */
  batch: z.number().int().min(1).max(64).default(1),
  /** A1111's count: 1 uses every layer of the text encoder. */
  clipSkip: z.number().int().min(1).max(12).default(1),
  /** img2img: the picture to start from, and how much of it to redraw (0 nothing, 1 everything). */
  init: z.strictObject({ picture: z.string().min(1), strength: z.number().min(0).max(1).default(0.6) }).optional(),
  /** Experts (LoRAs) and how they are mixed. */
  mix: mixSchema.optional(),
  device: z.enum(deviceChoices).default('auto'),
  /** Threads of the CPU provider; undefined takes every physical core. */
  threads: z.number().int().min(1).max(256).optional(),
  /** Overrides what the checkpoint says of itself. */
  prediction: z.enum(['epsilon', 'v_prediction']).optional(),
  /** A preview every that many steps; 0 for none. */
  previewEvery: z.number().int().min(0).max(1000).default(0),
  /** Where and how finished pictures are written. */
  output: z.strictObject({
    folder: z.string().min(1),
    /** formats/file-name.ts lists the tokens. */
    pattern: z.string().min(1).max(300).default('[datetime]-[seed]-[prompt_words]'),
    format: z.enum(pictureFormats).default('png'),
    /** 1..100, JPEG and lossy WebP. */
    quality: z.number().int().min(1).max(100).default(92),
    lossless: z.boolean().default(false),
    /** False writes no text, EXIF or XMP at all. */
    metadata: z.boolean().default(true),
  }),
});

/** As sent: defaults may be left out. */
export type GenerateRequest = z.input<typeof generateRequestSchema>;
/** As the engine works on it: every default filled in. */
export type GenerateSettings = z.output<typeof generateRequestSchema>;

export type Stage = 'opening' | 'encoding-prompt' | 'encoding-picture' | 'denoising' | 'decoding' | 'saving';

/** Interleaved RGB, 8 bits each: `rgb.length` is width * height * 3. */
export interface PreviewPicture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/** Gates [G][N] for each half of the guidance. */
export interface GateHalves {
  readonly conditional?: readonly (readonly number[])[];
  readonly unconditional?: readonly (readonly number[])[];
}

export type GenerateEvent =
  | { readonly kind: 'stage'; readonly stage: Stage; readonly message: string }
  | {
      readonly kind: 'step';
      /** Steps finished of this picture, 1..steps. */
      readonly step: number;
      readonly steps: number;
      /** Which picture of the batch, from 0. */
      readonly index: number;
      readonly batch: number;
      readonly elapsedMs: number;
      /** Time left for the whole job, from the steps so far; undefined until one is measured. */
      readonly remainingMs?: number;
      readonly preview?: PreviewPicture;
      /** The gates of this step, [G][N] for each half of the guidance, in the order of the `mixture` event. */
      readonly gates?: GateHalves;
      /** In modes without gates: the strengths of this step, [rows][N] in the order of the `mixture` event. */
      readonly weights?: readonly (readonly number[])[];
    }
  | {
      /** Once, before the first step of a job with experts. */
      readonly kind: 'mixture';
      readonly mode: string;
      readonly experts: readonly { readonly name: string; readonly sha256: string }[];
      /** What each gate stands over: its layers' common path, and the row (IN01, MID, OUT11) it is shown in. */
      readonly groups: readonly { readonly name: string; readonly row: string }[];
      /** Rows of the UNet in which some expert has layers, from the input to the output. */
      readonly rows: readonly string[];
      /** The text encoder (row BASE), which speaks once, before the first step; absent when no expert speaks there. */
      readonly text?: {
        /** What each gate stands over; without gates, the strengths [N]. */
        readonly groups: readonly string[];
        readonly gates?: GateHalves;
        readonly weights: readonly number[];
      };
    }
  | { readonly kind: 'warning'; readonly message: string }
  | { readonly kind: 'picture'; readonly picture: FinishedPicture };

export interface FinishedPicture {
  /** Absolute path of the written file. */
  readonly path: string;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
}

export interface GenerateResult {
  readonly pictures: readonly FinishedPicture[];
  /** Provider that ran it, and why that one. */
  readonly device: string;
  readonly deviceReason: string;
  readonly warnings: readonly string[];
  readonly timings: {
    readonly openMs: number;
    readonly encodeMs: number;
    readonly denoiseMs: number;
    /** Of one step (all branches, all network calls), the mean. */
    readonly stepMs: number;
    readonly decodeMs: number;
    readonly totalMs: number;
  };
}
