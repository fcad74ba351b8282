// Element types that a checkpoint or a graph can hold, with their safetensors names and sizes.
// ONNX numbers for the same types live with the serialiser (formats/onnx-model.ts).

/** Element type of a tensor. `bool` occupies one byte. */
export type DType =
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'float64'
  | 'float8e4m3fn'
  | 'float8e5m2'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'bool';

const bytes = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float64: 8,
  float8e4m3fn: 1,
  float8e5m2: 1,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
} as const satisfies Record<DType, number>;

/** Bytes per element of `dtype`. */
export function byteSize(dtype: DType): number {
  return bytes[dtype];
}

/** True for the floating-point types, whose weights are computed with after a Cast to float32. */
export function isFloat(dtype: DType): boolean {
  return dtype.startsWith('float') || dtype === 'bfloat16';
}
