// Where EXIF and XMP lie in JPEG files (APP1 segments, ITU T.81 annex B and Adobe's XMP part 3) and in WebP files
// (RIFF chunks, RFC 9649). The pixels' bytes are copied as they are: nothing is decoded or encoded again.
import { PictureError } from './picture-file.ts';

/** The blocks that hold text beside the pixels. */
export interface TextBlocks {
  /** TIFF bytes. */
  readonly exif?: Uint8Array | undefined;
  /** An XMP packet. */
  readonly xmp?: Uint8Array | undefined;
}

const exifMark = Buffer.from('Exif\0\0', 'latin1');
const xmpMark = Buffer.from('http://ns.adobe.com/xap/1.0/\0', 'latin1');
const startOfScan = 0xda;
const app0 = 0xe0;
const app1 = 0xe1;

/**
 * A copy of `jpeg` with the blocks as APP1 segments after its JFIF header. Throws PictureError where one does not fit
 * into a segment's 65,533 bytes.
 */
export function insertIntoJpeg(jpeg: Uint8Array, { exif, xmp }: TextBlocks): Uint8Array {
  const bytes = asBuffer(jpeg);
  const first = jpegSegments(bytes).next().value;
  const at = first?.marker === app0 ? first.end : 2;
  const added = [exif && Buffer.concat([exifMark, exif]), xmp && Buffer.concat([xmpMark, xmp])].flatMap((data) => {
    if (data === undefined) return [];
    if (data.length > 65_533) {
      const message = `A JPEG file holds 65,533 bytes of one kind of metadata; this picture's are ${data.length}.`;
      throw new PictureError('metadata-too-large', `${message} Save it as PNG or WebP, or without metadata.`);
    }
    const head = Buffer.from([0xff, app1, 0, 0]);
    head.writeUInt16BE(data.length + 2, 2);
    return [head, data];
  });
  return Buffer.concat([bytes.subarray(0, at), ...added, bytes.subarray(at)]);
}

/** The EXIF and XMP blocks of a JPEG file. Never throws: a damaged file yields what came before. */
export function findInJpeg(jpeg: Uint8Array): TextBlocks {
  let exif: Uint8Array | undefined;
  let xmp: Uint8Array | undefined;
  for (const { marker, data } of jpegSegments(asBuffer(jpeg))) {
    if (marker !== app1) continue;
    if (startsWith(data, exifMark)) exif ??= data.subarray(exifMark.length);
    if (startsWith(data, xmpMark)) xmp ??= data.subarray(xmpMark.length);
  }
  return { exif, xmp };
}

interface Segment {
  readonly marker: number;
  readonly data: Buffer;
  /** Index after the segment. */
  readonly end: number;
}

/** The segments between the start of the file and its pixels. */
function* jpegSegments(bytes: Buffer): Generator<Segment, undefined> {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at += 1; // fill byte
      continue;
    }
    if (marker === startOfScan) return;
    const end = at + 2 + bytes.readUInt16BE(at + 2);
    if (end < at + 4 || end > bytes.length) return;
    yield { marker, data: bytes.subarray(at + 4, end), end };
    at = end;
  }
}

const vp8xFlags = { exif: 0x08, xmp: 0x04 } as const;

/** A copy of `webp` (of `width` x `height` pixels) in the extended format, with the blocks after its pixels. */
export function insertIntoWebp(
  webp: Uint8Array,
  { exif, xmp }: TextBlocks,
  { width, height }: { readonly width: number; readonly height: number },
): Uint8Array {
  const bytes = asBuffer(webp);
  const chunks = [...riffChunks(bytes)];
  const extended = Buffer.alloc(10);
  extended.writeUIntLE(width - 1, 4, 3);
  extended.writeUIntLE(height - 1, 7, 3);
  const header = chunks.find(({ name }) => name === 'VP8X')?.data ?? extended;
  const flagged = Buffer.from(header);
  flagged[0] = header[0]! | (exif === undefined ? 0 : vp8xFlags.exif) | (xmp === undefined ? 0 : vp8xFlags.xmp);
  const body = Buffer.concat([
    Buffer.from('WEBP', 'latin1'),
    riffChunk('VP8X', flagged),
    ...chunks.filter(({ name }) => name !== 'VP8X').map(({ name, data }) => riffChunk(name, data)),
    ...(exif === undefined ? [] : [riffChunk('EXIF', asBuffer(exif))]),
    ...(xmp === undefined ? [] : [riffChunk('XMP ', asBuffer(xmp))]),
  ]);
  return riffChunk('RIFF', body);
}

/** The EXIF and XMP blocks of a WebP file. Never throws: a damaged file yields what came before. */
export function findInWebp(webp: Uint8Array): TextBlocks {
  const chunks = [...riffChunks(asBuffer(webp))];
  const named = (name: string): Uint8Array | undefined => chunks.find((chunk) => chunk.name === name)?.data;
  return { exif: named('EXIF'), xmp: named('XMP ') };
}

interface RiffChunk {
  readonly name: string;
  readonly data: Buffer;
}

function* riffChunks(bytes: Buffer): Generator<RiffChunk> {
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = bytes.readUInt32LE(at + 4);
    if (size > bytes.length - at - 8) return;
    yield { name: bytes.toString('latin1', at, at + 4), data: bytes.subarray(at + 8, at + 8 + size) };
    at += 8 + size + (size % 2);
  }
}

/** name | size | data | a zero byte after data of odd length */
function riffChunk(name: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(8 + data.length + (data.length % 2));
  bytes.write(name, 0, 'latin1');
  bytes.writeUInt32LE(data.length, 4);
  data.copy(bytes, 8);
  return bytes;
}

function startsWith(data: Buffer, mark: Buffer): boolean {
  return data.subarray(0, mark.length).equals(mark);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
