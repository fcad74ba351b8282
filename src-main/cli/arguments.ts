// Command-line flags, strictly: an unknown flag is refused and the nearest known one named, so that a typing mistake is
// never a silently ignored wish.
import { parseArgs } from 'node:util';

/** A flag with a value, or a switch. */
export interface Flag {
  readonly type: 'string' | 'boolean';
  /** What the value is called in help, e.g. PATH. */
  readonly value?: string;
  /** May be given several times; otherwise the last one counts. */
  readonly repeats?: boolean;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** The command was written wrongly; the message says how to write it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export class ParsedArguments {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>, positionals: readonly string[]) {
    this.#values = values;
    this.positionals = positionals;
  }

  /** The value of --`name`, the last one of a flag that repeats; undefined when it was not given. */
  text(name: string): string | undefined {
    return this.texts(name).at(-1);
  }

  /** The values of a flag that repeats, in order. */
  texts(name: string): readonly string[] {
    const value = this.#values[name];
    if (Array.isArray(value)) return value as readonly string[];
    return typeof value === 'string' ? [value] : [];
  }

  /** The same, required. Throws UsageError. */
  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new UsageError(`--${name} is missing.`);
    return value;
  }

  /** The value of --`name` as a number. Throws UsageError when it is none. */
  number(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = Number(value);
    if (value.trim() === '' || Number.isNaN(number))
      throw new UsageError(`--${name} must be a number, not "${value}".`);
    return number;
  }

  isOn(name: string): boolean {
    return this.#values[name] === true;
  }
}

/** Parses `args` against `flags` (and --help). Throws UsageError. */
export function parseArguments(args: readonly string[], flags: Flags): ParsedArguments {
  const known: Flags = { ...flags, help: { type: 'boolean', help: '' } };
  const options = Object.fromEntries(
    Object.entries(known).map(([name, { type }]) => [name, { type, ...(name === 'help' ? { short: 'h' } : {}) }]),
  );
  const { tokens } = parseArgs({
    args: joinNegativeNumbers(args, known),
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (flag === undefined) throw unknownFlag(token.rawName, known);
    if (flag.type === 'boolean') {
      if (token.value !== undefined) throw new UsageError(`--${token.name} takes no value.`);
      values[token.name] = true;
    } else {
      if (token.value === undefined || (!token.inlineValue && isFlag(token.value, known))) {
        throw new UsageError(
          `--${token.name} needs a value (${flag.value ?? 'TEXT'}). One that begins with a dash is written --${token.name}=VALUE.`,
        );
      }
      const earlier = values[token.name];
      if (flag.repeats === true) values[token.name] = [...((earlier ?? []) as readonly string[]), token.value];
      else values[token.name] = token.value;
    }
  }
  return new ParsedArguments(values, positionals);
}

/** True for what looks like one of the known flags, so that `--model --prompt x` is a missing value, not a model. */
function isFlag(text: string, known: Flags): boolean {
  return text.startsWith('--') && Object.hasOwn(known, text.slice(2).split('=')[0]!);
}

/** `--seed -1` as `--seed=-1`: a value that is a negative number needs no other spelling. */
function joinNegativeNumbers(args: readonly string[], known: Flags): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const previous = joined.at(-1);
    const takesValue = previous?.startsWith('--') === true && known[previous.slice(2)]?.type === 'string';
    if (takesValue && /^-[\d.]/.test(arg)) joined[joined.length - 1] = `${previous}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function unknownFlag(rawName: string, known: Flags): UsageError {
  const near = nearest(rawName.replace(/^-+/, ''), Object.keys(known));
  return new UsageError(`${rawName} is not known here.${near === undefined ? '' : ` Did you mean --${near}?`}`);
}

/** The candidate that takes the fewest changes of a letter to reach, if at most a third of the letters change. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  if (best === undefined) return undefined;
  const begins = candidates.filter((candidate) => word.length > 1 && candidate.startsWith(word));
  if (best.distance <= Math.max(1, Math.floor(Math.max(word.length, best.candidate.length) / 3))) return best.candidate;
  return begins[0];
}

/** Levenshtein's distance, with a swap of neighbours as one change. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, rows[i - 2]![j - 2]! + 1);
      row.push(least);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** `object` without its undefined fields: the contract knows only absent ones. */
export function withoutUndefined<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}
