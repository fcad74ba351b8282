// The two 8-bit float formats of checkpoints (Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433), to numbers.
// Only read here: some Stable Diffusion files are stored so to halve them again; computing is in float32.
import { fromFloat16 } from './float16.ts';

/**
 * Value of the E4M3FN number with bit pattern `bits` (0..255): bias 7, largest 448, no infinity; 0x7f and 0xff are NaN.
 */
export function fromFloat8E4m3fn(bits: number): number {
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 0xf;
  const fraction = bits & 7;
  if (exponent === 0xf && fraction === 7) return NaN;
  if (exponent === 0) return sign * fraction * 2 ** -9;
  return sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}

/** Value of the E5M2 number with bit pattern `bits` (0..255): the upper byte of a binary16 number. */
export function fromFloat8E5m2(bits: number): number {
  return fromFloat16(bits << 8);
}
