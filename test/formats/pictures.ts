// The golden pictures of test/golden/pictures.py (Pillow, piexif), for the tests of the picture formats.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Picture } from '../../src-main/formats/png.ts';

const folder = join(import.meta.dirname, '../golden/data/pictures');

/** Path of a golden file. */
export const goldenPath = (name: string): string => join(folder, name);

/** Bytes of a golden file. */
export const golden = (name: string): Buffer => readFileSync(goldenPath(name));

interface HexPicture {
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
}

interface Expected {
  readonly settings: string;
  readonly latin1: string;
  readonly unicode: string;
  readonly pixels: HexPicture;
  /** What piexif.dump gives for a UserComment with the `unicode` text. */
  readonly piexif: string;
  readonly decoded: Readonly<Record<string, HexPicture>>;
  readonly cover: { readonly from: HexPicture; readonly to: Readonly<Record<string, string>> };
}

export const expected = JSON.parse(golden('expected.json').toString()) as Expected;

/** A picture from its hexadecimal form. */
export function fromHex({ width, height, rgb }: HexPicture): Picture {
  return { width, height, rgb: Buffer.from(rgb, 'hex') };
}

/** Mean absolute difference of two pictures of one size, in steps of 0..255. */
export function meanDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Infinity;
  return a.reduce((sum, value, index) => sum + Math.abs(value - b[index]!), 0) / a.length;
}
