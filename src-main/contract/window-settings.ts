// The window's language of settings that hold for every window, and of the models that can be drawn with.
import { z } from 'zod';
import { generateRequestSchema } from './generation.ts';

const path = z.string().min(1).max(4096);

const { format, pattern, quality, metadata } = generateRequestSchema.shape.output.shape;

/** How new pictures are written. */
const outputSchema = z.strictObject({ format, pattern, quality, metadata });
export type OutputSettings = z.output<typeof outputSchema>;

/** The same without values of their own: a field that is left out stays away. */
const outputChangeSchema = z
  .strictObject({
    format: format.unwrap(),
    pattern: pattern.unwrap(),
    quality: quality.unwrap(),
    metadata: metadata.unwrap(),
  })
  .partial();

/**
 * Everything that is remembered for all windows. A field that is missing or damaged takes its usual value, so that a settings
 * file of another version, or one that somebody edited, is never a reason not to start.
 */
export const settingsSchema = z.object({
  version: z.literal(1).catch(1),
  /** Folders in which models are looked for, sub-folders included; absolute. */
  modelFolders: z.array(path).max(64).catch([]),
  output: outputSchema.catch(outputSchema.parse({})),
});
export type Settings = z.output<typeof settingsSchema>;

export const settingsMethodSchemas = {
  settings: z.strictObject({}),
  /** Fields that are left out stay as they are, so that two changes in a row, or from two windows, both count. */
  changeSettings: z.strictObject({ output: outputChangeSchema }),
  addModelFolder: z.strictObject({ path }),
  /** Takes a folder off the list; nothing on the disk is touched. */
  removeModelFolder: z.strictObject({ path }),
  /** The bundled model and what lies in the model folders; files are read again where they changed. */
  models: z.strictObject({}),
} as const;

/** A model, or a part of one that can stand instead of its own. */
export interface ModelCard {
  /** A .safetensors file or a diffusers folder; absolute. */
  readonly path: string;
  /** Of the file or folder, without its ending. */
  readonly name: string;
  readonly kind: 'checkpoint' | 'vae' | 'taesd';
  readonly bundled: boolean;
  /** One line for a person. */
  readonly summary: string;
  /** 'SD 1.x', 'SDXL'…; undefined for a size of its own. */
  readonly base?: string;
  readonly bytes: number;
  /** Pixels of a side that it was trained for. */
  readonly side?: number;
  /** Why it cannot be drawn with. */
  readonly problem?: string;
}

export interface ModelList {
  /** The bundled one first, then by name. */
  readonly models: readonly ModelCard[];
  readonly folders: readonly ModelFolder[];
}

export interface ModelFolder {
  readonly path: string;
  /** Why it could not be looked through. */
  readonly problem?: string;
}

export interface SettingsMethods {
  settings: { params: z.input<typeof settingsMethodSchemas.settings>; result: Settings };
  changeSettings: { params: z.input<typeof settingsMethodSchemas.changeSettings>; result: Settings };
  addModelFolder: { params: z.input<typeof settingsMethodSchemas.addModelFolder>; result: Settings };
  removeModelFolder: { params: z.input<typeof settingsMethodSchemas.removeModelFolder>; result: Settings };
  models: { params: z.input<typeof settingsMethodSchemas.models>; result: ModelList };
}

/** Told to every window when another one changed something. */
export interface SettingsNews {
  readonly kind: 'settings';
  readonly settings: Settings;
}
