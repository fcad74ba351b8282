// What a request says about experts: the artist's stack, how it is mixed, and the recipe file that keeps both. Weights and block
// weights may be texts in the community's notation; text/weight-schedule.ts and text/block-weights.ts say what they mean.
import { z } from 'zod';

export const mixModes = ['mole', 'sum', 'normalised', 'manual', 'switch', 'composite', 'ssr', 'np'] as const;
/** engine/mixture.ts says what each one does. */
export type MixMode = (typeof mixModes)[number];

/** A number, or a text such as `0.2@0.2,1@0.8`. */
const weight = z.union(
  [z.number(), z.string().min(1).max(1000)],
  'a number or a schedule such as 0.2@0.2,1@0.8 (weight at a fraction of the steps)',
);

/** LBW block weights: 17 or 26 numbers, or a preset's name. */
const blocks = z.string().min(1).max(1000);

/** One row of the stack. */
export const expertSchema = z.strictObject({
  /** A LoRA file or folder; absolute path. */
  path: z.string().min(1),
  /** Strength in the UNet: negative and above 1 too. */
  weight: weight.default(1),
  /** Strength in the text encoder; undefined takes that of the first step in the UNet. */
  textWeight: z.number().optional(),
  blocks: blocks.optional(),
  /**
   * Share of the strength that holds in the unguided (negative) branch; the gate's, or 1, where undefined. Below 1 guidance leads toward the expert as it
   * leads toward the prompt.
   */
  unguided: z.number().min(0).max(2).optional(),
  muted: z.boolean().default(false),
  /** While a row is solo, only solo rows speak, muted or not. */
  solo: z.boolean().default(false),
});

/** Who may speak in a row of the network (IN01, MID, BASE…), per expert in the order of the stack, instead of mute and solo. */
const rowName = z.string().regex(/^(BASE|MID|(IN|OUT)\d\d)$/);
const masks = z.record(rowName, z.array(z.boolean()).max(64));

/**
 * What an expert says in a row instead of what its gate decides there, per expert in the order of the stack; null leaves it to
 * the gate. mole/gate.ts says how the others share the rest. In modes without gates it stands instead of the weight.
 */
const overrides = z.record(rowName, z.array(z.number().min(-10).max(10).nullable()).max(64));

const mixing = {
  /** Undefined: `mole` when a gate is given, else `sum`. */
  mode: z.enum(mixModes).optional(),
  masks: masks.optional(),
  overrides: overrides.optional(),
  /** Steps between turns of mode `switch`; 5 where undefined. */
  switchEvery: z.number().int().min(1).max(1000).optional(),
  /** Mode `np`: mu of NP-LoRA, how softly the style is kept out of the subject's directions. */
  np: z.strictObject({ mu: z.number().min(0) }).optional(),
};

/** Experts and how they are mixed: part of a request. */
export const mixSchema = z.strictObject({
  experts: z.array(expertSchema).max(64).default([]),
  ...mixing,
  /** Who speaks, in the order of the whole stack (recipe, experts, tags of the prompt), instead of mute and solo. */
  mask: z.array(z.boolean()).max(256).optional(),
  /** A gate file; its experts are those of the stack, in any order. */
  gate: z.string().min(1).optional(),
  /** A recipe file: its experts come before the ones named here, its settings hold where none are given here. */
  recipe: z.string().min(1).optional(),
  /** Folders in which the names of <lora:…> tags and the files of recipes are looked for, sub-folders included. */
  loraFolders: z.array(z.string().min(1)).max(16).default([]),
  /** Textual-inversion files; the name of each is a word of the prompt. */
  embeddings: z.array(z.string().min(1)).max(256).default([]),
});

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** A file as recipes name it: looked for by name, known by hash. Its size saves reading files that cannot be it. */
const fileIdentity = { name: z.string().min(1).max(300), sha256, bytes: z.number().int().min(0).optional() };

/** A recipe file (*.mole.json): a stack that travels. Files are named, never located. */
export const recipeSchema = z.strictObject({
  version: z.literal(1),
  experts: z.array(expertSchema.omit({ path: true }).extend(fileIdentity)).max(64),
  ...mixing,
  gate: z.strictObject(fileIdentity).optional(),
});

/** As sent: defaults may be left out. */
export type ExpertRequest = z.input<typeof expertSchema>;
export type MixRequest = z.input<typeof mixSchema>;
/** With every default filled in. */
export type ExpertSettings = z.output<typeof expertSchema>;
export type MixSettings = z.output<typeof mixSchema>;
export type Recipe = z.output<typeof recipeSchema>;
