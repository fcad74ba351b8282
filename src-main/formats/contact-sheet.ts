// Many pictures on one: cells of equal size in rows, each picture over its label, for comparing prompts at a glance.
import { hasInk, letterHeight, letterWidth } from './pixel-letters.ts';
import { resizeCover, type Picture } from './png.ts';

export interface LabelledPicture {
  readonly picture: Picture;
  readonly label: string;
}

export interface SheetOptions {
  readonly columns: number;
  /** Pixels of a cell's longer side; larger pictures are scaled down, smaller ones stay. */
  readonly mostCellSide?: number;
}

const margin = 8;
const ink = 40;
const paper = 255;
/** Pixels between two lines of a label. */
const lineGap = 2;
const mostLines = 3;

/**
 * The sheet of `entries`, row by row: [height, width, 3]. All cells have the size of the first picture; others are
 * scaled to cover it. Throws a RangeError when there are no pictures or no columns.
 */
export async function composeSheet(
  entries: readonly LabelledPicture[],
  { columns, mostCellSide = 512 }: SheetOptions,
): Promise<Picture> {
  const first = entries[0]?.picture;
  if (first === undefined || !Number.isInteger(columns) || columns < 1) {
    throw new RangeError(`A sheet needs at least one picture and one column, got ${entries.length} and ${columns}.`);
  }
  const shrink = Math.min(1, mostCellSide / Math.max(first.width, first.height));
  const [cellWidth, cellHeight] = [Math.round(first.width * shrink), Math.round(first.height * shrink)];
  // Letters grow with the pictures, so that a large sheet seen small can still be read.
  const scale = Math.max(1, Math.round(cellWidth / 256));
  const lines = entries.map(({ label }) => wrap(label, Math.floor(cellWidth / ((letterWidth + 1) * scale))));
  const lineHeight = (letterHeight + lineGap) * scale;
  const labelHeight = Math.max(0, ...lines.map((wrapped) => wrapped.length)) * lineHeight;
  const used = Math.min(columns, entries.length);
  const rows = Math.ceil(entries.length / used);
  const [stepX, stepY] = [cellWidth + margin, cellHeight + labelHeight + 2 * margin];
  const sheet = blank(margin + used * stepX, margin + rows * stepY);
  for (const [i, { picture }] of entries.entries()) {
    const [left, top] = [margin + (i % used) * stepX, margin + Math.floor(i / used) * stepY];
    paste(sheet, await resizeCover(picture, cellWidth, cellHeight), left, top);
    lines[i]!.forEach((line, row) => {
      write(sheet, line, left, top + cellHeight + Math.floor(margin / 2) + row * lineHeight, scale);
    });
  }
  return sheet;
}

function blank(width: number, height: number): Picture {
  return { width, height, rgb: new Uint8Array(width * height * 3).fill(paper) };
}

function paste(sheet: Picture, picture: Picture, left: number, top: number): void {
  const rowBytes = picture.width * 3;
  for (let y = 0; y < picture.height; y++) {
    sheet.rgb.set(picture.rgb.subarray(y * rowBytes, (y + 1) * rowBytes), ((top + y) * sheet.width + left) * 3);
  }
}

function write(sheet: Picture, line: string, left: number, top: number, scale: number): void {
  Array.from(line).forEach((letter, i) => {
    const start = left + i * (letterWidth + 1) * scale;
    for (let y = 0; y < letterHeight * scale; y++) {
      for (let x = 0; x < letterWidth * scale; x++) {
        if (!hasInk(letter, Math.floor(x / scale), Math.floor(y / scale))) continue;
        const at = ((top + y) * sheet.width + start + x) * 3;
        sheet.rgb.fill(ink, at, at + 3);
      }
    }
  });
}

/** `text` in lines of at most `width` letters, broken between words where possible; what does not fit is left out. */
function wrap(text: string, width: number): readonly string[] {
  if (width < 1) return [];
  const lines: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else for (let i = 0; i < word.length; i += width) lines.push(word.slice(i, i + width));
  }
  return lines.slice(0, mostLines);
}
