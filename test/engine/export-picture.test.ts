// Copies of pictures in other formats: what travels with them, and under which name.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exportPicture, type PictureExportOrder } from '../../src-main/engine/export-picture.ts';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import { decodePicture } from '../../src-main/formats/png.ts';
import { paintPicture } from '../support/painted-picture.ts';

const golden = resolve(import.meta.dirname, '../golden/data/pictures');

let folder: string;
let source: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-export-'));
  source = join(folder, 'fox [1].png');
  await paintPicture(source, { prompt: 'a red fox', seed: 42, width: 64, height: 32, experts: ['ink'], date: 1.7e12 });
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const order = (more: Partial<PictureExportOrder> = {}): PictureExportOrder => ({
  path: source,
  folder: join(folder, 'out'),
  pattern: '[seed]',
  format: 'png',
  quality: 90,
  lossless: false,
  metadata: true,
  index: 1,
  ...more,
});

describe('an exported picture', () => {
  it('as PNG with its recipe is the file itself, byte by byte', async () => {
    const { path, ...facts } = await exportPicture(order());
    expect(facts).toEqual({ seed: 42, width: 64, height: 32 });
    expect(readFileSync(path)).toEqual(readFileSync(source));
  });

  it.each(['png', 'jpeg', 'webp'] as const)('as %s without its recipe tells nothing of it', async (format) => {
    const { path } = await exportPicture(order({ format, metadata: false }));
    expect(await readMetadata(path)).toEqual({ kind: 'none', warnings: [] });
    const bytes = readFileSync(path).toString('latin1');
    for (const word of ['red fox', 'mole', 'Euler', 'Exif', 'ink']) expect(bytes).not.toContain(word);
  });

  it.each(['jpeg', 'webp'] as const)('as %s with its recipe gives all of it back', async (format) => {
    const { path } = await exportPicture(order({ format }));
    const [before, after] = [await readMetadata(source), await readMetadata(path)];
    expect(after).toEqual(before);
  });

  it('as lossless WebP keeps every pixel', async () => {
    const { path } = await exportPicture(order({ format: 'webp', lossless: true }));
    expect(await decodePicture(path)).toEqual(await decodePicture(source));
  });

  it.each(['a1111.jpg', 'a1111-latin1.png'])('of A1111 (%s) keeps its text', async (name) => {
    const before = await readMetadata(join(golden, name));
    const { path } = await exportPicture(order({ path: join(golden, name), format: 'webp' }));
    const after = await readMetadata(path);
    expect(after.kind).toBe('a1111');
    expect(after).toMatchObject({ infotext: (before as { readonly infotext: string }).infotext });
  });
});

describe('its name', () => {
  const nameOf = async (pattern: string): Promise<string> => {
    const { path } = await exportPicture(order({ pattern, index: 3 }));
    return path.slice(join(folder, 'out').length + 1);
  };

  it('follows the pattern, and never leads elsewhere', async () => {
    expect(await nameOf('[prompt_words]-[seed]-[index]')).toBe('a-red-fox-42-3.png');
    expect(await nameOf('[name]-[width]')).toBe('fox _1_-64.png');
    expect(await nameOf('../../[seed]')).toBe('_.._42.png');
    await expect(nameOf('[colour]')).rejects.toThrow('[colour]');
  });

  it('is never that of an older file', async () => {
    mkdirSync(join(folder, 'out'));
    writeFileSync(join(folder, 'out/42.png'), 'older');
    await exportPicture(order());
    await exportPicture(order());
    expect(readdirSync(join(folder, 'out')).sort()).toEqual(['42-2.png', '42-3.png', '42.png']);
    expect(readFileSync(join(folder, 'out/42.png'), 'utf8')).toBe('older');
  });
});

describe('what cannot be exported', () => {
  it('is said, and leaves nothing behind', async () => {
    await expect(exportPicture(order({ path: join(folder, 'no.png') }))).rejects.toThrow('no.png cannot be read');
    writeFileSync(join(folder, 'torn.png'), readFileSync(source).subarray(0, 60));
    await expect(exportPicture(order({ path: join(folder, 'torn.png') }))).rejects.toThrow();
    writeFileSync(join(folder, 'file'), '');
    await expect(exportPicture(order({ folder: join(folder, 'file') }))).rejects.toThrow();
    expect(readdirSync(folder).sort()).toEqual(['file', 'fox [1].png', 'torn.png']);
  });
});
