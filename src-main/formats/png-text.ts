// Text inside PNG files: the chunks tEXt (Latin-1), zTXt (the same, deflated) and iTXt (UTF-8), and eXIf.
// Our own walker, because image libraries stop at the pixels and text may follow them, and write none.
// PNG specification, third edition, §5 and §11.3.3: https://www.w3.org/TR/png-3/
import { crc32, inflateSync } from 'node:zlib';

/** Longest text that is read, in bytes after inflating: some workflows hold megabytes; bombs hold gigabytes. */
export const mostTextBytes = 16 * 2 ** 20;
/** All texts of one file together. */
const mostTotalBytes = 4 * mostTextBytes;
const mostTexts = 1000;

/** What a PNG says beside its pixels. */
export interface PngText {
  /** Keyword -> text; of two chunks with one keyword, the first counts. */
  readonly texts: ReadonlyMap<string, string>;
  /** TIFF bytes of the eXIf chunk. */
  readonly exif: Uint8Array | undefined;
  readonly warnings: readonly string[];
}

const signatureBytes = 8;

/** Reads all text of a PNG file, before and after the pixels. Never throws: what is damaged becomes a warning. */
export function readPngText(png: Uint8Array): PngText {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const texts = new Map<string, string>();
  const warnings: string[] = [];
  let exif: Uint8Array | undefined;
  let [total, count] = [0, 0];
  for (let at = signatureBytes; at + 12 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (length > bytes.length - at - 12) {
      warnings.push(
        `The PNG's ${printable(type)} chunk is cut off: ${length} bytes announced, ${bytes.length - at - 12} there.`,
      );
      break;
    }
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'eXIf') exif ??= data;
    if (type === 'tEXt' || type === 'zTXt' || type === 'iTXt') {
      count += 1;
      if (count > mostTexts || total > mostTotalBytes) {
        warnings.push(`The PNG holds more text than is read (${mostTexts} chunks or ${mostTotalBytes} bytes).`);
        break;
      }
      try {
        const { keyword, text } = readTextChunk(type, data);
        total += text.length;
        if (!texts.has(keyword)) texts.set(keyword, text);
      } catch (error) {
        warnings.push(
          `A ${type} chunk of the PNG is left out: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
    if (type === 'IEND') break;
    at += 12 + length;
  }
  return { texts, exif, warnings };
}

function readTextChunk(
  type: 'tEXt' | 'zTXt' | 'iTXt',
  data: Buffer,
): { readonly keyword: string; readonly text: string } {
  const [keyword, afterKeyword] = upToZero(data, 0);
  if (type === 'tEXt') return { keyword, text: within(data.subarray(afterKeyword)).toString('latin1') };
  if (type === 'zTXt') return { keyword, text: inflate(data.subarray(afterKeyword + 1)).toString('latin1') };
  const isDeflated = data[afterKeyword] === 1;
  const [, afterLanguage] = upToZero(data, afterKeyword + 2);
  const [, afterTranslation] = upToZero(data, afterLanguage);
  const text = data.subarray(afterTranslation);
  return { keyword, text: (isDeflated ? inflate(text) : within(text)).toString('utf8') };
}

/** Latin-1 text up to the next zero byte, and the index after it. */
function upToZero(data: Buffer, from: number): readonly [string, number] {
  const zero = data.indexOf(0, from);
  if (zero === -1) throw new Error('the zero byte that ends its keyword is missing.');
  return [data.toString('latin1', from, zero), zero + 1];
}

function within(data: Buffer): Buffer {
  if (data.length > mostTextBytes) throw new Error(`its ${data.length} bytes are more than the ${mostTextBytes} read.`);
  return data;
}

function inflate(data: Buffer): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: mostTextBytes });
  } catch (error) {
    const isBomb = error instanceof RangeError;
    throw new Error(isBomb ? `it inflates to more than ${mostTextBytes} bytes.` : 'its compressed text is damaged.', {
      cause: error,
    });
  }
}

function printable(type: string): string {
  return type.replace(/[^A-Za-z]/g, '?');
}

/** One text to write. `iTXt` forces UTF-8; otherwise tEXt is used where Latin-1 can hold the text, as Pillow does. */
export interface PngTextEntry {
  readonly keyword: string;
  readonly text: string;
  readonly form?: 'iTXt';
}

/**
 * A copy of `png` with the texts before its pixels (right after IHDR), where every reader looks. Zero bytes, which end
 * a tEXt text, are left out of the texts.
 */
export function insertPngText(png: Uint8Array, entries: readonly PngTextEntry[]): Uint8Array {
  const header = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const afterIhdr = signatureBytes + 12 + header.readUInt32BE(signatureBytes);
  const chunks = entries.map(({ keyword, text, form }) => {
    const plain = text.replaceAll('\0', '');
    const isLatin1 = form === undefined && /^[\u0001-\u00ff]*$/.test(plain);
    return isLatin1
      ? chunk('tEXt', Buffer.from(`${keyword}\0${plain}`, 'latin1'))
      : chunk('iTXt', Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(plain, 'utf8')]));
  });
  return Buffer.concat([header.subarray(0, afterIhdr), ...chunks, header.subarray(afterIhdr)]);
}

/** length (of data) | type | data | CRC-32 of type and data, all big-endian. */
function chunk(type: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  data.copy(bytes, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}
