// Prompts that change while a picture is drawn, in AUTOMATIC1111's grammar: [from:to:when], [to:when], [from::when] and
// [a|b|c], nested as one likes. Brackets that are none of these stay in the text, where they mean emphasis or nothing.
// Facts: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#prompt-editing and its doctest examples.

/** A piece of a prompt; `when` is the number as written. */
export type ScheduleNode =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'switch';
      readonly before: readonly ScheduleNode[];
      readonly after: readonly ScheduleNode[];
      readonly when: string;
    }
  | { readonly kind: 'alternate'; readonly options: readonly (readonly ScheduleNode[])[] };

interface Parsed<T> {
  readonly value: T;
  /** Where parsing goes on. */
  readonly end: number;
}

/** Deeper nesting stays text: nobody writes it, and the stack must hold. */
const deepest = 100;

/** Parses a prompt into text, switches and alternations. Every string parses; brackets of another kind are text. */
export function parseSchedule(prompt: string): ScheduleNode[] {
  const brackets: Brackets = new Map();
  const nodes: ScheduleNode[] = [];
  let at = 0;
  while (at < prompt.length) {
    const { value, end } = parseRun(prompt, at, 0, brackets);
    for (const node of value) nodes.push(node);
    // What stopped the run has no partner: it is text.
    if (end < prompt.length) nodes.push({ kind: 'text', text: prompt[end]! });
    at = end + 1;
  }
  return nodes;
}

type Brackets = Map<number, Parsed<readonly ScheduleNode[]> | undefined>;

/** Text and whole brackets from `start` to the first character that is neither. */
function parseRun(prompt: string, start: number, depth: number, brackets: Brackets): Parsed<readonly ScheduleNode[]> {
  const nodes: ScheduleNode[] = [];
  const plain = /(?:[^\\[\]():|]|\\[^\n])+/y;
  let at = start;
  for (;;) {
    plain.lastIndex = at;
    const text = plain.exec(prompt)?.[0];
    if (text !== undefined) {
      nodes.push({ kind: 'text', text });
      at += text.length;
    }
    if (prompt[at] !== '(' && prompt[at] !== '[') return { value: nodes, end: at };
    // Every bracket is tried once, so that thousands of unclosed ones take linear time.
    if (!brackets.has(at)) {
      brackets.set(at, depth < deepest ? parseBracket(prompt, at, depth + 1, brackets) : undefined);
    }
    const bracket = brackets.get(at);
    if (bracket === undefined) return { value: nodes, end: at };
    for (const node of bracket.value) nodes.push(node);
    at = bracket.end;
  }
}

/** The bracket that opens at `start`, or undefined when it does not close or mixes separators. */
function parseBracket(
  prompt: string,
  start: number,
  depth: number,
  brackets: Brackets,
): Parsed<readonly ScheduleNode[]> | undefined {
  const isRound = prompt[start] === '(';
  const parts: (readonly ScheduleNode[])[] = [];
  let separator: string | undefined;
  let at = start + 1;
  for (;;) {
    if (!isRound && separator === ':' && parts.length <= 2) {
      const when = /:\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\]/y;
      when.lastIndex = at - 1;
      const match = when.exec(prompt);
      if (match !== null) {
        const [before, after] = parts.length === 2 ? [parts[0]!, parts[1]!] : [[], parts[0]!];
        return { value: [{ kind: 'switch', before, after, when: match[1]! }], end: when.lastIndex };
      }
    }
    const { value, end } = parseRun(prompt, at, depth, brackets);
    parts.push(value);
    const stop = prompt[end];
    if (stop === (isRound ? ')' : ']')) return closeBracket(parts, separator, isRound, end + 1);
    const mayGoOn = isRound ? stop === ':' && parts.length < 2 : stop === '|' || (stop === ':' && parts.length < 3);
    if (!mayGoOn || (separator !== undefined && separator !== stop)) return undefined;
    separator = stop;
    at = end + 1;
  }
}

/** A closed bracket without a step: alternation, or emphasis, whose brackets stay for parseAttention. */
function closeBracket(
  parts: readonly (readonly ScheduleNode[])[],
  separator: string | undefined,
  isRound: boolean,
  end: number,
): Parsed<readonly ScheduleNode[]> | undefined {
  if (separator === '|') return { value: [{ kind: 'alternate', options: parts }], end };
  if (!isRound && separator === ':') return undefined;
  const text = (value: string): ScheduleNode => ({ kind: 'text', text: value });
  const inner = parts.flatMap((part, index) => (index === 0 ? part : [text(':'), ...part]));
  return { value: [text(isRound ? '(' : '['), ...inner, text(isRound ? ')' : ']')], end };
}
