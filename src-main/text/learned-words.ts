// Words that a model has learned (textual inversion, Gal et al. 2022, https://arxiv.org/abs/2208.01618) among the tokens of a
// prompt. As in A1111 a word is found by its own tokens, so that case does not matter and parts of other words are not it; each
// of its vectors takes one place, under an id beyond the vocabulary.
import type { ClipTokenizer } from './tokenizer.ts';

/** Name of a word -> an id per vector, from the vocabulary's size on: the row of the vector in the table of extra embeddings. */
export type LearnedWords = ReadonlyMap<string, readonly number[]>;

/** One token, or the vectors of a learned word, which stay together. */
export type TokenGroup = readonly number[];

/** Splits token ids into groups. Where several words begin, the one of most tokens is taken. */
export type WordFinder = (tokens: readonly number[]) => readonly TokenGroup[];

/** The finder for `words`. A name without tokens (only spaces) is never found. */
export function wordFinder(words: LearnedWords, tokenizer: ClipTokenizer): WordFinder {
  const byFirst = new Map<number, { readonly name: readonly number[]; readonly ids: readonly number[] }[]>();
  for (const [text, ids] of words) {
    const name = tokenizer.encode(text);
    if (name.length === 0) continue;
    const alike = [...(byFirst.get(name[0]!) ?? []), { name, ids }];
    byFirst.set(
      name[0]!,
      alike.sort((a, b) => b.name.length - a.name.length),
    );
  }
  return (tokens) => {
    const groups: TokenGroup[] = [];
    for (let at = 0; at < tokens.length;) {
      const word = byFirst.get(tokens[at]!)?.find(({ name }) => name.every((token, i) => tokens[at + i] === token));
      groups.push(word === undefined ? [tokens[at]!] : word.ids);
      at += word === undefined ? 1 : word.name.length;
    }
    return groups;
  };
}
