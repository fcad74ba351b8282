// The sheet of labelled pictures: where the pictures lie, and that labels are there without any font.
import { describe, expect, it } from 'vitest';
import { composeSheet } from '../../src-main/formats/contact-sheet.ts';
import { hasInk, letterHeight, letterWidth } from '../../src-main/formats/pixel-letters.ts';
import type { Picture } from '../../src-main/formats/png.ts';

const plain = (width: number, height: number, value: number): Picture => ({
  width,
  height,
  rgb: new Uint8Array(width * height * 3).fill(value),
});

/** Red of the pixel at x, y. */
const at = ({ width, rgb }: Picture, x: number, y: number): number => rgb[(y * width + x) * 3]!;

const inkOf = (letter: string): string =>
  Array.from({ length: letterHeight }, (_, y) =>
    Array.from({ length: letterWidth }, (_, x) => (hasInk(letter, x, y) ? '#' : ' ')).join(''),
  ).join('\n');

describe('a sheet', () => {
  it('shows the pictures in rows, margins white', async () => {
    const entries = [10, 20, 30].map((value) => ({ picture: plain(64, 32, value), label: '' }));
    const sheet = await composeSheet(entries, { columns: 2 });
    expect(at(sheet, 8, 8)).toBe(10);
    expect(at(sheet, 8 + 63, 8 + 31)).toBe(10);
    expect(at(sheet, 8 + 72, 8)).toBe(20);
    expect(at(sheet, 7, 8)).toBe(255);
    const secondRow = sheet.height / 2 + 4;
    expect(at(sheet, 8, secondRow)).toBe(30);
    expect(at(sheet, 8 + 72, secondRow)).toBe(255);
  });

  it('writes each label under its picture', async () => {
    const bare = await composeSheet([{ picture: plain(64, 32, 255), label: '' }], { columns: 4 });
    const labelled = await composeSheet([{ picture: plain(64, 32, 255), label: 'I' }], { columns: 4 });
    expect(Math.min(...bare.rgb)).toBe(255);
    expect(at(labelled, 8 + 2, 8 + 32 + 4 + 3)).toBeLessThan(128);
  });

  it('scales pictures down to the first one and the largest cell', async () => {
    const entries = [plain(200, 100, 1), plain(50, 50, 2)].map((picture) => ({ picture, label: 'x' }));
    const sheet = await composeSheet(entries, { columns: 2, mostCellSide: 100 });
    expect(sheet.width).toBe(8 + 2 * 108);
    expect(at(sheet, 8 + 108 + 99, 8 + 49)).toBe(2);
  });

  it('of a grid has its labels above the columns and left of the rows, and leaves cells without a picture empty', async () => {
    const entries = [
      { picture: undefined, label: '' },
      ...[10, 20, 30].map((value) => ({ picture: plain(64, 64, value), label: '' })),
    ];
    const labels = { columnLabels: ['1', '2'], rowLabels: ['I', 'I'], title: 'I' };
    const bare = await composeSheet(entries, { columns: 2 });
    const sheet = await composeSheet(entries, { columns: 2, ...labels });
    const [left, top] = [sheet.width - bare.width, sheet.height - bare.height];
    expect(left).toBe(letterWidth + 1 + 8);
    expect(top).toBeGreaterThan(2 * letterHeight);
    expect(at(sheet, left + 8, top + 8)).toBe(235);
    expect(at(sheet, left + 8 + 72, top + 8)).toBe(10);
    expect(at(sheet, left + 8, top + 8 + 72)).toBe(20);
    const hasInkIn = (x: number, y: number, width: number, height: number): boolean =>
      Array.from({ length: width * height }, (_, i) => at(sheet, x + (i % width), y + Math.floor(i / width))).some(
        (value) => value < 128,
      );
    expect(hasInkIn(left + 8, top - letterHeight, 64, letterHeight + 4)).toBe(true);
    expect(hasInkIn(8, top + 8, left, 64)).toBe(true);
  });

  it('without pictures is refused', async () => {
    await expect(composeSheet([], { columns: 2 })).rejects.toThrow(RangeError);
  });
});

describe('letters', () => {
  it('differ from one another, and from the box of an unknown one', () => {
    const all = Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-'!?()+/%_", inkOf);
    expect(new Set([...all, inkOf('漢')]).size).toBe(all.length + 1);
  });

  it('of small and accented kind are drawn as plain capitals', () => {
    expect(inkOf('é')).toBe(inkOf('E'));
  });
});
