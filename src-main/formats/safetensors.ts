// Reads safetensors files (https://github.com/huggingface/safetensors#format): the header alone, so that weights can be
// used where they lie, and single tensors for tools. Everything is checked before it is believed or allocated.
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { TensorRef } from '../graph/ir.ts';
import { byteSize } from '../tensor/dtype.ts';
import { fromBfloat16, fromFloat16 } from '../tensor/float16.ts';
import { fromFloat8E4m3fn, fromFloat8E5m2 } from '../tensor/float8.ts';
import { elementCount, showShape } from '../tensor/shape.ts';
import { floatTensor, intTensor, type FloatTensor, type IntTensor } from '../tensor/tensor.ts';
import { foreignFile } from './foreign-file.ts';
import { checkLayout, parseHeader, SafetensorsError } from './safetensors-header.ts';

/** What a safetensors file holds; no weight is read. */
export interface SafetensorsHeader {
  /** Absolute path. */
  readonly file: string;
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** The file's own texts, hostile until shown as text. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Bytes before the first tensor. */
  readonly dataOffset: number;
  readonly sizeBytes: number;
  readonly warnings: readonly string[];
}

/** The official library's limit. Real headers have less than 1 MB, plus embedded previews. */
const mostHeaderBytes = 100_000_000;
/** One read() of more than 2 GiB fails on some systems. */
const readBytes = 2 ** 26;

/**
 * Reads and checks the header of `file`. Throws SafetensorsError for anything else than a whole, honest safetensors file,
 * with the reason in words (a pickled checkpoint, a cut download, overlapping tensors).
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  const path = resolve(file);
  const { handle, size } = await openFile(path);
  try {
    const head = await readAt(handle, path, 0, Math.min(size, 512));
    const foreign = foreignFile(path, head, size);
    if (foreign !== undefined) throw new SafetensorsError(path, foreign);
    if (size < 10) throw new SafetensorsError(path, `it has ${size} bytes, too few for a safetensors file.`);
    const length = Number(head.readBigUInt64LE(0));
    if (length > mostHeaderBytes || length > size - 8) {
      const most = Math.min(size - 8, mostHeaderBytes);
      throw new SafetensorsError(
        path,
        `its header claims ${length} bytes, at most ${most} are possible. It is no safetensors file, or is cut short.`,
      );
    }
    const parsed = parseHeader(await readAt(handle, path, 8, length), path);
    const dataOffset = 8 + length;
    checkLayout(parsed.entries, size - dataOffset, path);
    const tensors = new Map<string, TensorRef>();
    for (const [name, { dtype, shape, begin, end }] of parsed.entries) {
      tensors.set(name, { file: path, dtype, shape, offset: dataOffset + begin, length: end - begin });
    }
    const { metadata, warnings } = parsed;
    return { file: path, tensors, metadata, dataOffset, sizeBytes: size, warnings };
  } finally {
    await handle.close();
  }
}

/**
 * Reads one tensor into memory: floating-point types as float32 (float64 is rounded), whole numbers and booleans as
 * int64. Throws SafetensorsError when the file has changed since, or cannot be read.
 */
export async function readTensor(ref: TensorRef): Promise<FloatTensor | IntTensor> {
  const count = elementCount(ref.shape);
  if (ref.length !== count * byteSize(ref.dtype)) {
    const message = `${ref.length} bytes at ${ref.offset} do not hold ${ref.dtype} of shape ${showShape(ref.shape)}.`;
    throw new SafetensorsError(ref.file, message);
  }
  const { handle, size } = await openFile(ref.file);
  try {
    if (ref.offset + ref.length > size) {
      const message = `it ends before byte ${ref.offset + ref.length}; it has changed since it was opened. Open it again.`;
      throw new SafetensorsError(ref.file, message);
    }
    return decode(ref, await readAt(handle, ref.file, ref.offset, ref.length), count);
  } finally {
    await handle.close();
  }
}

/**
 * The values of `refs`, tensors of one number each (alphas, scales) in one file, which is opened once for all of them. Throws
 * SafetensorsError as `readTensor`, and for a tensor of more numbers.
 */
export async function readScalars(refs: readonly TensorRef[]): Promise<readonly number[]> {
  const [first] = refs;
  if (first === undefined) return [];
  const { handle, size } = await openFile(first.file);
  try {
    const values: number[] = [];
    for (const ref of refs) {
      const whole = ref.file === first.file && elementCount(ref.shape) === 1 && ref.length === byteSize(ref.dtype);
      if (!whole || ref.offset + ref.length > size) {
        const message = `${ref.dtype} of shape ${showShape(ref.shape)} at byte ${ref.offset} is not one number in this file.`;
        throw new SafetensorsError(first.file, message);
      }
      const { data } = decode(ref, await readAt(handle, ref.file, ref.offset, ref.length), 1);
      values.push(Number(data[0]));
    }
    return values;
  } finally {
    await handle.close();
  }
}

function decode({ dtype, shape }: TensorRef, bytes: Buffer, count: number): FloatTensor | IntTensor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const floats = (at: (index: number) => number): FloatTensor => {
    const data = new Float32Array(count);
    for (let i = 0; i < count; i++) data[i] = at(i);
    return floatTensor(shape, data);
  };
  const integers = (at: (index: number) => number): IntTensor => {
    const data = new BigInt64Array(count);
    for (let i = 0; i < count; i++) data[i] = BigInt(at(i));
    return intTensor(shape, data);
  };
  switch (dtype) {
    case 'float32':
      // readAt gives memory of its own, whose offset 0 is aligned.
      return floatTensor(shape, new Float32Array(bytes.buffer, bytes.byteOffset, count));
    case 'float64':
      return floats((i) => view.getFloat64(i * 8, true));
    case 'float16':
      return floats((i) => fromFloat16(view.getUint16(i * 2, true)));
    case 'bfloat16':
      return floats((i) => fromBfloat16(view.getUint16(i * 2, true)));
    case 'float8e4m3fn':
      return floats((i) => fromFloat8E4m3fn(bytes[i]!));
    case 'float8e5m2':
      return floats((i) => fromFloat8E5m2(bytes[i]!));
    case 'int64':
      return intTensor(shape, new BigInt64Array(bytes.buffer, bytes.byteOffset, count));
    case 'int32':
      return integers((i) => view.getInt32(i * 4, true));
    case 'int16':
      return integers((i) => view.getInt16(i * 2, true));
    case 'int8':
      return integers((i) => view.getInt8(i));
    case 'uint8':
    case 'bool':
      return integers((i) => bytes[i]!);
  }
}

async function openFile(path: string): Promise<{ handle: FileHandle; size: number }> {
  try {
    // Asked before opening: a named pipe would wait for ever.
    const found = await stat(path);
    if (found.isDirectory()) throw new SafetensorsError(path, 'this is a folder, expected a .safetensors file.');
    if (!found.isFile()) throw new SafetensorsError(path, 'this is no ordinary file, expected a .safetensors file.');
    return { handle: await open(path, constants.O_RDONLY), size: found.size };
  } catch (error) {
    throw error instanceof SafetensorsError ? error : unreadable(path, error);
  }
}

async function readAt(handle: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.from(new ArrayBuffer(length));
  try {
    for (let done = 0; done < length;) {
      const { bytesRead } = await handle.read(bytes, done, Math.min(readBytes, length - done), position + done);
      if (bytesRead === 0) throw new SafetensorsError(path, 'it became shorter while it was read. Open it again.');
      done += bytesRead;
    }
  } catch (error) {
    throw error instanceof SafetensorsError ? error : unreadable(path, error);
  }
  return bytes;
}

function unreadable(path: string, error: unknown): SafetensorsError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file. Check the path.',
    ENOTDIR: 'there is no such file. Check the path.',
    EACCES: 'this account may not read it. Change its permissions.',
    EPERM: 'this account may not read it. Change its permissions.',
    EMFILE: 'too many files are open. Close some and try again.',
    ENAMETOOLONG: 'the path is too long for this system.',
  };
  const reason = reasons[code] ?? `it could not be read (${error instanceof Error ? error.message : String(error)}).`;
  return new SafetensorsError(path, reason, { cause: error });
}
