// What an artist types for the values of an axis, in the conventions of AUTOMATIC1111's X/Y/Z plot: lists `1, 2, 3`, ranges `1-5`,
// ranges by step `0-1 (+0.25)` and by count `0-1 [5]`, and texts with quotes around a comma.
import { strings } from '../strings.ts';

/** What was typed cannot be values; the message says what can. */
export class AxisError extends Error {
  override readonly name = 'AxisError';
}

const mostValues = 100;
const number = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)`;
const range = new RegExp(String.raw`^(${number})\s*-\s*(${number})\s*(?:\(\s*(${number})\s*\)|\[\s*(\d+)\s*\])?$`);

/** Parts between commas, trimmed; a part in double quotes keeps its commas, and `""` in it is one quote. Empty parts are left out. */
export function splitList(text: string): readonly string[] {
  const parts = text.match(/\s*"(?:[^"]|"")*"\s*|[^,]+/g) ?? [];
  return parts
    .map((part) => part.trim())
    .map((part) => (/^".*"$/s.test(part) ? part.slice(1, -1).replaceAll('""', '"') : part))
    .filter((part) => part !== '');
}

/**
 * Numbers of a list whose parts may be ranges; `whole` cuts decimals off, as A1111 does. Throws an AxisError for anything else, an
 * empty list and more than 100 values.
 */
export function numberList(text: string, { whole }: { readonly whole: boolean }): readonly number[] {
  const values = splitList(text).flatMap((part) => numbersOf(part));
  if (values.length === 0) throw new AxisError(strings.compare.grid.noValues);
  if (values.length > mostValues) throw new AxisError(strings.compare.grid.tooManyValues(values.length, mostValues));
  return values.map((value) => (whole ? Math.trunc(value) : Math.round(value * 1e6) / 1e6));
}

function numbersOf(part: string): readonly number[] {
  const found = range.exec(part);
  if (found === null) {
    const value = Number(part);
    if (!Number.isFinite(value)) throw new AxisError(strings.compare.grid.notNumbers(part));
    return [value];
  }
  const [start, end] = [Number(found[1]), Number(found[2])];
  if (found[4] !== undefined) {
    const count = Math.min(Number(found[4]), mostValues + 1);
    return Array.from({ length: count }, (_, i) => (count === 1 ? start : start + ((end - start) * i) / (count - 1)));
  }
  const step = found[3] === undefined ? Math.sign(end - start) || 1 : Number(found[3]);
  if (step === 0 || (end - start) / step < 0) throw new AxisError(strings.compare.grid.neverEnds(part));
  const count = Math.min(Math.floor((end - start) / step + 1e-9) + 1, mostValues + 1);
  return Array.from({ length: count }, (_, i) => start + step * i);
}
