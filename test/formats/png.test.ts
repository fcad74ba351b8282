// Pictures decoded as Pillow decodes them, and written so that pixels, text and silence are what was asked for.
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import { decodePicture, encodePicture, resizeCover, type EncodeOptions } from '../../src-main/formats/png.ts';
import { pictureTolerance } from '../support/tolerances.ts';
import { expected, fromHex, golden, goldenPath, meanDifference } from './pictures.ts';

const picture = fromHex(expected.pixels);
const metadata = {
  infotext: expected.unicode,
  mole: {
    version: 1,
    prompt: '雪 <fox> & "é" 🦊 \u0000\u007f\uffff',
    seed: 0,
    experts: [{ hash: 'ab', strength: 0.5 }],
  },
};
const ways: readonly (readonly [string, EncodeOptions, number])[] = [
  ['png', { format: 'png' }, 0],
  ['webp, lossless', { format: 'webp', lossless: true }, 0],
  ['webp', { format: 'webp', quality: 95 }, pictureTolerance.webp],
  ['jpeg', { format: 'jpeg', quality: 95 }, pictureTolerance.jpeg],
];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pictures-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('encodePicture', () => {
  it.each(ways)('%s keeps pixels, infotext and our state', async (_, options, most) => {
    const bytes = await encodePicture(picture, options, metadata);
    const back = await decodePicture(bytes);
    expect([back.width, back.height]).toEqual([16, 8]);
    expect(meanDifference(back.rgb, picture.rgb)).toBeLessThanOrEqual(most);
    const found = await readMetadata(bytes);
    expect(found).toMatchObject({ kind: 'mole', infotext: expected.unicode, warnings: [] });
    expect(found).toHaveProperty('mole', metadata.mole);
    expect(found).toHaveProperty('parameters.seed', 1234567890);
  });

  it.each(ways)('%s without metadata holds no text at all', async (_, options) => {
    const bytes = Buffer.from(await encodePicture(picture, options, undefined));
    expect(bytes.toString('latin1')).not.toMatch(/tEXt|zTXt|iTXt|eXIf|EXIF|Exif|XMP|xmp|mole|parameters|vips/);
    expect(await readMetadata(bytes)).toEqual({ kind: 'none', warnings: [] });
    const seen = await sharp(bytes).metadata();
    expect([seen.exif, seen.xmp, seen.iptc, seen.comments]).toEqual([undefined, undefined, undefined, undefined]);
  });

  it.each(ways)('%s is read by sharp as well, text included', async (_, options) => {
    const seen = await sharp(await encodePicture(picture, options, metadata)).metadata();
    expect([seen.width, seen.height]).toEqual([16, 8]);
    if (options.format === 'png') {
      expect(seen.comments).toContainEqual({ keyword: 'parameters', text: expected.unicode });
    } else {
      expect(seen.exif?.toString('hex')).toContain(Buffer.from(expected.unicode, 'utf16le').swap16().toString('hex'));
      expect(seen.xmp?.toString()).toContain('<mole:state>');
    }
  });

  it('refuses what cannot be written, and says what to do', async () => {
    const long = { infotext: 'x'.repeat(40_000), mole: {} };
    await expect(encodePicture(picture, { format: 'jpeg' }, long)).rejects.toThrow(/Save it as PNG or WebP/);
    expect((await readMetadata(await encodePicture(picture, { format: 'webp' }, long))).kind).toBe('mole');
    await expect(encodePicture({ ...picture, width: 17 }, { format: 'png' }, undefined)).rejects.toThrow(
      /17x8 .*408.*384/,
    );
    await expect(encodePicture(picture, { format: 'jpeg', quality: 0 }, undefined)).rejects.toThrow(/1 to 100, not 0/);
    const wide = { width: 20_000, height: 1, rgb: new Uint8Array(60_000) };
    await expect(encodePicture(wide, { format: 'webp' }, undefined)).rejects.toThrow(/16383.*Save it as PNG/);
  });
});

describe('decodePicture', () => {
  it.each(Object.entries(expected.decoded))('%s as Pillow does', async (name, hex) => {
    const [got, want] = [await decodePicture(goldenPath(name)), fromHex(hex)];
    expect([got.width, got.height]).toEqual([want.width, want.height]);
    const differences = Array.from(got.rgb, (value, index) => Math.abs(value - want.rgb[index]!));
    expect(Math.max(...differences)).toBeLessThanOrEqual(pictureTolerance.decoded);
  });

  it('refuses a picture that is too large before decoding it', async () => {
    await expect(decodePicture(golden('alpha.png'), { limitPixels: 127 })).rejects.toMatchObject({
      problem: 'too-large',
    });
    await expect(decodePicture(golden('alpha.png'), { limitPixels: 128 })).resolves.toMatchObject({ width: 16 });
    const before = process.memoryUsage().rss;
    await expect(decodePicture(hugePng(60_000, 60_000))).rejects.toMatchObject({ problem: 'too-large' });
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });

  it('names a file that is missing, a folder, empty, no picture, cut off or damaged', async () => {
    const write = async (name: string, bytes: Uint8Array): Promise<string> => {
      await writeFile(join(folder, name), bytes);
      return join(folder, name);
    };
    const png = Buffer.from(await encodePicture(await noisy(), { format: 'png' }, undefined));
    const damaged = Buffer.from(png);
    damaged.fill(0x55, 2000, 3000);
    const jpeg = Buffer.from(await encodePicture(await noisy(), { format: 'jpeg' }, undefined));
    const cases = [
      [join(folder, 'missing.png'), 'unreadable'],
      [folder, 'not-a-picture'],
      [await write('empty.png', new Uint8Array()), 'not-a-picture'],
      [await write('text.png', Buffer.from('hello, this is text')), 'not-a-picture'],
      [await write('cut.png', png.subarray(0, png.length / 2)), 'broken'],
      [await write('cut.jpg', jpeg.subarray(0, jpeg.length / 2)), 'broken'],
      [await write('damaged.png', damaged), 'broken'],
    ] as const;
    for (const [path, problem] of cases) {
      await expect(decodePicture(path), path).rejects.toMatchObject({ name: 'PictureError', problem });
      await expect(decodePicture(path), path).rejects.toThrow(path);
    }
  });

  it('refuses a file of gigabytes without reading it', async () => {
    const path = join(folder, 'sparse.png');
    await writeFile(path, '');
    await truncate(path, 4 * 2 ** 30);
    await expect(decodePicture(path)).rejects.toThrow(/4096 MiB; a picture may hold 512 MiB/);
    expect(await readMetadata(path)).toMatchObject({ kind: 'none', warnings: [expect.stringContaining('4096 MiB')] });
  });
});

describe('resizeCover', () => {
  it.each(Object.entries(expected.cover.to))('to %s as Pillow’s ImageOps.fit with Lanczos', async (size, hex) => {
    const [width, height] = size.split('x').map(Number) as [number, number];
    const got = await resizeCover(fromHex(expected.cover.from), width, height);
    expect([got.width, got.height, got.rgb.length]).toEqual([width, height, width * height * 3]);
    expect(meanDifference(got.rgb, Buffer.from(hex, 'hex'))).toBeLessThan(pictureTolerance.resized);
  });

  it('keeps a picture that has the size, and refuses sizes that are none', async () => {
    expect(await resizeCover(picture, 16, 8)).toBe(picture);
    for (const size of [0, -1, 1.5, NaN, 1e9]) {
      await expect(resizeCover(picture, size, 8)).rejects.toMatchObject({ problem: 'bad-request' });
    }
  });
});

/** A PNG that announces a size its few bytes do not hold. */
function hugePng(width: number, height: number): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    crc.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, crc]);
  };
  const pixels = deflateSync(Buffer.alloc(1000));
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
}

/** A picture that does not compress to nothing, so that there is something to cut off. */
function noisy(): ReturnType<typeof decodePicture> {
  let state = 1;
  const rgb = Uint8Array.from({ length: 64 * 64 * 3 }, () => (state = (state * 48_271) % 2_147_483_647) & 255);
  return Promise.resolve({ width: 64, height: 64, rgb });
}
