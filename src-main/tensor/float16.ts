// Half precision and bfloat16 to float32 and back, bit for bit (IEEE 754-2008, round to nearest even).
// onnxruntime does this inside the graph; here it serves tools that read or write tensors outside one.

const scratch = new DataView(new ArrayBuffer(4));

/** Value of the IEEE 754 binary16 number with bit pattern `bits` (0..65535). */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Bit pattern of the binary16 number nearest to `value`, ties to even; overflow gives infinity. */
export function toFloat16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal half: scaled so that one unit is 2^-24; the division rounds to nearest even below.
    const units = Math.abs(value) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rebiased = magnitude - 0x38000000;
  const roundUp = (rebiased & 0x1fff) > 0x1000 || ((rebiased & 0x1fff) === 0x1000 && (rebiased & 0x2000) !== 0);
  return sign | ((rebiased >>> 13) + (roundUp ? 1 : 0));
}

/** Value of the bfloat16 number with bit pattern `bits`: the upper half of a float32. */
export function fromBfloat16(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}
