// Words of textual-inversion files in prompts, counted and matched as A1111 does.
import { describe, expect, it } from 'vitest';
import type { LearnedWords } from '../../src-main/text/learned-words.ts';
import { tokenChunks, tokenCount } from '../../src-main/text/prompt.ts';
import { clipTokenizer } from '../../src-main/text/tokenizer.ts';

const tokenizer = clipTokenizer();
const words: LearnedWords = new Map([
  ['ink', [49408]],
  ['ink-cat', [49409, 49410, 49411]],
  ['Bad_Hands 2', [49412, 49413]],
  ['<toy>', [49414]],
  [' ', [49415]],
]);
/** Tokens of the first chunk without marks and fill. */
const inner = (text: string): readonly number[] => {
  const { tokens } = tokenChunks(text, tokenizer, { words })[0]!;
  return tokens.slice(1, tokens.indexOf(tokenizer.eos));
};
const plain = (text: string): number[] => tokenizer.encode(text);

describe('a learned word', () => {
  it('takes one token for each of its vectors', () => {
    expect(inner('a ink-cat sits')).toEqual([...plain('a'), 49409, 49410, 49411, ...plain('sits')]);
    expect(tokenCount('a ink-cat sits', tokenizer, 20, words)).toEqual({ tokens: 5, limit: 75 });
  });

  it('is found in any case, beside punctuation, and with signs and digits in its name', () => {
    expect(inner('INK,ink')).toEqual([49408, ...plain(','), 49408]);
    expect(inner('bad_hands 2!')).toEqual([49412, 49413, ...plain('!')]);
    expect(inner('<toy>')).toEqual([49414]);
  });

  it('is not part of another word', () => {
    for (const text of ['inkblot', 'pink', 'drink inks']) expect(inner(text)).toEqual(plain(text));
  });

  it('of more tokens wins over a shorter one', () => {
    expect(inner('ink cat')).toEqual([49408, ...plain('cat')]);
    expect(inner('ink-cat')).toEqual([49409, 49410, 49411]);
  });

  it('is emphasised as a whole', () => {
    const [{ tokens, weights }] = tokenChunks('a (ink-cat:1.3) b', tokenizer, { words }) as [
      ReturnType<typeof tokenChunks>[number],
    ];
    expect(tokens.slice(1, 6)).toEqual([...plain('a'), 49409, 49410, 49411, ...plain('b')]);
    expect(weights.slice(0, 7)).toEqual([1, 1, 1.3, 1.3, 1.3, 1, 1]);
  });

  it('is not cut in two by the end of a chunk', () => {
    const before = 'a '.repeat(73);
    const chunks = tokenChunks(`${before}ink-cat b`, tokenizer, { words });
    expect(chunks).toHaveLength(2);
    expect(chunks[0]!.tokens.filter((token) => token > 49407)).toEqual([]);
    expect(chunks[1]!.tokens.slice(1, 5)).toEqual([49409, 49410, 49411, ...plain('b')]);
    expect(tokenCount(`${before}ink-cat b`, tokenizer, 20, words)).toEqual({ tokens: 79, limit: 150 });
    for (const { tokens, weights } of chunks) expect([tokens.length, weights.length]).toEqual([77, 77]);
    // 72 and 3 fit exactly.
    expect(tokenChunks(`${'a '.repeat(72)}ink-cat`, tokenizer, { words })).toHaveLength(1);
  });

  it('of more vectors than a chunk has tokens is refused', () => {
    const long: LearnedWords = new Map([['ink', Array.from({ length: 76 }, (_, i) => 49408 + i)]]);
    expect(() => tokenChunks('ink', tokenizer, { words: long })).toThrow(/76 vectors; 75 tokens/);
  });

  it('changes nothing where the prompt has none', () => {
    const text = '((a photo:1.2) of [a|b] cat, BREAK sitting '.repeat(9);
    expect(tokenChunks(text, tokenizer, { words })).toEqual(tokenChunks(text, tokenizer));
  });
});
