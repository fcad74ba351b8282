// CLIP's byte pairs against transformers' fast CLIPTokenizer on 375 texts (golden/text.py), most of them not English.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { clipTokenizer } from '../../src-main/text/tokenizer.ts';

interface Row {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const tokenizer = clipTokenizer();
const rows = JSON.parse(readFileSync(new URL('../golden/data/text/tokens.json', import.meta.url), 'utf8')) as Row[];

/**
 * Where the fast tokenizer leaves openai/CLIP's simple_tokenizer.py, which trained the model and which we follow: Python's
 * lower() writes a final sigma as ς, and marks are recognised after lower-casing.
 */
const followOpenAi: Readonly<Record<string, readonly number[]>> = {
  'Ελλάδα ΟΔΟΣ': [138, 113, 138, 119, 138, 119, 138, 105, 138, 112, 138, 365, 138, 123, 138, 112, 138, 123, 139, 480],
  '<|ENDOFTEXT|>': [49407],
};

describe('tokens', () => {
  it('a photo of a cat is 320 1125 539 320 2368', () => {
    expect(tokenizer.encode('a photo of a cat')).toEqual([320, 1125, 539, 320, 2368]);
  });

  it('the vocabulary ends with the two marks', () => {
    expect([tokenizer.vocabSize, tokenizer.bos, tokenizer.eos, tokenizer.pad]).toEqual([49408, 49406, 49407, 49407]);
    expect(tokenizer.encode('a , b')).toContain(tokenizer.comma);
  });

  it.each(rows.filter(({ text }) => !(text in followOpenAi)))(
    '$text has the ids that transformers gives',
    ({ text, ids }) => {
      expect(tokenizer.encode(text)).toEqual(ids);
    },
  );

  it.each(Object.entries(followOpenAi))('%s has the ids that CLIP was trained with', (text, ids) => {
    expect(tokenizer.encode(text)).toEqual(ids);
  });

  it('ids decode to the text that transformers gives', () => {
    expect(rows.map(({ ids }) => tokenizer.decode(ids))).toEqual(rows.map(({ decoded }) => decoded));
  });

  it('lone surrogates and every byte value give known ids', () => {
    const odd = `\ud800a\udfff${String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code))}`;
    const ids = tokenizer.encode(odd);
    expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.bos)).toBe(true);
  });

  it('one tokenizer is shared', () => {
    expect(clipTokenizer()).toBe(tokenizer);
  });
});
