// Reads the float32 tensors of a golden safetensors file, independent of formats/safetensors.ts, which has tests of its own.
import { readFileSync } from 'node:fs';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** Tensors of test/golden/data/`path` by name. Throws when one is absent or not F32. */
export function readGolden(path: string): (name: string) => FloatTensor {
  const file = readFileSync(new URL(`../golden/data/${path}`, import.meta.url));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerLength)) as Record<string, Entry | undefined>;
  return (name) => {
    const entry = header[name];
    if (entry?.dtype !== 'F32') throw new Error(`${path} holds no F32 tensor "${name}".`);
    const [start, end] = entry.data_offsets;
    const bytes = file.buffer.slice(
      file.byteOffset + 8 + headerLength + start,
      file.byteOffset + 8 + headerLength + end,
    );
    return floatTensor(entry.shape, new Float32Array(bytes));
  };
}

/** Largest absolute difference of two lists of numbers; NaN where either holds NaN. Infinity when the lengths differ. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

/** ||a - b|| / ||b||, the relative L2 error of `a` against the witness `b`. Infinity when the lengths differ. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let [error, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}
