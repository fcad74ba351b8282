// The window's language of prompts: lists of words, templates that stand for many prompts, and <lora:…> tags that become rows.
import { z } from 'zod';

const prompt = z.string().max(100_000);

export const promptMethodSchemas = {
  /** Every list of words that a prompt can name as __name__. */
  wildcards: z.strictObject({}),
  /** The prompts that a template stands for: drawn by seeds, or all of them. */
  expandPrompt: z.strictObject({
    prompt,
    negativePrompt: prompt.default(''),
    mode: z.enum(['random', 'all']),
    /** Of the first picture; undefined draws one. */
    seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
    /** Mode `random`: how many, by seed, seed + 1, … */
    count: z.number().int().min(1).max(64).default(1),
    /** Mode `all`: at most so many; 0 only counts. */
    limit: z.number().int().min(0).max(1000).default(100),
  }),
  /** The <lora:…> tags of a text, which become rows of the stack, and the text without them. Tags in braces stay in it. */
  readTags: z.strictObject({ prompt }),
} as const;

export interface WildcardList {
  /** What stands between the underscores: `animal`, or `nature/tree` in a sub-folder. */
  readonly name: string;
  readonly entries: number;
  /** The first of them. */
  readonly sample: readonly string[];
  /** Whether it came with the app. */
  readonly bundled: boolean;
}

export interface WildcardShelf {
  readonly lists: readonly WildcardList[];
  /** Where the artist's own lists go, as .txt files; it need not be there yet. */
  readonly folder: string;
}

/** One picture's prompts. */
export interface ExpandedPrompt {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: number;
}

export interface Expansion {
  /** Whether there was anything to expand. */
  readonly isTemplate: boolean;
  readonly prompts: readonly ExpandedPrompt[];
  /** How many different ones there are; null where they are too many to count. */
  readonly total: number | null;
}

export interface TagRow {
  /** As the tag says: the stem of a file, perhaps with its folder. */
  readonly name: string;
  /** Of the first step. */
  readonly weight: number;
  /** The weight over the steps, where it changes. */
  readonly schedule?: string;
  readonly textWeight: number;
  /** Block weights (LBW). */
  readonly blocks?: string;
  /** The tag as written. */
  readonly source: string;
}

export interface ReadTags {
  /** Without the tags of `rows`. */
  readonly prompt: string;
  readonly rows: readonly TagRow[];
  /** Tags that cannot be read and stay in the prompt, and parts of tags that mean nothing here, as sentences. */
  readonly problems: readonly string[];
}

export interface PromptMethods {
  wildcards: { params: z.input<typeof promptMethodSchemas.wildcards>; result: WildcardShelf };
  expandPrompt: { params: z.input<typeof promptMethodSchemas.expandPrompt>; result: Expansion };
  readTags: { params: z.input<typeof promptMethodSchemas.readTags>; result: ReadTags };
}
