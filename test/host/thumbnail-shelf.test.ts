// Small pictures by id, drawn by the real engine: of a LoRA with a picture beside it, of a picture itself, and of neither.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EngineClient } from '../../src-main/client/engine-client.ts';
import { decodePicture, encodePicture } from '../../src-main/formats/png.ts';
import { fileForWindow } from '../../src-main/host/files-for-windows.ts';
import { PictureShelf } from '../../src-main/host/picture-shelf.ts';
import { ThumbnailShelf } from '../../src-main/host/thumbnail-shelf.ts';
import { copyLora, testEngine } from '../support/library-case.ts';

let engine: EngineClient;
let root: string;
let cache: string;
let shelf: ThumbnailShelf;
let drawn: string[];
beforeAll(() => {
  engine = testEngine();
  root = mkdtempSync(join(tmpdir(), 'atelier-thumbnails-'));
});
afterAll(async () => {
  await engine.close();
  rmSync(root, { recursive: true, force: true });
});
beforeEach(() => {
  cache = mkdtempSync(join(root, 'cache-'));
  drawn = [];
  shelf = new ThumbnailShelf(cache, async (path, output) => {
    drawn.push(path);
    return (await engine.request('thumbnail', { path, output, side: 64 })).drawn;
  });
});

async function paint(path: string, width: number, height: number, grey = 90): Promise<string> {
  const rgb = new Uint8Array(width * height * 3).fill(grey);
  writeFileSync(path, await encodePicture({ width, height, rgb }, { format: 'png' }, undefined));
  return path;
}

describe('a thumbnail', () => {
  it('is the picture beside a LoRA, or a picture itself, at most as large as asked', async () => {
    const lora = copyLora(join(root, 'fox.safetensors'));
    await paint(join(root, 'fox.png'), 200, 100);
    const picture = await paint(join(root, 'alone.png'), 30, 60);
    const small = await decodePicture((await shelf.pathOf(shelf.put(lora)))!);
    expect([small.width, small.height]).toEqual([64, 32]);
    const same = await decodePicture((await shelf.pathOf(shelf.put(picture)))!);
    expect([same.width, same.height]).toEqual([30, 60]);
  });

  it('is drawn once, also when many ask at once, and once more when the file has changed', async () => {
    const path = await paint(join(root, 'changing.png'), 80, 80);
    const id = shelf.put(path, '1');
    const paths = await Promise.all([shelf.pathOf(id), shelf.pathOf(id), shelf.pathOf(id)]);
    expect(new Set(paths).size).toBe(1);
    const again = new ThumbnailShelf(cache, () => Promise.reject(new Error('It is there already.')));
    expect(await again.pathOf(again.put(path))).toBe(paths[0]);
    await paint(path, 90, 90, 10);
    expect(await shelf.pathOf(shelf.put(path, '2'))).not.toBe(paths[0]);
    expect(shelf.put(path, '2')).not.toBe(id);
    expect(drawn).toHaveLength(2);
    expect(readdirSync(cache)).toHaveLength(2);
  });

  it('is nothing for a LoRA without a picture, for what is none, and for an id that was never given', async () => {
    mkdirSync(join(root, 'bare'), { recursive: true });
    const bare = copyLora(join(root, 'bare/sketch.safetensors'), 'sketch');
    const liar = join(root, 'liar.png');
    writeFileSync(liar, 'no pixels');
    copyFileSync(liar, join(root, 'bare/sketch.png'));
    for (const path of [bare, liar, join(root, 'nowhere.png')]) {
      expect(await shelf.pathOf(shelf.put(path))).toBeUndefined();
    }
    expect(await shelf.pathOf('00000000-0000-4000-8000-000000000000')).toBeUndefined();
  });

  it('has an address of its own, and its file has none', async () => {
    const path = await paint(join(root, 'addressed.png'), 20, 20);
    const id = shelf.put(path);
    const pictures = new PictureShelf(shelf);
    expect((await fileForWindow(`/thumbnails/${id}`, cache, pictures))?.type).toBe('image/webp');
    expect(await fileForWindow(`/pictures/${id}`, cache, pictures)).toBeUndefined();
    expect(await fileForWindow(`/thumbnails/${encodeURIComponent(path)}`, cache, pictures)).toBeUndefined();
  });
});
