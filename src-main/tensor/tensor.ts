// The tensors that cross a graph's border: float32 or int64, dense, row-major.
// Everything else (float16 weights, casts) stays inside the graph.
import { elementCount, showShape, type Shape } from './shape.ts';

/** Dense row-major float32 tensor. */
export interface FloatTensor {
  readonly dtype: 'float32';
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** Dense row-major int64 tensor (token ids, indices). */
export interface IntTensor {
  readonly dtype: 'int64';
  readonly shape: Shape;
  readonly data: BigInt64Array;
}

export type Tensor = FloatTensor | IntTensor;

/** Wraps `data` as a float32 tensor. Throws when the element count does not match the shape. */
export function floatTensor(shape: Shape, data: Float32Array = new Float32Array(elementCount(shape))): FloatTensor {
  checkLength(shape, data.length);
  return { dtype: 'float32', shape, data };
}

/** Wraps integers as an int64 tensor. Throws when the element count does not match the shape. */
export function intTensor(shape: Shape, values: readonly number[] | BigInt64Array): IntTensor {
  const data = values instanceof BigInt64Array ? values : BigInt64Array.from(values, (value) => BigInt(value));
  checkLength(shape, data.length);
  return { dtype: 'int64', shape, data };
}

function checkLength(shape: Shape, length: number): void {
  if (elementCount(shape) !== length) {
    throw new RangeError(`A tensor of shape ${showShape(shape)} holds ${elementCount(shape)} elements, got ${length}.`);
  }
}
