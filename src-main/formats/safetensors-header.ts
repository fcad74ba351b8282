// The JSON header of a safetensors file, read byte by byte against the format's own grammar
// (https://github.com/huggingface/safetensors#format). A stranger wrote it: JSON.parse would build whatever it says first
// (a hundred million empty arrays, the last of two equal keys), so the limits stand before anything is built.
import { isUtf8 } from 'node:buffer';
import { byteSize, type DType } from '../tensor/dtype.ts';

/** A safetensors file that cannot be used; `message` names the file, the tensor if there is one, and what to do. */
export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError';
  readonly file: string;
  readonly tensor: string | undefined;

  constructor(file: string, message: string, { tensor, cause }: { tensor?: string; cause?: unknown } = {}) {
    super(`${file}: ${message}`, { cause });
    this.file = file;
    this.tensor = tensor;
  }
}

/** One tensor as the header declares it; offsets count from the start of the data, `end` excluded. */
export interface HeaderEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A header that is well formed; whether its offsets fit together is `checkLayout`'s question. */
export interface ParsedHeader {
  readonly entries: ReadonlyMap<string, HeaderEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
}

/** safetensors' name of each element type. */
export const safetensorsTypes = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  F64: 'float64',
  F8_E4M3: 'float8e4m3fn',
  F8_E5M2: 'float8e5m2',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
} as const satisfies Record<string, DType>;

/** Published denial-of-service files hold more; the largest checkpoints hold some 3,000. */
const mostEntries = 100_000;
const mostAxes = 32;
/** Nesting of values that the format does not use and that are skipped. */
const mostDepth = 16;

/** Why the header is refused, before the file's name is known; `tensor` when it is about one. */
class HeaderFault extends Error {
  readonly tensor: string | undefined;

  constructor(message: string, tensor?: string) {
    super(message);
    this.tensor = tensor;
  }
}

/** Parses the header bytes of `file` (the name is for messages alone). Throws SafetensorsError. */
export function parseHeader(bytes: Uint8Array, file: string): ParsedHeader {
  try {
    if (!isUtf8(bytes)) throw new HeaderFault('its header is not valid UTF-8 text. The file is damaged.');
    return new HeaderReader(bytes).read();
  } catch (error) {
    if (!(error instanceof HeaderFault)) throw error;
    throw new SafetensorsError(file, error.message, error.tensor === undefined ? {} : { tensor: error.tensor });
  }
}

/**
 * Checks that the tensors of `file` cover its `dataLength` bytes of data exactly: no overlap, no hole, nothing beyond the
 * end. Throws SafetensorsError; a file that merely ends too early is called cut short.
 */
export function checkLayout(entries: ReadonlyMap<string, HeaderEntry>, dataLength: number, file: string): void {
  const sorted = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const [tensor, { begin, end }] of sorted) {
    const shown = quote(tensor);
    if (end > dataLength) {
      const message = `it is cut short: tensor ${shown} ends at byte ${end} of the data, the file holds ${dataLength}. Download or copy the file again.`;
      throw new SafetensorsError(file, message, { tensor });
    }
    if (begin < covered) {
      const message = `tensor ${shown} overlaps the one before it (begins at byte ${begin}, before ${covered}). The header lies; the file cannot be used.`;
      throw new SafetensorsError(file, message, { tensor });
    }
    if (begin > covered) {
      const message = `bytes ${covered} to ${begin} before tensor ${shown} belong to no tensor. The header lies; the file cannot be used.`;
      throw new SafetensorsError(file, message, { tensor });
    }
    covered = end;
  }
  if (covered !== dataLength) {
    throw new SafetensorsError(
      file,
      `it holds ${dataLength - covered} bytes after its last tensor that its header does not name. The file is damaged.`,
    );
  }
}

/** A name from the file as error messages print it: quoted, control characters escaped, at most 120 characters. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}...` : name);
}

const code = { quote: 0x22, backslash: 0x5c, comma: 0x2c, colon: 0x3a, open: 0x7b, close: 0x7d, list: 0x5b, end: 0x5d };

class HeaderReader {
  readonly #bytes: Uint8Array;
  readonly #text: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read(): ParsedHeader {
    const entries = new Map<string, HeaderEntry>();
    const warnings: string[] = [];
    let metadata: Readonly<Record<string, string>> | undefined;
    if (this.#bytes[0] !== code.open) throw new HeaderFault('its header does not start with "{". The file is damaged.');
    this.#object('the header', (name) => {
      if (name === '__metadata__') {
        if (metadata !== undefined) throw new HeaderFault('its header holds "__metadata__" twice.');
        metadata = this.#metadata(warnings);
        return;
      }
      if (entries.size >= mostEntries) throw new HeaderFault(`its header names more than ${mostEntries} tensors.`);
      if (entries.has(name)) throw new HeaderFault(`its header names tensor ${quote(name)} twice.`, name);
      entries.set(name, this.#entry(name));
    });
    this.#space();
    if (this.#at < this.#bytes.length) throw this.#fault('more text after the closing "}"');
    return { entries, metadata: metadata ?? {}, warnings };
  }

  #entry(tensor: string): HeaderEntry {
    const what = `tensor ${quote(tensor)}`;
    let dtype: DType | undefined;
    let shape: readonly number[] | undefined;
    let offsets: readonly number[] | undefined;
    this.#object(what, (field) => {
      const again = (value: unknown): void => {
        if (value !== undefined) throw new HeaderFault(`${what} has its ${field} twice.`, tensor);
      };
      if (field === 'dtype') {
        again(dtype);
        dtype = this.#dtype(what, tensor);
      } else if (field === 'shape') {
        again(shape);
        shape = this.#integers(`${what}: its shape`, tensor, mostAxes);
      } else if (field === 'data_offsets') {
        again(offsets);
        offsets = this.#integers(`${what}: its data_offsets`, tensor, 2);
      } else {
        this.#skip(0);
      }
    });
    const [begin, end] = offsets ?? [];
    if (dtype === undefined || shape === undefined || begin === undefined || end === undefined) {
      throw new HeaderFault(`${what} lacks its dtype, its shape, or its two data_offsets.`, tensor);
    }
    if (begin > end) throw new HeaderFault(`${what} begins at byte ${begin}, after its end ${end}.`, tensor);
    let length = byteSize(dtype);
    for (const size of shape) {
      length *= size;
      if (!Number.isSafeInteger(length)) {
        throw new HeaderFault(`${what} has shape [${shape.join(', ')}], more bytes than can be counted.`, tensor);
      }
    }
    if (length !== end - begin) {
      throw new HeaderFault(
        `${what}, ${dtype} of shape [${shape.join(', ')}], needs ${length} bytes; its offsets give ${end - begin}.`,
        tensor,
      );
    }
    return { dtype, shape, begin, end };
  }

  #dtype(what: string, tensor: string): DType {
    const name = this.#string(`${what}: its dtype`);
    if (Object.hasOwn(safetensorsTypes, name)) return safetensorsTypes[name as keyof typeof safetensorsTypes];
    const known = Object.keys(safetensorsTypes).join(', ');
    throw new HeaderFault(`${what} has element type ${quote(name)}, which is not read. Known are ${known}.`, tensor);
  }

  /** A list of at most `most` whole numbers from 0 on. */
  #integers(what: string, tensor: string, most: number): readonly number[] {
    const numbers: number[] = [];
    this.#list(what, () => {
      if (numbers.length >= most) throw new HeaderFault(`${what} has more than ${most} numbers.`, tensor);
      const start = this.#at;
      while (isWordByte(this.#bytes[this.#at])) this.#at += 1;
      const text = this.#text.toString('latin1', start, Math.min(this.#at, start + 40));
      const value = Number(text);
      if (!/^(0|[1-9]\d*)$/.test(text) || !Number.isSafeInteger(value)) {
        throw new HeaderFault(
          `${what} must hold whole numbers from 0 to 2^53, found ${quote(text || this.#next())}.`,
          tensor,
        );
      }
      numbers.push(value);
    });
    return numbers;
  }

  #metadata(warnings: string[]): Readonly<Record<string, string>> {
    const found = new Map<string, string>();
    this.#space();
    if (this.#bytes[this.#at] !== code.open) {
      const text = this.#raw();
      if (text === 'null') return {};
      warnings.push('Its __metadata__ is not a list of texts; kept as it is.');
      return { __metadata__: text };
    }
    this.#object('__metadata__', (key) => {
      if (found.size >= mostEntries) throw new HeaderFault(`its metadata has more than ${mostEntries} fields.`);
      if (found.has(key)) warnings.push(`Metadata field ${quote(key)} appears twice; the last one counts.`);
      this.#space();
      if (this.#bytes[this.#at] === code.quote) {
        found.set(key, this.#string(`metadata ${quote(key)}`));
      } else {
        found.set(key, this.#raw());
        warnings.push(`Metadata field ${quote(key)} is not text; kept as it is.`);
      }
      if (warnings.length > 20) warnings.length = 20;
    });
    return Object.fromEntries(found);
  }

  /** `{ "key": value, ... }`; `value` reads one value. */
  #object(what: string, value: (key: string) => void): void {
    this.#expect(code.open, what, '"{"');
    this.#space();
    if (this.#bytes[this.#at] === code.close) {
      this.#at += 1;
      return;
    }
    for (;;) {
      const key = this.#string(`a name in ${what}`);
      this.#expect(code.colon, what, '":"');
      this.#space();
      value(key);
      this.#space();
      if (this.#bytes[this.#at] !== code.comma) break;
      this.#at += 1;
    }
    this.#expect(code.close, what, '"," or "}"');
  }

  /** `[ item, ... ]`; `item` reads one item. */
  #list(what: string, item: () => void): void {
    this.#expect(code.list, what, '"["');
    this.#space();
    if (this.#bytes[this.#at] === code.end) {
      this.#at += 1;
      return;
    }
    for (;;) {
      this.#space();
      item();
      this.#space();
      if (this.#bytes[this.#at] !== code.comma) break;
      this.#at += 1;
    }
    this.#expect(code.end, what, '"," or "]"');
  }

  /** Passes over one value of any kind, keeping nothing. */
  #skip(depth: number): void {
    if (depth > mostDepth) throw new HeaderFault(`its header is nested more than ${mostDepth} levels deep.`);
    this.#space();
    const first = this.#bytes[this.#at];
    if (first === code.open) {
      this.#object('an unknown field', () => {
        this.#skip(depth + 1);
      });
    } else if (first === code.list) {
      this.#list('an unknown field', () => {
        this.#skip(depth + 1);
      });
    } else if (first === code.quote) {
      this.#endOfString('an unknown field');
    } else {
      const start = this.#at;
      while (isWordByte(this.#bytes[this.#at])) this.#at += 1;
      const word = this.#text.toString('latin1', start, Math.min(this.#at, start + 400));
      if (!/^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/.test(word)) throw this.#fault('a value');
    }
  }

  /** The text of one value of any kind. */
  #raw(): string {
    this.#space();
    const start = this.#at;
    this.#skip(0);
    return this.#text.toString('utf8', start, this.#at);
  }

  #string(what: string): string {
    this.#space();
    const start = this.#at;
    const escaped = this.#endOfString(what);
    if (!escaped) return this.#text.toString('utf8', start + 1, this.#at - 1);
    try {
      return JSON.parse(this.#text.toString('utf8', start, this.#at)) as string;
    } catch {
      throw new HeaderFault(`${what} has a bad escape in its text. The header is not JSON; the file is damaged.`);
    }
  }

  /** Moves past a string; true when it holds escapes. */
  #endOfString(what: string): boolean {
    this.#expect(code.quote, what, 'text in quotes');
    let escaped = false;
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined || byte < 0x20)
        throw new HeaderFault(`${what} has text that does not end. The file is damaged.`);
      this.#at += 1;
      if (byte === code.quote) return escaped;
      if (byte === code.backslash) {
        escaped = true;
        this.#at += 1;
      }
    }
  }

  #expect(byte: number, what: string, shown: string): void {
    this.#space();
    if (this.#bytes[this.#at] !== byte) throw this.#fault(`${shown} in ${what}`);
    this.#at += 1;
  }

  #space(): void {
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at += 1;
    }
  }

  #next(): string {
    return this.#text.toString('utf8', this.#at, this.#at + 12);
  }

  #fault(expected: string): HeaderFault {
    const found = this.#at >= this.#bytes.length ? 'its end' : quote(this.#next());
    return new HeaderFault(
      `its header is not the JSON that safetensors asks for: expected ${expected} at byte ${this.#at}, found ${found}. The file is damaged.`,
    );
  }
}

function isWordByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e
  );
}
