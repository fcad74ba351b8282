// The little of EXIF that carries prompts: UserComment, where A1111 puts its infotext in JPEG and WebP files (written
// there by piexif: big-endian TIFF, "UNICODE" and UTF-16BE), and the four text tags where ComfyUI puts its graphs.
// EXIF 2.32 §4.6.5 (UserComment), TIFF 6.0 §2 (the container).

const tags = { imageDescription: 0x010e, make: 0x010f, model: 0x0110, software: 0x0131 } as const;
const exifPointer = 0x8769;
const userComment = 0x9286;
/** Bytes per value of the TIFF types 1..12. */
const typeBytes: readonly number[] = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];

/** The text that an EXIF block holds. */
export interface ExifText {
  readonly userComment: string | undefined;
  /** ImageDescription, Make, Model and Software, those that are there. */
  readonly texts: readonly string[];
}

/**
 * An EXIF block (TIFF bytes, without the "Exif\0\0" of JPEG) that holds `comment` as UserComment, as piexif writes it:
 * one IFD with the pointer, one EXIF IFD with the comment, at fixed places.
 */
export function encodeExif(comment: string): Uint8Array {
  const text = Buffer.from(comment, 'utf16le').swap16();
  const [ifd0, exifIfd, data] = [8, 26, 44];
  const bytes = Buffer.alloc(data + 8 + text.length);
  bytes.write('MM\0*', 0, 'latin1');
  bytes.writeUInt32BE(ifd0, 4);
  writeOnlyEntry(bytes, ifd0, { tag: exifPointer, type: 4, count: 1, value: exifIfd });
  writeOnlyEntry(bytes, exifIfd, { tag: userComment, type: 7, count: 8 + text.length, value: data });
  bytes.write('UNICODE\0', data, 'latin1');
  text.copy(bytes, data + 8);
  return bytes;
}

interface Entry {
  readonly tag: number;
  readonly type: number;
  readonly count: number;
  readonly value: number;
}

/** count 1 | tag, type, count, value | no next IFD */
function writeOnlyEntry(bytes: Buffer, at: number, { tag, type, count, value }: Entry): void {
  bytes.writeUInt16BE(1, at);
  bytes.writeUInt16BE(tag, at + 2);
  bytes.writeUInt16BE(type, at + 4);
  bytes.writeUInt32BE(count, at + 6);
  bytes.writeUInt32BE(value, at + 10);
  bytes.writeUInt32BE(0, at + 14);
}

/** Reads the text of an EXIF block, with or without "Exif\0\0" in front. Never throws: what is damaged is absent. */
export function readExif(block: Uint8Array): ExifText {
  const all = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const tiff = all.toString('latin1', 0, 6) === 'Exif\0\0' ? all.subarray(6) : all;
  const order = tiff.toString('latin1', 0, 4);
  if ((order !== 'II*\0' && order !== 'MM\0*') || tiff.length < 8) return { userComment: undefined, texts: [] };
  const isBigEndian = order === 'MM\0*';
  const main = readIfd(tiff, isBigEndian, uint32(tiff, isBigEndian, 4));
  const pointer = main.get(exifPointer);
  const comment =
    main.get(userComment) ??
    (pointer?.length === 4 ? readIfd(tiff, isBigEndian, uint32(pointer, isBigEndian, 0)).get(userComment) : undefined);
  const texts = Object.values(tags).flatMap((tag) => main.get(tag) ?? []);
  return {
    userComment: comment && decodeUserComment(comment),
    texts: texts.map((value) => withoutZeros(decodeUtf8(value) ?? value.toString('latin1'))),
  };
}

/** Tag -> value bytes of one IFD; entries that point outside the block are left out. */
function readIfd(tiff: Buffer, isBigEndian: boolean, at: number): ReadonlyMap<number, Buffer> {
  const values = new Map<number, Buffer>();
  if (at + 2 > tiff.length) return values;
  const count = isBigEndian ? tiff.readUInt16BE(at) : tiff.readUInt16LE(at);
  for (let entry = at + 2; entry < at + 2 + 12 * count && entry + 12 <= tiff.length; entry += 12) {
    const tag = isBigEndian ? tiff.readUInt16BE(entry) : tiff.readUInt16LE(entry);
    const type = isBigEndian ? tiff.readUInt16BE(entry + 2) : tiff.readUInt16LE(entry + 2);
    const size = (typeBytes[type] ?? 0) * uint32(tiff, isBigEndian, entry + 4);
    const from = size <= 4 ? entry + 8 : uint32(tiff, isBigEndian, entry + 8);
    if (from + size <= tiff.length && !values.has(tag)) values.set(tag, tiff.subarray(from, from + size));
  }
  return values;
}

function uint32(bytes: Buffer, isBigEndian: boolean, at: number): number {
  return isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
}

/** UserComment after its 8-byte character code; without a known code, the whole is read as UTF-8, as A1111 does. */
function decodeUserComment(value: Buffer): string {
  const code = value.toString('latin1', 0, 8);
  const body = value.subarray(8);
  if (code === 'UNICODE\0') return withoutZeros(decodeUnicode(body));
  if (code === 'JIS\0\0\0\0\0') return withoutZeros(new TextDecoder('shift_jis').decode(body));
  const text = code === 'ASCII\0\0\0' || code === '\0\0\0\0\0\0\0\0' ? body : value;
  return withoutZeros(decodeUtf8(text) ?? text.toString('latin1'));
}

/**
 * UTF-16 in either byte order (the standard leaves it open; piexif writes big-endian), told apart by where the zero
 * bytes of its ASCII letters lie; or UTF-8, which some tools put behind the UNICODE code: that has no zero bytes.
 */
function decodeUnicode(body: Buffer): string {
  const even = body.subarray(0, body.length - (body.length % 2));
  const zeros = [0, 0];
  for (let index = 0; index < even.length; index += 1) if (even[index] === 0) zeros[index % 2]! += 1;
  if (zeros[0] === 0 && zeros[1] === 0 && /[ -~]{4}/.test(body.toString('latin1'))) {
    const text = decodeUtf8(body);
    if (text !== undefined) return text;
  }
  const mark = even.toString('latin1', 0, 2);
  const isBigEndian = mark === '\xfe\xff' || (mark !== '\xff\xfe' && zeros[0]! >= zeros[1]!);
  const text = (isBigEndian ? Buffer.from(even).swap16() : even).toString('utf16le');
  return text.replace(/^\ufeff/, '');
}

function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function withoutZeros(text: string): string {
  return text.replace(/\0+$/, '');
}
