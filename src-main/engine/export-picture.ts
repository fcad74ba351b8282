// A copy of a picture in another format, under a name of its own: with the settings that the picture carries, or without any.
import { stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { PictureFormat } from '../contract/generation.ts';
import { formatFileName } from '../formats/file-name.ts';
import { readPictureBytes, sniffFormat } from '../formats/picture-file.ts';
import { readMetadata, type FoundMetadata, type PictureMetadata } from '../formats/picture-metadata.ts';
import { decodePicture, encodePicture } from '../formats/png.ts';
import { makeFolder, writeNew } from '../formats/write-new.ts';

export interface PictureExportOrder {
  /** Absolute. */
  readonly path: string;
  /** Made when it is missing. */
  readonly folder: string;
  /** formats/file-name.ts lists the tokens; `[name]` is the name that the picture has. */
  readonly pattern: string;
  readonly format: PictureFormat;
  /** 1..100, JPEG and lossy WebP. */
  readonly quality: number;
  readonly lossless: boolean;
  /** False writes no text, EXIF or XMP at all. */
  readonly metadata: boolean;
  /** Place in the batch, from 1. */
  readonly index: number;
}

const extensions = { png: 'png', jpeg: 'jpg', webp: 'webp' } as const;

/** Writes the copy; an older file of its name stays. Throws PictureError, WriteError, FileNamePatternError. */
export async function exportPicture(
  order: PictureExportOrder,
): Promise<{ readonly path: string; readonly seed: number; readonly width: number; readonly height: number }> {
  const { path, folder, format, metadata } = order;
  const bytes = await readPictureBytes(path);
  const found = await readMetadata(bytes);
  const picture = await decodePicture(bytes);
  const name = await nameOf(order, found, picture);
  const kept = metadata ? keptOf(found) : undefined;
  // A PNG that stays one, with all it says, is copied as it is.
  const asItIs = metadata && format === 'png' && sniffFormat(bytes) === 'png';
  const content = asItIs ? bytes : await encodePicture(picture, order, kept);
  await makeFolder(folder);
  const written = await writeNew(join(folder, `${name}.${extensions[format]}`), content);
  return { path: written, seed: seedOf(found), width: picture.width, height: picture.height };
}

/** What of the settings can be written again: ours, and A1111's text; a ComfyUI graph cannot. */
function keptOf(found: FoundMetadata): PictureMetadata | undefined {
  if (found.kind === 'mole') return { infotext: found.infotext ?? '', mole: found.mole };
  return found.kind === 'a1111' ? { infotext: found.infotext, mole: undefined } : undefined;
}

function seedOf(found: FoundMetadata): number {
  const seed = found.kind === 'none' ? undefined : found.parameters?.seed;
  return seed === undefined || seed > Number.MAX_SAFE_INTEGER ? 0 : Number(seed);
}

async function nameOf(
  { path, pattern, index }: PictureExportOrder,
  found: FoundMetadata,
  { width, height }: { readonly width: number; readonly height: number },
): Promise<string> {
  const said = found.kind === 'none' ? undefined : found.parameters;
  const { mtime } = await stat(path);
  const own = basename(path, extname(path));
  return formatFileName(
    pattern.replaceAll('[name]', () => own.replace(/[[\]]/g, '_')),
    {
      seed: seedOf(found),
      steps: said?.steps ?? 0,
      cfg: said?.cfgScale ?? 0,
      sampler: said?.sampler ?? '',
      model: said?.model ?? '',
      width,
      height,
      prompt: said?.prompt ?? '',
      date: mtime,
      batch: 1,
      index,
    },
  );
}
