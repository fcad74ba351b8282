// Ctrl+Up and Ctrl+Down in a prompt, as in A1111: `word` becomes `(word:1.1)`, then `(word:1.2)`, and loses its brackets at 1. Without
// a selection the bracket around the cursor is meant, or else the word. Pure text: the field makes the change, so that it can be undone.

export interface TextChange {
  /** Range that is replaced. */
  readonly from: number;
  readonly to: number;
  readonly text: string;
  /** What is selected afterwards: the words without their bracket and weight. */
  readonly selection: readonly [number, number];
}

interface Weighted {
  readonly from: number;
  readonly to: number;
  readonly words: string;
  readonly weight: number;
}

/** What the step is for tags such as <lora:ink:0.8>, of the step for words. */
const tagShare = 0.5;
const wordCharacter = /[^\s,.;:!?(){}[\]<>|]/;

/** The change that adds `step` to the weight of what is selected in `text`; undefined when there is nothing to weigh. */
export function changeWeight(text: string, start: number, end: number, step: number): TextChange | undefined {
  const tag = tagAround(text, start, end);
  if (tag !== undefined) return changeTag(tag, step * tagShare);
  const found = bracketOf(text, start, end) ?? plain(text, start, end);
  if (found === undefined) return undefined;
  const weight = rounded(Math.max(0, found.weight + step));
  const { from, to, words } = found;
  const bare = weight === 1;
  const first = from + (bare ? 0 : 1);
  return {
    from,
    to,
    text: bare ? words : `(${words}:${weight})`,
    selection: [first, first + words.length],
  };
}

const rounded = (weight: number): number => Math.round(weight * 100) / 100;

/** The innermost round bracket that holds the selection, or that is selected itself. */
function bracketOf(text: string, start: number, end: number): Weighted | undefined {
  const open: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '(') open.push(at);
    else if (text[at] === ')' && open.length > 0) {
      const from = open.pop()!;
      const to = at + 1;
      const [, words = '', number] = /^([^]*?)(?::\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*)?$/.exec(text.slice(from + 1, at))!;
      const wordsEnd = from + 1 + words.length;
      // A selection means this bracket when it is all of the words or of the bracket; a part of the words gets its own.
      const meant =
        start === end
          ? start > from && start < to
          : (start === from && end === to) || (start === from + 1 && (end === wordsEnd || end === at));
      if (meant) return { from, to, words, weight: number === undefined ? 1.1 : Number(number) };
    }
  }
  return undefined;
}

/** The selected words without the spaces around them, or the word at the cursor. */
function plain(text: string, start: number, end: number): Weighted | undefined {
  let [from, to] = [start, end];
  if (from === to) {
    // An escaped bracket belongs to its word.
    const isInWord = (at: number): boolean =>
      text[at] !== undefined && (wordCharacter.test(text[at]) || text[at - 1] === '\\');
    while (isInWord(from - 1)) from--;
    while (isInWord(to)) to++;
  } else {
    while (from < to && /\s/.test(text[from]!)) from++;
    while (to > from && /\s/.test(text[to - 1]!)) to--;
  }
  return from === to ? undefined : { from, to, words: text.slice(from, to), weight: 1 };
}

/** The <type:name:number…> around the selection. */
function tagAround(
  text: string,
  start: number,
  end: number,
): { readonly source: string; readonly from: number } | undefined {
  for (const match of text.matchAll(/<\w+:[^<>]+>/g)) {
    if (start > match.index && end < match.index + match[0].length) return { source: match[0], from: match.index };
  }
  return undefined;
}

/** The first number of the tag, which is 1 where there is none. */
function changeTag({ source, from }: { readonly source: string; readonly from: number }, step: number): TextChange {
  const [, head = '', number, tail = ''] = /^(<\w+:[^:>]+)(?::([+-]?(?:\d+\.?\d*|\.\d+)))?([^]*)$/.exec(source)!;
  const text = `${head}:${rounded(Number(number ?? 1) + step)}${tail}`;
  const cursor = from + head.length;
  return { from, to: from + source.length, text, selection: [cursor, cursor] };
}
