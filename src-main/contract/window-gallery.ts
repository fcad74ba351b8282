// The window's language of the gallery: every picture drawn here or found in the folder of pictures, with what it was drawn from.
// Texts of pictures are hostile text; pictures have ids, paths stay with the host.
import { z } from 'zod';
import { generateRequestSchema } from './generation.ts';
import type { PictureReport } from './pictures.ts';
import type { DrawOrder, WindowPicture } from './window-drawing.ts';

const id = z.string().min(1).max(100);
const ids = z.array(id).min(1).max(100_000);
const { format, quality, lossless, metadata, pattern } = generateRequestSchema.shape.output.shape;

export const galleryMethodSchemas = {
  /** Pictures that fit, newest first. `next` of one page is `before` of the next. */
  searchPictures: z.strictObject({
    /** Beginnings of words of prompt, experts, model and file name; all of them must be there. */
    text: z.string().max(1000).default(''),
    favourites: z.boolean().default(false),
    /** Of the file, without its ending. */
    expert: z.string().max(300).optional(),
    before: z.number().int().min(0).optional(),
    limit: z.number().int().min(1).max(500).default(200),
  }),
  /** Which experts have been used, the most used first. */
  pictureExperts: z.strictObject({}),
  pictureDetails: z.strictObject({ id }),
  setFavourite: z.strictObject({ ids, favourite: z.boolean() }),
  /** Takes pictures out of the gallery and to the trash; `untrashPictures` brings them back. */
  trashPictures: z.strictObject({ ids }),
  untrashPictures: z.strictObject({ ids }),
  /** Deletes what lies in the app's own trash for good; the system's trash is the system's. */
  emptyTrash: z.strictObject({}),
  /** Copies of pictures in another format: into a folder, or, without one, for the window to fetch by id. News tell how far. */
  exportPictures: z.strictObject({
    ids,
    format,
    quality,
    lossless,
    metadata,
    pattern,
    /** Absolute, on the machine of the host; made when it is missing. */
    folder: z.string().min(1).max(4096).optional(),
  }),
  /** Stops after the picture in work; what was exported stays. */
  cancelExport: z.strictObject({}),
  /** Lets the artist choose a folder; null when none was chosen, or there is no dialog to do it with. */
  chooseFolder: z.strictObject({}),
  /** Shows the picture's file in the system's file manager: desktop only. */
  revealPicture: z.strictObject({ id }),
  /** Begins to drag the pictures' files out of the window: desktop only. */
  dragPictures: z.strictObject({ ids: z.array(id).min(1).max(500) }),
} as const;

export interface GalleryPicture extends WindowPicture {
  /** Fetched from `thumbnails/<id>`. */
  readonly thumbnail: string;
  /** Milliseconds since 1970. */
  readonly date: number;
  /** Its first 300 characters. */
  readonly prompt: string;
  readonly favourite: boolean;
}

export interface GalleryPage {
  readonly pictures: readonly GalleryPicture[];
  /** Undefined on the last page. */
  readonly next?: number;
  /** Of all pictures that fit; on the first page only, as `trashed`, which counts those in the app's own trash. */
  readonly total?: number;
  readonly trashed?: number;
}

export interface GalleryDetails extends PictureReport {
  readonly picture: GalleryPicture;
  /** Of the file. */
  readonly bytes: number;
  /** As it was ordered here, with paths as they were then; undefined for pictures that came from elsewhere. */
  readonly order?: DrawOrder;
}

export interface ExportResult {
  readonly exported: readonly WindowPicture[];
  /** Where they lie; undefined when they are for the window to fetch. */
  readonly folder?: string;
  /** Names of pictures that could not be exported, and why. */
  readonly failed: readonly { readonly name: string; readonly message: string }[];
  readonly cancelled: boolean;
}

type Params<Name extends keyof typeof galleryMethodSchemas> = z.input<(typeof galleryMethodSchemas)[Name]>;

export interface GalleryMethods {
  searchPictures: { params: Params<'searchPictures'>; result: GalleryPage };
  pictureExperts: { params: Params<'pictureExperts'>; result: readonly string[] };
  pictureDetails: { params: Params<'pictureDetails'>; result: GalleryDetails };
  setFavourite: { params: Params<'setFavourite'>; result: null };
  trashPictures: { params: Params<'trashPictures'>; result: null };
  untrashPictures: { params: Params<'untrashPictures'>; result: null };
  emptyTrash: { params: Params<'emptyTrash'>; result: { readonly deleted: number } };
  exportPictures: { params: Params<'exportPictures'>; result: ExportResult };
  cancelExport: { params: Params<'cancelExport'>; result: null };
  chooseFolder: { params: Params<'chooseFolder'>; result: string | null };
  revealPicture: { params: Params<'revealPicture'>; result: null };
  dragPictures: { params: Params<'dragPictures'>; result: null };
}

export type GalleryNews =
  /** New pictures, and those of which more is known now. */
  | { readonly kind: 'gallery-pictures'; readonly pictures: readonly GalleryPicture[] }
  | { readonly kind: 'gallery-favourite'; readonly ids: readonly string[]; readonly favourite: boolean }
  | { readonly kind: 'gallery-gone'; readonly ids: readonly string[] }
  /** Many pictures came or went at once: search again. */
  | { readonly kind: 'gallery-changed' }
  | { readonly kind: 'gallery-export'; readonly done: number; readonly total: number };
