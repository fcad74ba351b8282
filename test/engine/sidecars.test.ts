// Sidecars by A1111's names, and what hostile ones do: nothing.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { findSidecars, textOfHtml } from '../../src-main/engine/sidecars.ts';
import { drawThumbnail, findThumbnail } from '../../src-main/engine/thumbnail.ts';
import { decodePicture, encodePicture } from '../../src-main/formats/png.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';

const root = mkdtempSync(join(tmpdir(), 'atelier-sidecars-'));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

let count = 0;
let folder = '';
let lora = '';
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
  lora = join(folder, 'ink v1.2.safetensors');
});
const put = (ending: string, content: string | Uint8Array): string => {
  const path = join(folder, `ink v1.2${ending}`);
  writeFileSync(path, content);
  return path;
};
const picture = (width: number, height: number, format: 'png' | 'jpeg' | 'webp' = 'png'): Promise<Uint8Array> =>
  encodePicture({ width, height, rgb: new Uint8Array(width * height * 3).fill(90) }, { format }, undefined);

describe('files beside a LoRA', () => {
  it('none: nothing found, nothing to complain about', async () => {
    expect(await findSidecars(lora)).toEqual({ files: [], warnings: [] });
  });

  it('notes of A1111, with its own field names', async () => {
    const file = put(
      '.json',
      JSON.stringify({
        description: 'soft ink',
        'sd version': 'SD1',
        'activation text': 'inkpunk, drawing',
        'preferred weight': 0.7,
        'negative text': 'photo',
        notes: 'mine',
      }),
    );
    const found = await findSidecars(lora);
    expect(found.files).toEqual([file]);
    expect(found.notes).toEqual({
      description: 'soft ink',
      baseModel: 'SD1',
      activationText: 'inkpunk, drawing',
      preferredWeight: 0.7,
      negativeText: 'photo',
      notes: 'mine',
    });
  });

  it("an unset weight is 0 in A1111's file, and no weight here; fields of a wrong type do not count", async () => {
    put('.json', JSON.stringify({ 'preferred weight': 0, description: ['x'], 'activation text': 'ink' }));
    expect((await findSidecars(lora)).notes).toEqual({ activationText: 'ink' });
  });

  it("Civitai's answer, its HTML as text", async () => {
    put(
      '.civitai.info',
      JSON.stringify({
        trainedWords: ['ink style', 7, 'wash'],
        baseModel: 'SD 1.5',
        description: '<p>Soft <b>ink</b> &amp; wash<br>by me</p><script>alert(1)</script>',
        model: { name: 'Ink' },
        creator: { username: 'somebody' },
      }),
    );
    expect((await findSidecars(lora)).civitai).toEqual({
      trainedWords: ['ink style', 'wash'],
      baseModel: 'SD 1.5',
      title: 'Ink',
      author: 'somebody',
      description: 'Soft ink & wash\nby me\nalert(1)',
    });
  });

  it('the description: .txt before .description.txt; the picture: its own name before .preview', async () => {
    put('.description.txt', 'second');
    expect((await findSidecars(lora)).description).toBe('second');
    put('.txt', 'first\n');
    expect((await findSidecars(lora)).description).toBe('first');
    const preview = put('.preview.png', await picture(8, 8));
    expect((await findSidecars(lora)).picture).toBe(preview);
    const own = put('.webp', await picture(8, 8, 'webp'));
    expect((await findSidecars(lora)).picture).toBe(own);
  });

  it.each([
    ['.json', '['.repeat(1000), /nested more than/],
    ['.json', 'not json', /not JSON/],
    ['.json', '[1]', /not a JSON object/],
    ['.civitai.info', ' '.repeat(5_000_000), /at most 4194304 are read/],
    ['.txt', 'x'.repeat(70_000), /at most 65536 are read/],
  ])('a bad %s is a warning', async (ending, content, words) => {
    put(ending, content);
    const { files, warnings } = await findSidecars(lora);
    expect(files).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(words);
    expect(warnings[0]).toContain(`ink v1.2${ending} beside it is not used`);
  });

  it('folders and named pipes of such a name are passed by', async () => {
    mkdirSync(join(folder, 'ink v1.2.txt'));
    if (process.platform !== 'win32') execFileSync('mkfifo', [join(folder, 'ink v1.2.json')]);
    expect(await findSidecars(lora)).toEqual({ files: [], warnings: [] });
  });

  it('a text of nothing but "<" is read in no time', () => {
    expect(textOfHtml('<'.repeat(1e6)).length).toBeLessThanOrEqual(2 ** 16);
  });
});

describe('the picture of a LoRA', () => {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const find = async (metadata: Readonly<Record<string, string>>) =>
    findThumbnail(lora, metadata, await findSidecars(lora));

  it('beside it: path, format, bytes and pixels, decoded only when drawn, at most 256 px a side', async () => {
    const bytes = await picture(600, 300, 'jpeg');
    const path = put('.jpg', bytes);
    const found = await find({});
    expect(found).toEqual({ where: 'file', path, format: 'jpeg', bytes: bytes.length, width: 600, height: 300 });
    const small = await decodePicture(await drawThumbnail(found!));
    expect([small.width, small.height]).toEqual([256, 128]);
  });

  it('in modelspec.thumbnail as a data URL, or among the cover images', async () => {
    const bytes = await picture(40, 20);
    const spec = { 'modelspec.thumbnail': `data:image/png;base64,${base64(bytes)}` };
    const covers = { ssmd_cover_images: JSON.stringify([base64(bytes), 'x']) };
    const size = { path: lora, format: 'png', bytes: bytes.length, width: 40, height: 20 };
    expect(await find(spec)).toEqual({ where: 'modelspec.thumbnail', ...size });
    expect(await find(covers)).toEqual({ where: 'ssmd_cover_images', ...size });
    for (const metadata of [spec, covers]) {
      await writeSafetensors(lora, {}, metadata);
      const small = await decodePicture(await drawThumbnail((await find(metadata))!));
      expect([small.width, small.height]).toEqual([40, 20]);
    }
  });

  it('what is no picture, an SVG, deep JSON or too long counts as none', async () => {
    put('.png', '<svg xmlns="http://www.w3.org/2000/svg"/>');
    for (const text of [
      '',
      'x',
      '[[[[',
      base64(Buffer.from('<svg/>')),
      `[${'['.repeat(1e6)}`,
      'A'.repeat(2 ** 24 + 1),
    ]) {
      expect(await find({ 'modelspec.thumbnail': text, ssmd_cover_images: text })).toBeUndefined();
    }
  });

  it('one that claims a billion pixels is named, and refused when drawn', async () => {
    const bytes = Buffer.from(await picture(8, 8));
    // IHDR: width and height are the 32-bit numbers at 16 and 20.
    bytes.writeUInt32BE(32_000, 16);
    bytes.writeUInt32BE(32_000, 20);
    const path = put('.png', bytes);
    const found = await find({});
    expect(found).toMatchObject({ path, bytes: bytes.length });
    await expect(drawThumbnail(found!)).rejects.toMatchObject({ name: 'PictureError' });
  });
});
