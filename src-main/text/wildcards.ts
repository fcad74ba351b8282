// Prompts that stand for many: {red|green} apple, {2::red|green}, {2$$red|green|blue}, __animal__, nested as one likes. A template is
// read once, then drawn from by a seed, counted, or written out in full. Lists come from the caller: nothing is read here.
// Facts: https://github.com/adieyal/sd-dynamic-prompts/blob/main/docs/SYNTAX.md (its variables are not read: they stay as they are)

/** Entries of each list by its name, such as `animal` or `nature/tree`. An entry may be a template with a weight. */
export type WildcardLists = ReadonlyMap<string, readonly string[]>;

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'list'; readonly name: string }
  | {
      readonly kind: 'choice';
      /** How many options are taken, bounds included. */
      readonly least: number;
      readonly most: number;
      readonly separator: string;
      readonly options: readonly Option[];
    };

interface Option {
  /** Relative to the other options, 0 or more. */
  readonly weight: number;
  readonly nodes: Template;
}

export type Template = readonly Node[];

/** A list contains itself, or the template asks for lists that are not there. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** Braces open at once; one more is text. */
const deepest = 50;
/** What is written out at once. */
const mostPrompts = 10_000;

const escape = /\\(?:[{}|]|__)/y;
const listName = /__(?!_)([\p{L}\p{N}_*][\p{L}\p{N}_*./ -]*?)__/uy;
const pickHead = /\s*(\d*)(-?)(\d*)\$\$(?:([^|{}$]*)\$\$)?/y;
const optionWeight = /\s*(\d+(?:\.\d+)?|\.\d+)::/y;

/**
 * Reads a template. `\{`, `\}`, `\|` and `\__` are the characters themselves; braces without their partner are text. Never
 * throws.
 */
export function parseTemplate(text: string): Template {
  return parseRange(text, 0, text.length, closingBraces(text), 0);
}

/** Entries of a list's file: a line each, without empty ones and those that begin with #. */
export function wildcardEntries(file: string): readonly string[] {
  return file
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** Whether the template stands for anything but itself. */
export const hasChoices = (template: Template): boolean => template.some(({ kind }) => kind !== 'text');

/** Names of lists in the template, as written: `tree` or `nature/*`. What those lists name in turn is not among them. */
export function listNames(template: Template): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (nodes: Template): void => {
    for (const node of nodes) {
      if (node.kind === 'list') names.add(node.name);
      if (node.kind === 'choice') for (const option of node.options) visit(option.nodes);
    }
  };
  visit(template);
  return names;
}

/** The names among `known` that `name` means: itself, or, where it has `*`, all that fit, in their order. */
export function matchingLists(name: string, known: Iterable<string>): readonly string[] {
  const parts = name.split('*').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  const pattern = new RegExp(`^${parts.join('.*')}$`, 'iu');
  return [...known].filter((other) => pattern.test(other)).sort();
}

/** How many prompts the template stands for; Infinity where they are too many to count. Throws TemplateError. */
export function countPrompts(template: Template, lists: WildcardLists): number {
  return countOf(template, new Reader(lists), []);
}

/**
 * The first `limit` prompts that the template stands for; the last choice changes first. Several options of one choice come in
 * every order. Weights do not count, unless they are 0. Throws TemplateError.
 */
export function allPrompts(template: Template, lists: WildcardLists, limit: number): readonly string[] {
  const prompts: string[] = [];
  const most = Math.min(limit, mostPrompts);
  for (const prompt of written(template, new Reader(lists), [])) {
    if (prompts.length >= most) break;
    prompts.push(prompt);
  }
  return prompts;
}

/** One of the prompts, by the next numbers of `random` (0..1, without 1). Throws TemplateError. */
export function randomPrompt(template: Template, lists: WildcardLists, random: () => number): string {
  return drawn(template, new Reader(lists), [], random);
}

/**
 * Numbers from 0 to below 1 that follow from `seed`, a whole number from 0: SplitMix64 (Steele, Lea and Flood 2014,
 * doi 10.1145/2660193.2660195). The same on every machine and in every version, because pictures record the seed alone.
 */
export function seededRandom(seed: number): () => number {
  let state = BigInt(seed);
  const mix = (value: bigint, shift: bigint, factor: bigint): bigint =>
    BigInt.asUintN(64, (value ^ (value >> shift)) * factor);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    const mixed = mix(mix(state, 30n, 0xbf58476d1ce4e5b9n), 27n, 0x94d049bb133111ebn);
    return Number((mixed ^ (mixed >> 31n)) >> 11n) / 2 ** 53;
  };
}

/** For each opening brace its closing one; those without a partner are left out. */
function closingBraces(text: string): ReadonlyMap<number, number> {
  const closing = new Map<number, number>();
  const open: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '{') open.push(at);
    else if (text[at] === '}' && open.length > 0) closing.set(open.pop()!, at);
  }
  return closing;
}

function parseRange(
  text: string,
  start: number,
  end: number,
  closing: ReadonlyMap<number, number>,
  depth: number,
): Template {
  const nodes: Node[] = [];
  let plain = '';
  const close = (): void => {
    if (plain !== '') nodes.push({ kind: 'text', text: plain });
    plain = '';
  };
  for (let at = start; at < end;) {
    const escaped = matchAt(escape, text, at, end);
    const list = matchAt(listName, text, at, end);
    const partner = text[at] === '{' && depth < deepest ? closing.get(at) : undefined;
    if (escaped !== undefined) {
      plain += escaped[0].slice(1);
      at += escaped[0].length;
    } else if (list !== undefined) {
      close();
      nodes.push({ kind: 'list', name: list[1]!.trim() });
      at += list[0].length;
    } else if (partner !== undefined && partner < end) {
      close();
      nodes.push(parseChoice(text, at + 1, partner, closing, depth + 1));
      at = partner + 1;
    } else {
      plain += text[at]!;
      at++;
    }
  }
  close();
  return nodes;
}

/** What lies between two braces. */
function parseChoice(
  text: string,
  start: number,
  end: number,
  closing: ReadonlyMap<number, number>,
  depth: number,
): Node {
  const head = matchAt(pickHead, text, start, end);
  const [whole = '', from = '', dash = '', to = '', separator = ', '] = head ?? [];
  const bounds = head !== undefined && from + dash + to !== '';
  const starts = [start + (bounds ? whole.length : 0)];
  for (let at = starts[0]!; at < end; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '{') at = Math.min(closing.get(at) ?? at, end);
    else if (text[at] === '|') starts.push(at + 1);
  }
  const options = starts.map((first, i): Option => {
    const last = i + 1 < starts.length ? starts[i + 1]! - 1 : end;
    const weight = matchAt(optionWeight, text, first, last);
    const nodes = parseRange(text, first + (weight?.[0].length ?? 0), last, closing, depth);
    return { weight: weight === undefined ? 1 : Number(weight[1]), nodes };
  });
  if (!bounds) return { kind: 'choice', least: 1, most: 1, separator, options };
  const only = dash === '';
  const least = from === '' ? 1 : Number(from);
  const most = only ? least : to === '' ? Infinity : Number(to);
  return { kind: 'choice', least: Math.min(least, most), most: Math.max(least, most), separator, options };
}

/** A match of a sticky expression that ends by `end`. */
function matchAt(expression: RegExp, text: string, at: number, end: number): RegExpExecArray | undefined {
  expression.lastIndex = at;
  const match = expression.exec(text);
  return match !== null && match.index + match[0].length <= end ? match : undefined;
}

/** Looks lists up, and reads the entries of each once. */
class Reader {
  /** Prompts that each list stands for, once counted. */
  readonly counts = new Map<string, number>();
  readonly #lists: WildcardLists;
  readonly #options = new Map<string, readonly Option[]>();

  constructor(lists: WildcardLists) {
    this.#lists = lists;
  }

  /** Entries of the lists that `name` means, for use inside of the lists `inside`. Throws TemplateError. */
  optionsOf(name: string, inside: readonly string[]): readonly Option[] {
    if (inside.includes(name)) {
      throw new TemplateError(`The list ${name} contains itself: ${[...inside, name].join(' > ')}. Change its file.`);
    }
    const known = this.#options.get(name);
    if (known !== undefined) return known;
    const names = matchingLists(name, this.#lists.keys());
    if (names.length === 0) throw new TemplateError(`There is no list called ${name}.`);
    const options = names
      .flatMap((found) => this.#lists.get(found) ?? [])
      .map((entry): Option => {
        const weight = matchAt(optionWeight, entry, 0, entry.length);
        const nodes = parseTemplate(entry.slice(weight?.[0].length ?? 0));
        return { weight: weight === undefined ? 1 : Number(weight[1]), nodes };
      });
    if (options.length === 0) throw new TemplateError(`The list ${name} is empty.`);
    this.#options.set(name, options);
    return options;
  }

  /**
   * What a choice takes from and how many: a list that stands alone among several picks gives its entries, so that none comes
   * twice.
   */
  choiceOf(node: Node & { readonly kind: 'choice' }, inside: readonly string[]): Choice {
    const { least, most } = node;
    const [only] = node.options.length === 1 ? node.options[0]!.nodes : [];
    const opened = most > 1 && node.options[0]!.nodes.length === 1 && only?.kind === 'list' ? only.name : undefined;
    const within = opened === undefined ? inside : [...inside, opened];
    const options = (opened === undefined ? node.options : this.optionsOf(opened, inside)).filter(
      ({ weight }) => weight > 0,
    );
    return { options, inside: within, least: Math.min(least, options.length), most: Math.min(most, options.length) };
  }
}

interface Choice {
  readonly options: readonly Option[];
  readonly inside: readonly string[];
  readonly least: number;
  readonly most: number;
}

function drawn(nodes: Template, reader: Reader, inside: readonly string[], random: () => number): string {
  return nodes
    .map((node) => {
      if (node.kind === 'text') return node.text;
      if (node.kind === 'list') {
        const [option] = takeSome(reader.optionsOf(node.name, inside), 1, random);
        return option === undefined ? '' : drawn(option.nodes, reader, [...inside, node.name], random);
      }
      const choice = reader.choiceOf(node, inside);
      const count = choice.least + Math.floor(random() * (choice.most - choice.least + 1));
      const texts = takeSome(choice.options, count, random).map((option) =>
        drawn(option.nodes, reader, choice.inside, random),
      );
      return joined(texts, node.separator);
    })
    .join('');
}

/** `count` options, none twice, by their weights. */
function takeSome(options: readonly Option[], count: number, random: () => number): readonly Option[] {
  const left = options.filter(({ weight }) => weight > 0);
  const taken: Option[] = [];
  while (taken.length < count && left.length > 0) {
    const total = left.reduce((sum, { weight }) => sum + weight, 0);
    let point = random() * total;
    const found = left.findIndex(({ weight }) => (point -= weight) < 0);
    taken.push(...left.splice(found === -1 ? left.length - 1 : found, 1));
  }
  return taken;
}

/** One text stays as it is; several lose the spaces that were for the eye. */
const joined = (texts: readonly string[], separator: string): string =>
  texts.length === 1 ? texts[0]! : texts.map((text) => text.trim()).join(separator);

function countOf(nodes: Template, reader: Reader, inside: readonly string[]): number {
  let product = 1;
  for (const node of nodes) {
    if (node.kind === 'list') {
      product *= countList(node.name, reader, inside);
    } else if (node.kind === 'choice') {
      const choice = reader.choiceOf(node, inside);
      const counts = choice.options.map((option) => countOf(option.nodes, reader, choice.inside));
      product *= countPicks(counts, choice.least, choice.most);
    }
  }
  return product;
}

function countList(name: string, reader: Reader, inside: readonly string[]): number {
  const known = reader.counts.get(name);
  if (known !== undefined) return known;
  const within = [...inside, name];
  const counts = reader
    .optionsOf(name, inside)
    .filter(({ weight }) => weight > 0)
    .map((option) => countOf(option.nodes, reader, within));
  const sum = counts.reduce((total, count) => total + count, 0);
  reader.counts.set(name, sum);
  return sum;
}

/** Ways to take `least` to `most` of options that have `counts` texts each, order counted. */
function countPicks(counts: readonly number[], least: number, most: number): number {
  // sums[k]: sum over all k options of the product of their counts.
  const sums = [1, ...Array.from({ length: most }, () => 0)];
  for (const count of counts) for (let k = most; k >= 1; k--) sums[k]! += sums[k - 1]! * count;
  let [total, orders] = [0, 1];
  for (let k = 0; k <= most; k++) {
    if (k > 0) orders *= k;
    if (k >= least) total += sums[k]! * orders;
  }
  return total;
}

function* written(nodes: Template, reader: Reader, inside: readonly string[]): Generator<string> {
  const [first, ...rest] = nodes;
  if (first === undefined) yield '';
  else
    for (const head of textsOf(first, reader, inside))
      for (const tail of written(rest, reader, inside)) yield head + tail;
}

function* textsOf(node: Node, reader: Reader, inside: readonly string[]): Generator<string> {
  if (node.kind === 'text') yield node.text;
  else if (node.kind === 'list') {
    for (const { weight, nodes } of reader.optionsOf(node.name, inside)) {
      if (weight > 0) yield* written(nodes, reader, [...inside, node.name]);
    }
  } else {
    const choice = reader.choiceOf(node, inside);
    for (let count = choice.least; count <= choice.most; count++) {
      for (const texts of picks(choice, count, reader)) yield joined(texts, node.separator);
    }
  }
}

/** `count` different options in every order, each with all its texts. */
function* picks({ options, inside }: Choice, count: number, reader: Reader): Generator<readonly string[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (const [i, option] of options.entries()) {
    const others = { options: options.filter((_, j) => j !== i), inside, least: 0, most: 0 };
    for (const text of written(option.nodes, reader, inside)) {
      for (const rest of picks(others, count - 1, reader)) yield [text, ...rest];
    }
  }
}
