// Finished pictures on one labelled sheet.
import { dirname } from 'node:path';
import { composeSheet } from '../formats/contact-sheet.ts';
import { decodePicture, encodePicture } from '../formats/png.ts';
import { makeFolder, writeNew } from '../formats/write-new.ts';

export interface SheetRequest {
  readonly pictures: readonly { readonly path: string; readonly label: string }[];
  readonly columns: number;
  /** A .png file; the next free number is taken when it exists. */
  readonly output: string;
}

/** Writes the sheet and returns the file it became. Throws PictureError and WriteError. */
export async function drawSheet({
  pictures,
  columns,
  output,
}: SheetRequest): Promise<{ readonly path: string; readonly width: number; readonly height: number }> {
  const entries = [];
  for (const { path, label } of pictures) entries.push({ picture: await decodePicture(path), label });
  const sheet = await composeSheet(entries, { columns });
  await makeFolder(dirname(output));
  const path = await writeNew(output, await encodePicture(sheet, { format: 'png' }, undefined));
  return { path, width: sheet.width, height: sheet.height };
}
