// JSON out of a stranger's file: refused by length and depth before JSON.parse builds anything, so that no later walk
// over the value can run out of stack. Two habits of Python writers are understood: NaN and Infinity (read as null), and
// integers beyond 2^53, such as ComfyUI's 64-bit seeds, which can be kept as text instead of losing digits.

/** JSON that is too large, too deep, or none at all. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

/** Limits for parseBoundedJson. */
export interface JsonLimits {
  /** UTF-16 units. */
  readonly mostLength: number;
  readonly mostDepth: number;
  /** Gives integers of 16 digits and more as strings. */
  readonly longIntegersAsText?: boolean;
}

/** Parses `text` within `limits`. Throws JsonError. */
export function parseBoundedJson(
  text: string,
  { mostLength, mostDepth, longIntegersAsText = false }: JsonLimits,
): unknown {
  if (text.length > mostLength)
    throw new JsonError(`it has ${text.length} characters; at most ${mostLength} are read.`);
  const pieces: string[] = [];
  let [depth, at, copied] = [0, 0, 0];
  const replace = (length: number, by: string): void => {
    pieces.push(text.slice(copied, at), by);
    at += length;
    copied = at;
  };
  while (at < text.length) {
    const sign = text[at]!;
    if (sign === '"') {
      at = endOfString(text, at);
    } else if (sign === '{' || sign === '[') {
      depth += 1;
      if (depth > mostDepth) throw new JsonError(`it is nested more than ${mostDepth} levels deep.`);
      at += 1;
    } else if (sign === '}' || sign === ']') {
      depth -= 1;
      at += 1;
    } else if (text.startsWith('NaN', at)) {
      replace(3, 'null');
    } else if (text.startsWith('Infinity', at)) {
      replace(8, 'null');
    } else if (text.startsWith('-Infinity', at)) {
      replace(9, 'null');
    } else if (sign === '-' || isDigit(sign)) {
      let end = at + 1;
      while (end < text.length && (isDigit(text[end]!) || '.eE+-'.includes(text[end]!))) end += 1;
      const number = text.slice(at, end);
      if (longIntegersAsText && /^-?\d{16,}$/.test(number)) replace(number.length, `"${number}"`);
      else at = end;
    } else {
      at += 1;
    }
  }
  try {
    return JSON.parse(pieces.length === 0 ? text : pieces.join('') + text.slice(copied));
  } catch (error) {
    throw new JsonError('it is not JSON.', { cause: error });
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function isDigit(sign: string): boolean {
  return sign >= '0' && sign <= '9';
}
