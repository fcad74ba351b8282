// The window's language of training: pictures to learn from, an estimate, and one gate or LoRA at a time in an engine of its own.
// Pictures have ids here; what is written lies in the folder `trained` beside the finished pictures.
import { z } from 'zod';
import type { Failure } from './failure.ts';
import { trainGateSchema, trainLoraSchema, type TrainResult } from './training.ts';
import type { WindowPicture } from './window-drawing.ts';

const path = z.string().min(1).max(4096);
/** Becomes a file name. */
const name = z
  .string()
  .trim()
  .min(1)
  .max(80)
  .regex(
    /^[^.\p{Cc}<>:"/\\|?*][^\p{Cc}<>:"/\\|?*]*$/u,
    'a name must not hold any of < > : " / \\ | ? * or begin with a dot',
  );

/** What the host says itself. */
const own = { images: true, output: true, resume: true, model: true } as const;

/** A training as the artist orders it: the host names the pictures, the output, and the model when none is named. */
export const trainingOrderSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('gate'),
    name,
    model: path.optional(),
    /** Files of the experts, in the order of the gate. */
    experts: z.array(path).max(64),
    settings: trainGateSchema.omit({ ...own, mix: true }),
  }),
  z.strictObject({
    kind: z.literal('lora'),
    name,
    model: path.optional(),
    settings: trainLoraSchema.omit({ ...own, priorImages: true }),
  }),
]);
export type TrainingOrder = z.input<typeof trainingOrderSchema>;
export type CheckedTrainingOrder = z.output<typeof trainingOrderSchema>;

const pictureId = z.string().min(1).max(100);

export const trainingMethodSchemas = {
  /** Everything that a window shows of training; news tell what changes. */
  training: z.strictObject({}),
  /** Copies pictures to those to learn from. A `.txt` file beside a picture is its caption, unless one is given. */
  addTrainingPictures: z.strictObject({
    pictures: z
      .array(z.strictObject({ path, caption: z.string().max(2000).optional() }))
      .min(1)
      .max(1000),
  }),
  /** Copies the references that came with the app. */
  addTrainingReferences: z.strictObject({}),
  captionTrainingPicture: z.strictObject({ id: pictureId, caption: z.string().max(2000) }),
  /** Deletes the copies; the originals are not touched. */
  removeTrainingPictures: z.strictObject({ ids: z.array(pictureId).min(1).max(10_000) }),
  /** What a training would need. With `measure`, two updates are run where the time is not known yet. */
  estimateTraining: z.strictObject({ order: trainingOrderSchema, measure: z.boolean().default(false) }),
  startTraining: z.strictObject({ order: trainingOrderSchema }),
  /** Stops after the present update and saves everything needed to go on. */
  pauseTraining: z.strictObject({}),
  /** Goes on with a paused, interrupted or failed training on the same curve. */
  resumeTraining: z.strictObject({}),
  /** Ends a training: what was learnt so far is written, or thrown away with `discard`. */
  cancelTraining: z.strictObject({ discard: z.boolean() }),
  /** Puts a training that has ended aside; what it wrote stays. */
  closeTraining: z.strictObject({}),
} as const;

/** A picture to learn from; it is fetched from `pictures/<id>`. */
export interface TrainingPicture {
  readonly id: string;
  readonly name: string;
  readonly caption: string;
}

export interface TrainingPoint {
  /** From 1. */
  readonly step: number;
  readonly loss: number;
  /** Mean gate of each expert, in the order of the gate. */
  readonly gates?: readonly number[] | undefined;
}

export type TrainingState = 'running' | 'pausing' | 'paused' | 'interrupted' | 'failed' | 'cancelled' | 'finished';

/** The last update. */
export interface TrainingProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  /** Milliseconds of one update, the mean since it was started or resumed. */
  readonly updateMs: number;
  readonly remainingMs: number;
}

export interface WindowTraining {
  readonly id: string;
  readonly order: TrainingOrder;
  readonly state: TrainingState;
  /** What it is doing, or did last. */
  readonly stage: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly pictures: number;
  readonly progress?: TrainingProgress | undefined;
  /** At most 2000 points, evenly taken. */
  readonly curve: readonly TrainingPoint[];
  readonly samples: readonly { readonly step: number; readonly picture: WindowPicture }[];
  /** Warnings, and what happened on the way: oldest first. */
  readonly notes: readonly string[];
  readonly failure?: Failure | undefined;
  /** Whether it can go on from what it saved. */
  readonly resumable: boolean;
  readonly result?: TrainResult | undefined;
}

/** A gate or LoRA that was trained here. */
export interface TrainedFile {
  readonly path: string;
  readonly name: string;
  readonly kind: 'gate' | 'lora';
  readonly bytes: number;
  readonly modifiedMs: number;
}

export interface TrainingEstimate {
  readonly pictures: number;
  /** Pixels of the square that pictures are cropped to. */
  readonly resolution: number;
  readonly neededBytes: number;
  readonly availableBytes: number;
  /** Milliseconds of one update; undefined until one like it was measured here. */
  readonly updateMs?: number | undefined;
  readonly totalMs?: number | undefined;
}

export interface TrainingRoom {
  /** Undefined when there is none, or the last one was put aside. */
  readonly training?: WindowTraining | undefined;
  readonly pictures: readonly TrainingPicture[];
  /** Newest first. */
  readonly trained: readonly TrainedFile[];
  /** Paths of the experts that came with the app together with references for them. */
  readonly references: readonly string[];
}

export interface AddedPictures {
  readonly added: number;
  /** A sentence for each file that was not. */
  readonly refused: readonly string[];
}

type Params<Name extends keyof typeof trainingMethodSchemas> = z.input<(typeof trainingMethodSchemas)[Name]>;

export interface TrainingMethods {
  training: { params: Params<'training'>; result: TrainingRoom };
  addTrainingPictures: { params: Params<'addTrainingPictures'>; result: AddedPictures };
  addTrainingReferences: { params: Params<'addTrainingReferences'>; result: AddedPictures };
  captionTrainingPicture: { params: Params<'captionTrainingPicture'>; result: null };
  removeTrainingPictures: { params: Params<'removeTrainingPictures'>; result: null };
  estimateTraining: { params: Params<'estimateTraining'>; result: TrainingEstimate };
  startTraining: { params: Params<'startTraining'>; result: WindowTraining };
  pauseTraining: { params: Params<'pauseTraining'>; result: null };
  resumeTraining: { params: Params<'resumeTraining'>; result: null };
  cancelTraining: { params: Params<'cancelTraining'>; result: null };
  closeTraining: { params: Params<'closeTraining'>; result: null };
}

export type TrainingNews =
  /** Its state, samples, notes or result changed; undefined when it was put aside. */
  | { readonly kind: 'training'; readonly training: WindowTraining | undefined }
  /** New updates, at most ten times a second. Points from `from` on replace what a window has. */
  | {
      readonly kind: 'training-progress';
      readonly id: string;
      readonly progress: TrainingProgress;
      readonly points: readonly TrainingPoint[];
    }
  | { readonly kind: 'training-pictures'; readonly pictures: readonly TrainingPicture[] }
  | { readonly kind: 'trained'; readonly trained: readonly TrainedFile[] };
