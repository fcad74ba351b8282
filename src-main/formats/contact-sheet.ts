// Many pictures on one: cells of equal size in rows, each picture over its label, for comparing prompts at a glance; or a grid, whose
// columns and rows have the labels.
import { hasInk, letterHeight, letterWidth } from './pixel-letters.ts';
import { resizeCover, type Picture } from './png.ts';

export interface LabelledPicture {
  /** Undefined leaves the cell empty: a picture that could not be drawn. */
  readonly picture: Picture | undefined;
  readonly label: string;
}

export interface SheetOptions {
  readonly columns: number;
  /** Pixels of a cell's longer side; larger pictures are scaled down, smaller ones stay. */
  readonly mostCellSide?: number;
  /** Written above the columns and left of the rows; none where empty. */
  readonly columnLabels?: readonly string[];
  readonly rowLabels?: readonly string[];
  /** A line above everything. */
  readonly title?: string;
}

const margin = 8;
const ink = 40;
const paper = 255;
/** An empty cell. */
const missing = 235;
/** Pixels between two lines of a label. */
const lineGap = 2;
const mostLines = 3;
/** Letters of a row's label in one line. */
const mostLettersBeside = 16;

/**
 * The sheet of `entries`, row by row: [height, width, 3]. All cells have the size of the first picture; others are
 * scaled to cover it. Throws a RangeError when there are no pictures or no columns.
 */
export async function composeSheet(
  entries: readonly LabelledPicture[],
  { columns, mostCellSide = 512, columnLabels = [], rowLabels = [], title = '' }: SheetOptions,
): Promise<Picture> {
  const first = entries.find(({ picture }) => picture !== undefined)?.picture;
  if (first === undefined || !Number.isInteger(columns) || columns < 1) {
    throw new RangeError(`A sheet needs at least one picture and one column, got ${entries.length} and ${columns}.`);
  }
  const shrink = Math.min(1, mostCellSide / Math.max(first.width, first.height));
  const [cellWidth, cellHeight] = [Math.round(first.width * shrink), Math.round(first.height * shrink)];
  // Letters grow with the pictures, so that a large sheet seen small can still be read.
  const scale = Math.max(1, Math.round(cellWidth / 256));
  const perCell = Math.floor(cellWidth / ((letterWidth + 1) * scale));
  const lines = entries.map(({ label }) => wrap(label, perCell));
  const lineHeight = (letterHeight + lineGap) * scale;
  const labelHeight = Math.max(0, ...lines.map((wrapped) => wrapped.length)) * lineHeight;
  const used = Math.min(columns, entries.length);
  const rows = Math.ceil(entries.length / used);
  const [stepX, stepY] = [cellWidth + margin, cellHeight + labelHeight + (labelHeight === 0 ? 1 : 2) * margin];
  const above = columnLabels.slice(0, used).map((label) => wrap(label, perCell));
  const beside = rowLabels.slice(0, rows).map((label) => wrap(label, mostLettersBeside));
  const longest = Math.max(0, ...beside.flat().map((line) => line.length));
  const gutter = longest === 0 ? 0 : longest * (letterWidth + 1) * scale + margin;
  const titleLines = title === '' ? [] : wrap(title, Math.floor((gutter + used * stepX) / ((letterWidth + 1) * scale)));
  const titleHeight = titleLines.length * lineHeight + (titleLines.length === 0 ? 0 : margin);
  const headHeight = Math.max(0, ...above.map((wrapped) => wrapped.length)) * lineHeight;
  const head = titleHeight + headHeight + (headHeight === 0 ? 0 : Math.floor(margin / 2));
  const sheet = blank(margin + gutter + used * stepX, margin + head + rows * stepY);
  const writeAll = (all: readonly string[], left: number, top: number): void => {
    all.forEach((line, row) => {
      write(sheet, line, left, top + row * lineHeight, scale);
    });
  };
  writeAll(titleLines, margin, margin);
  above.forEach((wrapped, i) => {
    // The last line stands on the pictures.
    const top = margin + titleHeight + headHeight - wrapped.length * lineHeight;
    writeAll(wrapped, margin + gutter + i * stepX, top);
  });
  beside.forEach((wrapped, i) => {
    const middle = Math.floor((cellHeight - wrapped.length * lineHeight) / 2);
    writeAll(wrapped, margin, margin + head + i * stepY + Math.max(0, middle));
  });
  for (const [i, { picture }] of entries.entries()) {
    const [left, top] = [margin + gutter + (i % used) * stepX, margin + head + Math.floor(i / used) * stepY];
    const cell = picture === undefined ? undefined : await resizeCover(picture, cellWidth, cellHeight);
    paste(sheet, cell ?? plain(cellWidth, cellHeight, missing), left, top);
    writeAll(lines[i]!, left, top + cellHeight + Math.floor(margin / 2));
  }
  return sheet;
}

const blank = (width: number, height: number): Picture => plain(width, height, paper);

function plain(width: number, height: number, value: number): Picture {
  return { width, height, rgb: new Uint8Array(width * height * 3).fill(value) };
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
