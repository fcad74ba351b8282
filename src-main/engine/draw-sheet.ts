// Finished pictures on one labelled sheet, which tells how its first picture was made and what its columns and rows are.
import { dirname } from 'node:path';
import { composeSheet } from '../formats/contact-sheet.ts';
import { readMetadata, type PictureMetadata } from '../formats/picture-metadata.ts';
import { decodePicture, encodePicture } from '../formats/png.ts';
import { makeFolder, writeNew } from '../formats/write-new.ts';

export interface SheetRequest {
  /** Row by row; a cell without a path stays empty. */
  readonly pictures: readonly { readonly path?: string | undefined; readonly label: string }[];
  readonly columns: number;
  /** None where empty. */
  readonly columnLabels: readonly string[];
  readonly rowLabels: readonly string[];
  readonly title: string;
  /** A .png file; the next free number is taken when it exists. */
  readonly output: string;
}

/** Writes the sheet and returns the file it became. Throws PictureError and WriteError. */
export async function drawSheet(
  request: SheetRequest,
): Promise<{ readonly path: string; readonly width: number; readonly height: number }> {
  const { pictures, output, ...options } = request;
  const entries = [];
  for (const { path, label } of pictures) {
    entries.push({ picture: path === undefined ? undefined : await decodePicture(path), label });
  }
  const sheet = await composeSheet(entries, options);
  await makeFolder(dirname(output));
  const path = await writeNew(output, await encodePicture(sheet, { format: 'png' }, await metadataOf(request)));
  return { path, width: sheet.width, height: sheet.height };
}

/** The settings of the first picture that has some, and the labels; undefined where none has. */
async function metadataOf({
  pictures,
  columnLabels,
  rowLabels,
  title,
}: SheetRequest): Promise<PictureMetadata | undefined> {
  for (const { path } of pictures) {
    const found = path === undefined ? undefined : await readMetadata(path);
    if (found?.kind !== 'mole' || found.infotext === undefined) continue;
    const own = typeof found.mole === 'object' && found.mole !== null ? found.mole : {};
    return { infotext: found.infotext, mole: { ...own, sheet: { title, columns: columnLabels, rows: rowLabels } } };
  }
  return undefined;
}
