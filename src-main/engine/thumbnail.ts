// The picture of a LoRA for its report card: a file beside it, or one that a tool has put into its metadata. Finding it
// decodes nothing; drawing it small is a second step, within limits, since a stranger made the picture.
import { open } from 'node:fs/promises';
import type { Thumbnail } from '../contract/files.ts';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import { PictureError, sniffFormat } from '../formats/picture-file.ts';
import { decodePicture, encodePicture, pictureSize, resizeCover } from '../formats/png.ts';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import { readSafetensorsHeader } from '../formats/safetensors.ts';
import { writeNew } from '../formats/write-new.ts';
import { ExpertError } from '../networks/expert-error.ts';
import { locate } from './open-expert.ts';
import { findSidecars, type Sidecars } from './sidecars.ts';
import { field } from './trigger-words.ts';

type Metadata = Readonly<Record<string, string>>;

/** Bytes of a picture that are read to learn its size: JPEG files may carry 64 KiB of EXIF first. */
const headBytes = 2 ** 18;
/** Base64 signs of an embedded picture, or of a list of them. */
const mostEmbedded = 2 ** 24;
const mostFileBytes = 2 ** 26;
const mostPixels = 50_000_000;

/**
 * Where the picture of the adapter `file` is: beside it, else in `modelspec.thumbnail`, else in kohya's cover images.
 * Undefined when there is none. Never throws; a picture that is none does not count.
 */
export async function findThumbnail(
  file: string,
  metadata: Metadata,
  sidecars: Sidecars,
): Promise<Thumbnail | undefined> {
  if (sidecars.picture !== undefined) {
    const found = await describe('file', sidecars.picture, ...(await headOf(sidecars.picture)));
    if (found !== undefined) return found;
  }
  for (const where of ['modelspec.thumbnail', 'ssmd_cover_images'] as const) {
    const base64 = embedded(metadata, where);
    if (base64 === undefined) continue;
    // 4 signs hold 3 bytes.
    const head = Buffer.from(base64.slice(0, Math.ceil(headBytes / 3) * 4), 'base64');
    const found = await describe(where, file, head, Buffer.byteLength(base64, 'base64'));
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * The picture of `thumbnail` as WebP of at most `side` pixels a side. Throws PictureError when it cannot be decoded or has
 * more than 50 megapixels, SafetensorsError when its file cannot be read.
 */
export async function drawThumbnail({ where, path }: Thumbnail, side = 256): Promise<Uint8Array> {
  const source = where === 'file' ? path : await embeddedBytes(path, where);
  const picture = await decodePicture(source, { limitPixels: mostPixels });
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((pixels) => Math.max(1, Math.round(pixels * scale)));
  const small = await resizeCover(picture, width!, height!);
  return encodePicture(small, { format: 'webp', quality: 80 }, undefined);
}

export interface ThumbnailOrder {
  /** A picture file, a LoRA, or the folder of one. */
  readonly path: string;
  /** Pixels of the longer side at most. */
  readonly side: number;
  /** Replaced if it is there; its folder must exist. */
  readonly output: string;
}

/**
 * Draws the picture at `path`, or that of the LoRA at `path`, into `output`. False when there is none, or it cannot be
 * decoded: a picture that a stranger made is a help, never a reason to fail. Throws WriteError.
 */
export async function writeThumbnail({ path, side, output }: ThumbnailOrder): Promise<boolean> {
  try {
    const found = await thumbnailOf(path);
    if (found === undefined) return false;
    await writeNew(output, await drawThumbnail(found, side), { whenTaken: 'replace' });
    return true;
  } catch (error) {
    if (error instanceof PictureError || error instanceof SafetensorsError || error instanceof ExpertError)
      return false;
    throw error;
  }
}

async function thumbnailOf(path: string): Promise<Thumbnail | undefined> {
  const picture = await describe('file', path, ...(await headOf(path)));
  if (picture !== undefined) return picture;
  const { file } = await locate(path);
  const { metadata } = await readSafetensorsHeader(file);
  return findThumbnail(file, metadata, await findSidecars(file));
}

/** Whether the metadata field `key` holds pictures, which no person wants to read. */
export const holdsPictures = (key: string): boolean => key === 'modelspec.thumbnail' || key === 'ssmd_cover_images';

async function embeddedBytes(file: string, where: 'modelspec.thumbnail' | 'ssmd_cover_images'): Promise<Uint8Array> {
  const { metadata } = await readSafetensorsHeader(file);
  const bytes = Buffer.from(embedded(metadata, where) ?? '', 'base64');
  if (formatOf(bytes) === undefined) {
    throw new PictureError('not-a-picture', `${file} holds no picture in ${where} any more. Open it again.`);
  }
  return bytes;
}

/** The first picture of a metadata field, in base64. */
function embedded(metadata: Metadata, where: 'modelspec.thumbnail' | 'ssmd_cover_images'): string | undefined {
  const text = field(metadata, where);
  if (text === undefined || text.length > mostEmbedded) return undefined;
  if (where === 'modelspec.thumbnail') return withoutDataUrl(text);
  try {
    const list = parseBoundedJson(text, { mostLength: mostEmbedded, mostDepth: 2 });
    const first: unknown = Array.isArray(list) ? list[0] : undefined;
    return typeof first === 'string' ? withoutDataUrl(first) : undefined;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return undefined;
  }
}

const withoutDataUrl = (text: string): string => text.trim().replace(/^data:image\/[\w+.-]{1,20};base64,/, '');

async function describe(
  where: Thumbnail['where'],
  path: string,
  head: Uint8Array,
  bytes: number,
): Promise<Thumbnail | undefined> {
  const format = formatOf(head);
  if (format === undefined || bytes > mostFileBytes) return undefined;
  return { where, path, format, bytes, ...(await pictureSize(head)) };
}

function formatOf(bytes: Uint8Array): Thumbnail['format'] | undefined {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 6)).toString('latin1');
  return /^GIF8[79]a$/.test(start) ? 'gif' : sniffFormat(bytes);
}

async function headOf(path: string): Promise<readonly [Uint8Array, number]> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(size, headBytes)), { position: 0 });
      return [buffer.subarray(0, bytesRead), size];
    } finally {
      await file.close();
    }
  } catch {
    return [new Uint8Array(), 0];
  }
}
