// The one arithmetic step that samplers, denoisers and guidance are made of: float64 coefficients over float32 tensors.
import { sameShape, showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

/** Sum of coefficient * tensor over `terms`, rounded to float32 once. Throws a RangeError when shapes differ. */
export function weightedSum(
  ...terms: readonly [readonly [number, FloatTensor], ...(readonly [number, FloatTensor])[]]
): FloatTensor {
  const { shape } = terms[0][1];
  const sum = new Float64Array(terms[0][1].data.length);
  for (const [coefficient, tensor] of terms) {
    if (!sameShape(tensor.shape, shape)) {
      throw new RangeError(`Cannot add ${showShape(tensor.shape)} to ${showShape(shape)}: both must have one shape.`);
    }
    // A zero coefficient drops its term, so that 0 * Infinity cannot turn a finite sum into NaN.
    if (coefficient === 0) continue;
    for (let i = 0; i < sum.length; i++) sum[i]! += coefficient * tensor.data[i]!;
  }
  return floatTensor(shape, Float32Array.from(sum));
}
