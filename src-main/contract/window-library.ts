// The window's language of the library: folders of LoRAs and gates, their cards, and recipes. Texts of a card are a stranger's,
// shortened and never markup; tags and notes are the artist's own and are never written into the file.
import { z } from 'zod';
import { mixSchema, type ExpertSettings, type MixRequest, type Recipe } from './experts.ts';

const path = z.string().min(1).max(4096);
/** SHA-256, its first 10 digits (AutoV2), or SHA-256 of the weights alone (AutoV3) whole or its first 12, in hex. */
const hash = z.string().regex(/^[0-9a-fA-F]{8,64}$/, 'a hash must be 8 to 64 hex digits');

export const libraryMethodSchemas = {
  /** Everything there is, LoRAs compared with `model` (by default the bundled one) from now on. News tell what changes. */
  library: z.strictObject({ model: path.optional() }),
  addLibraryFolder: z.strictObject({ path }),
  /** Takes a folder off the list; nothing on the disk is touched. */
  removeLibraryFolder: z.strictObject({ path }),
  /** Looks through all folders again: network folders do not always say that they changed. */
  refreshLibrary: z.strictObject({}),
  /** Changes the artist's own words about a file; they are kept by its content and follow it where it is moved. */
  markExpert: z.strictObject({
    path,
    favourite: z.boolean().optional(),
    tags: z.array(z.string().trim().min(1).max(60)).max(40).optional(),
    notes: z.string().max(4000).optional(),
  }),
  /** Forgets the words about a file that is not there any more. */
  forgetExpert: z.strictObject({ hash }),
  /**
   * Looks for files by the name of a `<lora:…>` tag and by hash, among those that came with the app, the library's folders,
   * what was trained here and what was dropped. A hash that is not known yet is looked for by reading files, those called
   * like one of `names` first.
   */
  findExperts: z.strictObject({
    names: z.array(z.string().min(1).max(300)).max(256).default([]),
    hashes: z.array(hash).max(256).default([]),
  }),
  /** The picture of a LoRA that need not lie in the library. */
  expertPicture: z.strictObject({ path }),
  recipes: z.strictObject({}),
  /** Writes the mix as `<name>.mole.json` into the folder of recipes; an older one of that name stays. */
  saveRecipe: z.strictObject({ name: z.string().trim().min(1).max(120), mix: mixSchema }),
  /** Reads a recipe and finds its files. */
  loadRecipe: z.strictObject({ path }),
  /** Moves a recipe of the folder of recipes to its folder `removed`. */
  removeRecipe: z.strictObject({ path }),
} as const;

/** Where a file was found: it came with the app, lies in a folder of the library, was trained here, or was dropped. */
export type ExpertPlace = 'bundled' | 'library' | 'trained' | 'dropped';

export interface FoundExpert {
  /** The name or hash, as it was asked for. */
  readonly asked: string;
  readonly by: 'name' | 'hash';
  readonly path: string;
  /** Of the file, without its ending. */
  readonly name: string;
  readonly place: ExpertPlace;
}

export interface LibraryFolder {
  readonly path: string;
  /** Files of LoRAs, gates and learned words in it. */
  readonly files: number;
  /** Why it cannot be looked through at the moment. */
  readonly problem?: string;
}

/** The artist's own words about a file. */
export interface ExpertMark {
  readonly favourite: boolean;
  readonly tags: readonly string[];
  readonly notes: string;
}

export interface LibraryCard extends ExpertMark {
  readonly path: string;
  /** Of the file, without its ending. */
  readonly name: string;
  readonly place: ExpertPlace;
  /** Folder below the library's folder, with slashes; empty at its top. */
  readonly below: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  /** 'refused' can never be used here, 'other' is a model or something else that is no expert. */
  readonly kind: 'lora' | 'gate' | 'embedding' | 'other' | 'refused';
  readonly summary: string;
  /** Whether it can be used with the model that the library is compared with; `reason` says why not. */
  readonly fits: boolean;
  readonly reason?: string;
  readonly base?: string;
  readonly algorithms: readonly string[];
  readonly ranks?: readonly [number, number];
  readonly title?: string;
  readonly author?: string;
  readonly description?: string;
  readonly triggerWords: readonly string[];
  /** Tags that the file itself carries. */
  readonly ownTags: readonly string[];
  /** Fetched from `thumbnails/<id>`; undefined when it has no picture. */
  readonly thumbnail?: string;
}

/** A file that the artist has marked and that is in no folder now. */
export interface MissingExpert extends ExpertMark {
  /** AutoV3. */
  readonly hash: string;
  readonly name: string;
  /** Where it was last. */
  readonly path: string;
}

export interface LibraryContents {
  readonly folders: readonly LibraryFolder[];
  readonly cards: readonly LibraryCard[];
  readonly missing: readonly MissingExpert[];
  /** Files that are still to be read. */
  readonly reading: number;
}

export interface RecipeCard {
  readonly path: string;
  /** Without `.mole.json`. */
  readonly name: string;
  readonly bundled: boolean;
  readonly experts: readonly string[];
  readonly gate: boolean;
  readonly modifiedMs: number;
  /** Why it cannot be loaded. */
  readonly problem?: string;
}

/** A file as a recipe names it; `path` where it was found. */
export interface RecipeFile {
  readonly name: string;
  readonly sha256: string;
  readonly path?: string;
}

export interface LoadedRecipe extends Omit<Recipe, 'version' | 'experts' | 'gate'> {
  readonly name: string;
  /** In the order of the recipe; those without a path were not found. */
  readonly experts: readonly (RecipeFile & { readonly settings: Omit<ExpertSettings, 'path'> })[];
  readonly gate?: RecipeFile;
}

export interface LibraryMethods {
  library: { params: z.input<typeof libraryMethodSchemas.library>; result: LibraryContents };
  addLibraryFolder: { params: z.input<typeof libraryMethodSchemas.addLibraryFolder>; result: null };
  removeLibraryFolder: { params: z.input<typeof libraryMethodSchemas.removeLibraryFolder>; result: null };
  refreshLibrary: { params: z.input<typeof libraryMethodSchemas.refreshLibrary>; result: null };
  markExpert: { params: z.input<typeof libraryMethodSchemas.markExpert>; result: LibraryCard };
  forgetExpert: { params: z.input<typeof libraryMethodSchemas.forgetExpert>; result: null };
  findExperts: { params: z.input<typeof libraryMethodSchemas.findExperts>; result: readonly FoundExpert[] };
  /** Fetched from `thumbnails/<id>`; no id when it has no picture. */
  expertPicture: { params: z.input<typeof libraryMethodSchemas.expertPicture>; result: { readonly id?: string } };
  recipes: { params: z.input<typeof libraryMethodSchemas.recipes>; result: readonly RecipeCard[] };
  saveRecipe: { params: { readonly name: string; readonly mix: MixRequest }; result: RecipeCard };
  loadRecipe: { params: z.input<typeof libraryMethodSchemas.loadRecipe>; result: LoadedRecipe };
  removeRecipe: { params: z.input<typeof libraryMethodSchemas.removeRecipe>; result: null };
}

export type LibraryNews =
  | {
      readonly kind: 'library';
      /** New cards, and those that changed. */
      readonly changed: readonly LibraryCard[];
      /** Paths of cards that are no more. */
      readonly gone: readonly string[];
      readonly missing: readonly MissingExpert[];
      readonly folders: readonly LibraryFolder[];
      readonly reading: number;
    }
  | { readonly kind: 'recipes'; readonly recipes: readonly RecipeCard[] };
