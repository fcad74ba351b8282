// Training ordered and delivered: gates over experts, and LoRAs from sample images. Schemas are checked where a message enters a
// process; the types are read off the schemas.
import { z } from 'zod';
import { mixSchema } from './experts.ts';
import { deviceChoices, type FinishedPicture } from './generation.ts';

export const gateGranularities = ['matrix', 'layer', 'block', 'network'] as const;
export const gateFormNames = ['pooled', 'paper'] as const;
export const gateAmplitudes = ['convex', 'free'] as const;
export const gateLosses = ['denoise', 'distil', 'clip'] as const;
export type GateLoss = (typeof gateLosses)[number];
/** Which layers of the UNet a LoRA trains. */
export const loraTargets = ['attention', 'transformer', 'all'] as const;

/** Fields of every training. */
const common = {
  /** A .safetensors checkpoint or a diffusers folder; absolute path. */
  model: z.string().min(1),
  /** A separate autoencoder; it needs its encoder. */
  vae: z.string().optional(),
  /** Folders and picture files; a caption lies beside a picture as `<name>.txt`. */
  images: z.array(z.string().min(1)).max(10_000).default([]),
  /** Caption of pictures without one of their own; `[name]` stands for the picture's file name. */
  caption: z.string().max(2000).optional(),
  /** Pixels of the shorter side that pictures are scaled and cropped to; the model's own size where undefined. */
  resolution: z.number().int().min(64).max(2048).optional(),
  /** Keeps the shape of each picture as near as sizes in steps of the network allow, instead of cropping to a square. */
  buckets: z.boolean().default(false),
  /** Mirrored copies of the pictures too. */
  mirror: z.boolean().default(false),
  batch: z.number().int().min(1).max(64).default(2),
  /** Batches per update. */
  accumulate: z.number().int().min(1).max(1024).default(1),
  /** Undefined takes what suits the form. */
  learningRate: z.number().positive().max(1).optional(),
  /** Updates over which the rate rises. */
  warmup: z.number().int().min(0).max(100_000).default(10),
  /** The rate falls to 0 along half a cosine after the rise. */
  decay: z.boolean().default(false),
  optimizer: z.enum(['adam', 'adamw']).default('adamw'),
  weightDecay: z.number().min(0).max(1).default(0.01),
  /** gamma of min-SNR weighting (Hang et al. 2023); undefined weighs every timestep alike. */
  minSnr: z.number().positive().max(1000).optional(),
  /** Share of captions left empty, so that guidance keeps working. */
  captionDropout: z.number().min(0).max(1).default(0.1),
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  /** Draw a sample picture every that many updates; 0 for none. */
  sampleEvery: z.number().int().min(0).max(1_000_000).default(0),
  samplePrompt: z.string().max(2000).optional(),
  /** Save what is needed to go on every that many updates. */
  saveEvery: z.number().int().min(1).max(1_000_000).default(25),
  /** Go on from what an earlier run of the same order saved beside `output`. */
  resume: z.boolean().default(false),
  /** Keeps fewer activations and computes them again: less memory, more time. */
  recompute: z.boolean().default(false),
  /** Stop when the loss no longer falls. */
  earlyStop: z.boolean().default(false),
  device: z.enum(deviceChoices).default('auto'),
  threads: z.number().int().min(1).max(256).optional(),
  /** The file to write; never overwritten. */
  output: z.string().min(1),
};

export const trainGateSchema = z.strictObject({
  ...common,
  /** The experts that the gate is for. */
  mix: mixSchema,
  /** More experts that share the gate, each list in the roles of the mix's experts, and the pictures that teach them. */
  further: z
    .array(
      z.strictObject({
        experts: z.array(z.string().min(1)).min(2).max(64),
        images: z.array(z.string().min(1)).max(10_000).default([]),
      }),
    )
    .max(256)
    .default([]),
  /** What the places of the stack stand for, say `a subject` and `a style`: the gate is then for any experts in this order. */
  roles: z.array(z.string().min(1).max(300)).max(64).default([]),
  /** With loss `distil`: prompts to match the experts on; without any, each expert's own trigger words. */
  prompts: z.array(z.string().max(2000)).max(1000).default([]),
  /** Undefined: `denoise` with images, `distil` without. */
  loss: z.enum(gateLosses).optional(),
  /** With loss `clip`, which needs it: the folder of a CLIP model (config.json and model.safetensors); absolute path. */
  clip: z.string().min(1).optional(),
  /** With loss `clip`: tells each picture's caption from those of the others too, as CLIP itself was trained. */
  contrast: z.boolean().default(false),
  /**
   * Learns on the way of drawing: pictures are drawn by the captions with the gates as they are, and the loss looks at every step. With
   * loss `clip` they start from noise; with `denoise` from noised references, which they should become again. Undefined: the loss
   * looks at what is seen in noised references.
   */
  drawing: z
    .strictObject({ steps: z.number().int().min(2).max(200), cfgScale: z.number().min(1).max(100).default(7) })
    .optional(),
  granularity: z.enum(gateGranularities).default('block'),
  form: z.enum(gateFormNames).default('pooled'),
  amplitude: z.enum(gateAmplitudes).default('convex'),
  timestep: z.boolean().default(false),
  /** False: gates do not look at what the experts say. With `timestep` they still know when a group of layers needs whom. */
  listens: z.boolean().default(true),
  /** Gates in the text encoder too, where an expert speaks there. */
  textGates: z.boolean().default(true),
  /** alpha of the balance loss. */
  balance: z.number().min(0).max(100).default(0.5),
  steps: z.number().int().min(1).max(1_000_000).default(400),
});

export const trainLoraSchema = z.strictObject({
  ...common,
  rank: z.number().int().min(1).max(512).default(8),
  /** Undefined takes the rank: a scale of 1. */
  alpha: z.number().positive().max(4096).optional(),
  targets: z.enum(loraTargets).default('transformer'),
  textEncoder: z.boolean().default(false),
  /** A word that stands for what is learnt; put before captions that lack it. */
  trigger: z.string().max(200).optional(),
  /** Pictures of the same kind that should stay as they are (prior preservation), captioned like `images`. */
  priorImages: z.array(z.string().min(1)).max(10_000).default([]),
  priorWeight: z.number().min(0).max(100).default(1),
  steps: z.number().int().min(1).max(1_000_000).default(1000),
});

export type TrainGateRequest = z.input<typeof trainGateSchema>;
export type TrainGateSettings = z.output<typeof trainGateSchema>;
export type TrainLoraRequest = z.input<typeof trainLoraSchema>;
export type TrainLoraSettings = z.output<typeof trainLoraSchema>;

export type TrainEvent =
  | { readonly kind: 'stage'; readonly stage: 'opening' | 'encoding' | 'training' | 'saving'; readonly message: string }
  | { readonly kind: 'warning'; readonly message: string }
  | {
      readonly kind: 'update';
      /** 1..steps. */
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      readonly parts: Readonly<Record<string, number>>;
      readonly learningRate: number;
      readonly gradientNorm: number;
      readonly elapsedMs: number;
      readonly remainingMs: number;
      /** Mean gate of each expert over groups and batch. */
      readonly gates?: readonly number[];
    }
  /** A sample picture of the training so far. */
  | { readonly kind: 'picture'; readonly picture: FinishedPicture; readonly step: number };

export interface TrainResult {
  /** The gate or LoRA that was written. */
  readonly path: string;
  /** Updates done, of those asked for; fewer after a cancel or an early stop. */
  readonly steps: number;
  readonly ended: 'finished' | 'cancelled' | 'early-stop';
  /** Mean loss of the first and the last tenth of the updates. */
  readonly loss: { readonly first: number; readonly last: number };
  readonly pictures: number;
  readonly elapsedMs: number;
  readonly device: string;
  readonly deviceReason: string;
  readonly warnings: readonly string[];
}

/** An estimate for a decision, not for a bill. */
export interface TrainingMemory {
  /** Pixels of the square that pictures are cropped to. */
  readonly resolution: number;
  readonly neededBytes: number;
  readonly availableBytes: number;
}
