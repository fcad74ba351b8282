// Writes safetensors files (https://github.com/huggingface/safetensors#format) as the official library does: large element
// types first, then by name, the header padded to 8 bytes, so that every tensor is aligned in the file.
import { byteSize, type DType } from '../tensor/dtype.ts';
import { elementCount, showShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { quote, SafetensorsError, safetensorsTypes } from './safetensors-header.ts';
import { writeNew, type WhenTaken } from './write-new.ts';

/** A tensor of any element type, as its little-endian bytes. */
export interface RawTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * Writes `tensors` and `metadata` to `path` and returns the path it got. The file appears complete or not at all; an older
 * one is replaced unless `whenTaken` says otherwise. Nothing is copied: tensors stream from where they are.
 * Throws SafetensorsError on bytes that do not fit a shape, WriteError when the disk refuses.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, Tensor | RawTensor>>,
  metadata: Readonly<Record<string, string>> = {},
  { whenTaken = 'replace' }: { readonly whenTaken?: WhenTaken } = {},
): Promise<string> {
  const named = Object.entries(tensors).map(([name, tensor]) => {
    const bytes = 'bytes' in tensor ? tensor.bytes : asBytes(tensor.data);
    const expected = elementCount(tensor.shape) * byteSize(tensor.dtype);
    if (name === '__metadata__' || bytes.byteLength !== expected) {
      const message = `tensor ${quote(name)}, ${tensor.dtype} of shape ${showShape(tensor.shape)}, needs ${expected} bytes, got ${bytes.byteLength}.`;
      throw new SafetensorsError(path, message, { tensor: name });
    }
    return { name, dtype: tensor.dtype, shape: tensor.shape, bytes };
  });
  named.sort((a, b) => byteSize(b.dtype) - byteSize(a.dtype) || (a.name < b.name ? -1 : 1));

  const fields: (readonly [string, unknown])[] = [];
  if (Object.keys(metadata).length > 0) fields.push(['__metadata__', metadata]);
  let offset = 0;
  for (const { name, dtype, shape, bytes } of named) {
    const end = offset + bytes.byteLength;
    fields.push([name, { dtype: typeNames.get(dtype), shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  // fromEntries, not assignment: a tensor may be called __proto__.
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)), 'utf8');
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8), 0);
  json.copy(header, 8);
  return writeNew(path, [header, ...named.map(({ bytes }) => bytes)], { whenTaken });
}

const typeNames = new Map<DType, string>(Object.entries(safetensorsTypes).map(([name, dtype]) => [dtype, name]));

function asBytes(data: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
