// Slopes by central differences: a witness that needs neither a rule nor another library.

/**
 * d loss(x + h direction) / dh at 0 from four points (Abramowitz & Stegun 25.3.6), error O(step^4). `loss` is called
 * four times, on arrays of its own.
 */
export async function directionalSlope(
  loss: (x: Float32Array) => Promise<number>,
  x: Float32Array,
  direction: Float32Array,
  step: number,
): Promise<number> {
  const at = (h: number): Promise<number> => loss(x.map((value, i) => value + h * direction[i]!));
  const near = (await at(step)) - (await at(-step));
  const far = (await at(2 * step)) - (await at(-2 * step));
  return (8 * near - far) / (12 * step);
}

/** Sum of products in float64. */
export function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}
