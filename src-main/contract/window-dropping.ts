// The window's language of what is dropped on it: pictures are read for their settings, folders are looked into.
import { z } from 'zod';
import type { PictureReport } from './pictures.ts';

const path = z.string().min(1).max(4096);

export const droppingMethodSchemas = {
  /** What a picture says of how it was made: one of the app's by `id`, one on the disk of the host by `path`. */
  readPicture: z.union([z.strictObject({ path }), z.strictObject({ id: z.string().min(1).max(100) })]),
  /** Files below a folder that something here can use: experts, what lies beside them, recipes, pictures. */
  listFolder: z.strictObject({ path }),
} as const;

export interface ReadPicture extends PictureReport {
  /** Fetched from `pictures/<id>`; an order may start from it. */
  readonly id: string;
  /** Of its file. */
  readonly name: string;
}

export interface FolderListing {
  /** Absolute, by name. */
  readonly paths: readonly string[];
  /** Files that nothing here can use. */
  readonly others: number;
  /** Whether the folder holds more than is listed. */
  readonly cut: boolean;
}

export interface DroppingMethods {
  readPicture: { params: z.input<typeof droppingMethodSchemas.readPicture>; result: ReadPicture };
  listFolder: { params: z.input<typeof droppingMethodSchemas.listFolder>; result: FolderListing };
}
