// Pictures in and out: the only door to sharp (libvips). In the library a picture is RGB, 8 bits, rows from the top.
// Metadata is written by picture-metadata.ts, since sharp writes no PNG text and not the EXIF that A1111 reads; what
// sharp encodes carries none, so a picture saved without metadata tells nothing.
import sharp, { type Sharp } from 'sharp';
import { embedMetadata, type PictureFormat, type PictureMetadata } from './picture-metadata.ts';
import { nameOf, PictureError, readPictureBytes, type PictureSource } from './picture-file.ts';

/** A decoded picture: sRGB, no alpha. */
export interface Picture {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** [height, width, 3], 0..255. */
  readonly rgb: Uint8Array;
}

/** How to save a picture. */
export interface EncodeOptions {
  readonly format: PictureFormat;
  /** 1..100, for JPEG and for WebP that is not lossless; 92 by default. PNG ignores it. */
  readonly quality?: number | undefined;
  /** WebP that keeps every pixel. */
  readonly lossless?: boolean | undefined;
}

/** Largest picture decoded unless the caller says otherwise: 100 megapixels, 300 MB. */
export const defaultLimitPixels = 100_000_000;

const largestSide = { png: 2 ** 31 - 1, jpeg: 65_535, webp: 16_383 } as const satisfies Record<PictureFormat, number>;

/**
 * The bytes of a picture file with `metadata` in it; with undefined, there is no text in it at all. Throws PictureError
 * when the pixels do not match the size, the format cannot hold the size or the metadata, or quality is out of range.
 */
export async function encodePicture(
  picture: Picture,
  { format, quality = 92, lossless = false }: EncodeOptions,
  metadata: PictureMetadata | undefined,
): Promise<Uint8Array> {
  checkPixels(picture);
  const side = Math.max(picture.width, picture.height);
  if (side > largestSide[format]) {
    const message = `A ${format} picture has at most ${largestSide[format]} pixels a side; this one has ${side}.`;
    throw new PictureError('too-large', `${message} Save it as PNG.`);
  }
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw new PictureError('bad-request', `The quality must be a whole number from 1 to 100, not ${quality}.`);
  }
  const raw = rawInput(picture);
  const encoded = {
    png: () => raw.png({ compressionLevel: 6 }),
    // Full colour resolution: drawings have thin coloured lines.
    jpeg: () => raw.jpeg({ quality, chromaSubsampling: '4:4:4' }),
    webp: () => raw.webp({ quality, lossless }),
  }[format]();
  const bytes = await encoded.toBuffer();
  return metadata === undefined ? bytes : embedMetadata(bytes, format, picture, metadata);
}

/**
 * Decodes a picture file (PNG, JPEG, WebP, GIF, TIFF, AVIF, SVG; the first frame of an animation): turned upright by its
 * EXIF orientation, converted to sRGB, transparency laid on white. Throws PictureError for a file that is missing, no
 * picture, broken, or of more than `limitPixels` pixels; the size is checked before anything is decoded.
 */
export async function decodePicture(
  source: PictureSource,
  { limitPixels = defaultLimitPixels }: { readonly limitPixels?: number } = {},
): Promise<Picture> {
  const bytes = await readPictureBytes(source);
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: limitPixels, failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#ffffff' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, rgb: threeChannels(data, info.channels) };
  } catch (error) {
    throw explain(source, limitPixels, error);
  }
}

/**
 * Pixels of a PNG, JPEG, WebP or GIF as its own header says them; `head` may be the first part of the file. Decodes
 * nothing. Undefined for anything else, or a damaged header.
 */
export async function pictureSize(
  head: Uint8Array,
): Promise<{ readonly width: number; readonly height: number } | undefined> {
  try {
    const { width, height } = await sharp(head, { limitInputPixels: false, failOn: 'none' }).metadata();
    return { width, height };
  } catch {
    return undefined;
  }
}

/** libvips gives one channel for a few grey files even in sRGB; each is then repeated. */
function threeChannels(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data;
  const pixels = data.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let pixel = 0; pixel < pixels; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      rgb[pixel * 3 + channel] = data[pixel * channels + (channels < 3 ? 0 : channel)]!;
    }
  }
  return rgb;
}

function explain(source: PictureSource, limitPixels: number, error: unknown): PictureError {
  const reason = error instanceof Error ? error.message : String(error);
  if (/exceeds pixel limit|too large|exceeds.*limit/i.test(reason)) {
    const message = `${nameOf(source)} has more than the ${limitPixels} pixels that are read.`;
    return new PictureError('too-large', `${message} Make it smaller first.`, error);
  }
  if (/unsupported image format/i.test(reason)) {
    const message = `${nameOf(source)} is not a picture that can be read.`;
    return new PictureError('not-a-picture', `${message} Use PNG, JPEG, WebP, GIF, TIFF or AVIF.`, error);
  }
  const cause = reason.split('\n')[0]!.replace(/:\s*$/, '');
  return new PictureError(
    'broken',
    `${nameOf(source)} is damaged and cannot be decoded (${cause}). Save it again.`,
    error,
  );
}

/**
 * `picture` scaled to cover `width` x `height` pixels and cropped at the centre, for img2img and training. Lanczos, as
 * Pillow's and A1111's default.
 */
export async function resizeCover(picture: Picture, width: number, height: number): Promise<Picture> {
  checkPixels(picture);
  for (const side of [width, height]) {
    if (!Number.isInteger(side) || side < 1 || side > 65_535) {
      throw new PictureError('bad-request', `A picture cannot be resized to ${width}x${height} pixels.`);
    }
  }
  if (picture.width === width && picture.height === height) return picture;
  const data = await rawInput(picture)
    .resize(width, height, { fit: 'cover', position: 'centre', kernel: 'lanczos3' })
    .raw()
    .toBuffer();
  return { width, height, rgb: data };
}

function rawInput({ width, height, rgb }: Picture): Sharp {
  return sharp(rgb, { raw: { width, height, channels: 3 }, limitInputPixels: false });
}

function checkPixels({ width, height, rgb }: Picture): void {
  const isSize = Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0;
  if (!isSize || rgb.length !== width * height * 3) {
    const message = `A picture of ${width}x${height} pixels needs ${width * height * 3} bytes of RGB; ${rgb.length} came.`;
    throw new PictureError('bad-request', message);
  }
}
