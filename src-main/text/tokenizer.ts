// CLIP's byte-pair encoding, run by @huggingface/tokenizers on a description equal to openai/clip-vit-large-patch14's
// tokenizer.json. Text is NFC-normalised, its whitespace collapsed, lower-cased, split into words, and merged byte by byte.
// https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py
import { Tokenizer } from '@huggingface/tokenizers';
import { endOfText, endOfWord, readClipVocabulary, startOfText } from './clip-vocabulary.ts';

export interface ClipTokenizer {
  /** Token ids of a text, without the start and end marks. Any string is accepted; an empty one has no tokens. */
  encode(text: string): number[];
  /** The text of token ids: lower case, one space after each word. Marks are left out. */
  decode(ids: readonly number[]): string;
  /** 49408. */
  readonly vocabSize: number;
  /** Id of the start mark, 49406. */
  readonly bos: number;
  /** Id of the end mark, 49407. */
  readonly eos: number;
  /** Id that fills a chunk for Stable Diffusion 1: the end mark. Stable Diffusion 2 fills with 0. */
  readonly pad: number;
  /** Id of a comma that ends a word, 267: where a long prompt is broken. */
  readonly comma: number;
}

let shared: ClipTokenizer | undefined;

/** The tokenizer of every Stable Diffusion text encoder. Built on the first call (about 0.2 s), then shared. */
export function clipTokenizer(): ClipTokenizer {
  shared ??= buildClipTokenizer();
  return shared;
}

function buildClipTokenizer(): ClipTokenizer {
  const { ids, merges } = readClipVocabulary();
  const bos = ids[startOfText]!;
  const eos = ids[endOfText]!;
  const mark = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: content === startOfText,
    special: true,
  });
  const tokenizer = new Tokenizer(
    {
      version: '1.0',
      added_tokens: [mark(bos, startOfText), mark(eos, endOfText)],
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'NFC' },
          { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
          { type: 'Lowercase' },
        ],
      },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          {
            type: 'Split',
            pattern: { Regex: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" },
            behavior: 'Removed',
            invert: true,
          },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
        ],
      },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: endOfText,
        continuing_subword_prefix: '',
        end_of_word_suffix: endOfWord,
        fuse_unk: false,
        vocab: ids,
        merges,
      },
    },
    { tokenizer_class: 'CLIPTokenizer', clean_up_tokenization_spaces: false },
  );
  return {
    encode: (text) => (text === '' ? [] : tokenizer.encode(text, { add_special_tokens: false }).ids),
    decode: (tokens) =>
      tokens.length === 0
        ? ''
        : tokenizer
            .decode([...tokens], { skip_special_tokens: true, clean_up_tokenization_spaces: false })
            .replaceAll(endOfWord, ' ')
            .trim(),
    vocabSize: eos + 1,
    bos,
    eos,
    pad: eos,
    comma: ids[`,${endOfWord}`]!,
  };
}
