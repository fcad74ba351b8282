// File names from a pattern such as `[seed]-[prompt_words]-[date]`, safe on Windows, macOS and Linux.
// Prompts and model names are strangers' text: what a file system, a shell or a screen could misread is taken out.
// Windows' rules: https://learn.microsoft.com/windows/win32/fileio/naming-a-file

/** What a pattern can name. */
export interface FileNameValues {
  readonly seed: number | bigint;
  readonly steps: number;
  readonly cfg: number;
  readonly sampler: string;
  readonly model: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly prompt: string;
  /** When the picture was made; written in local time. */
  readonly date: Date;
  /** Which batch of the run, from 1. */
  readonly batch: number;
  /** Which picture of the batch, from 1. */
  readonly index: number;
}

/** A pattern names something that does not exist. */
export class FileNamePatternError extends Error {
  override readonly name = 'FileNamePatternError';
}

/** Longest name in UTF-8 bytes, extension not counted: room for it, a number and a long folder. */
export const longestNameBytes = 120;

const two = (value: number): string => String(value).padStart(2, '0');
const day = (date: Date): string => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const time = (date: Date): string => `${two(date.getHours())}-${two(date.getMinutes())}-${two(date.getSeconds())}`;

const tokens: Readonly<Record<string, (values: FileNameValues) => string>> = {
  seed: ({ seed }) => String(seed),
  steps: ({ steps }) => String(steps),
  cfg: ({ cfg }) => String(cfg),
  sampler: ({ sampler }) => sampler,
  model: ({ model }) => model,
  width: ({ width }) => String(width),
  height: ({ height }) => String(height),
  date: ({ date }) => day(date),
  datetime: ({ date }) => `${day(date)}_${time(date)}`,
  prompt: ({ prompt }) => prompt,
  prompt_words: ({ prompt }) => promptWords(prompt).join('-'),
  batch: ({ batch }) => String(batch),
  index: ({ index }) => String(index),
};

/** The tokens a pattern may hold, as written: `[seed]`, `[steps]`… */
export const fileNameTokens: readonly string[] = Object.keys(tokens).map((token) => `[${token}]`);

/** Tokens whose text gives way first when a name is too long, so that what follows them survives. */
const longTexts: readonly string[] = ['prompt', 'prompt_words', 'model'];

/**
 * The file name (without extension) that `pattern` gives for `values`: never empty, at most `longestNameBytes` bytes.
 * Throws FileNamePatternError for an unknown `[token]`, listing the known ones.
 */
export function formatFileName(pattern: string, values: FileNameValues): string {
  const parts = pattern.split(/(\[[^[\]]*\])/).map((part) => {
    if (!/^\[.*\]$/s.test(part)) return { text: clean(part), shrinks: false };
    const token = part.slice(1, -1);
    if (!Object.hasOwn(tokens, token)) {
      throw new FileNamePatternError(
        `The file-name pattern "${pattern}" holds ${part}, which is not known. Known: ${fileNameTokens.join(' ')}.`,
      );
    }
    return { text: clean(tokens[token]!(values)).trim(), shrinks: longTexts.includes(token) };
  });
  const fixedBytes = Buffer.byteLength(parts.map(({ text, shrinks }) => (shrinks ? '' : text)).join(''));
  const shrinking = parts.filter(({ shrinks }) => shrinks).length;
  const share = Math.max(0, Math.floor((longestNameBytes - fixedBytes) / Math.max(1, shrinking)));
  let name = '';
  for (const { text, shrinks } of parts) {
    const piece = shrinks ? shorten(text, share).trim() : text;
    // A token without text takes the separator before it along: no `7--2026-01-02` for an empty prompt.
    name = shrinks && piece === '' ? name.replace(/[-_ ]+$/, '') : name + piece;
  }
  return safeFileName(name);
}

/** The first eight words of a prompt, without emphasis, weights and `<lora:…>` tags. */
function promptWords(prompt: string): readonly string[] {
  const plain = prompt.replace(/<[^<>]*>/g, ' ').replace(/:[\d.]+(?=[)\]])/g, ' ');
  return (plain.match(/[\p{L}\p{N}][\p{L}\p{M}\p{N}'’]*/gu) ?? []).slice(0, 8);
}

/**
 * `text` as a file name that every system accepts: reserved and control characters become `_`, invisible direction
 * marks go, Windows' device names (CON, NUL, COM1…) get a leading `_`, dots and spaces at the ends go, and it is cut at
 * `mostBytes` UTF-8 bytes between whole characters. What leaves nothing becomes "picture".
 */
export function safeFileName(text: string, mostBytes = longestNameBytes): string {
  const trimmed = shorten(clean(text).replace(/^[\s.-]+/, ''), mostBytes).replace(/[\s.]+$/, '');
  const isDevice = /^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]|conin\$|conout\$)\s*(\.|$)/i.test(trimmed);
  if (isDevice) return `_${shorten(trimmed, mostBytes - 1)}`;
  return trimmed === '' ? 'picture' : trimmed;
}

function clean(text: string): string {
  return text
    .normalize('NFC')
    .replace(/[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '')
    .replace(/\s+/g, ' ')
    .replace(/[\p{Cc}\p{Cs}/\\:*?"<>|]/gu, '_');
}

const characters = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** The longest start of `text` within `mostBytes` UTF-8 bytes that ends between two characters as a reader sees them. */
function shorten(text: string, mostBytes: number): string {
  let [bytes, end] = [0, 0];
  // A character is at least one byte, so nothing past this index can fit.
  for (const { segment } of characters.segment(text.slice(0, mostBytes + 64))) {
    bytes += Buffer.byteLength(segment);
    if (bytes > mostBytes) break;
    end += segment.length;
  }
  return text.slice(0, end);
}
