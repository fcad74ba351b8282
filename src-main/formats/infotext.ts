// The text AUTOMATIC1111 web UI stores with a picture ("infotext"): prompt, negative prompt, one line of settings.
// Civitai, Forge, SD.Next and most galleries read it, so the exact shape matters: field order from processing.py
// create_infotext, quoting and reading from infotext_utils.py parse_generation_parameters.
// https://github.com/AUTOMATIC1111/stable-diffusion-webui

/** One LoRA named by A1111's "Lora hashes" field. */
export interface LoraHash {
  readonly name: string;
  /** First 12 hex digits of the hash A1111 shows. */
  readonly hash: string;
}

/** A picture's settings in A1111's vocabulary. A field that is absent was not written. */
export interface GenerationParameters {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly steps?: number;
  /** A1111's name, such as "DPM++ 2M" or "Euler a". */
  readonly sampler?: string;
  /** "Karras", "Exponential", "SGM Uniform", "Normal", "Simple", "Beta" or "Automatic". */
  readonly scheduleType?: string;
  readonly cfgScale?: number;
  /** A bigint only above 2^53 - 1, where a number would lose digits (ComfyUI draws 64-bit seeds). */
  readonly seed?: number | bigint;
  /** Pixels. */
  readonly size?: { readonly width: number; readonly height: number };
  /** First 10 hex digits of the checkpoint's SHA-256. */
  readonly modelHash?: string;
  readonly model?: string;
  readonly vaeHash?: string;
  readonly vae?: string;
  readonly variationSeed?: number | bigint;
  /** 0..1. */
  readonly variationSeedStrength?: number;
  /** Strength of img2img or the high-resolution pass, 0..1. */
  readonly denoisingStrength?: number;
  /** 1 uses the text encoder's last layer. A1111 leaves 1 out, so reading gives 1 where the field is missing. */
  readonly clipSkip?: number;
  /** Where noise was drawn: "CPU", "NV"; A1111 leaves its default, "GPU", out. */
  readonly rng?: string;
  readonly loraHashes?: readonly LoraHash[];
  readonly version?: string;
  /** Every other field, by its A1111 label, unquoted, in the order of the text. */
  readonly extra?: Readonly<Record<string, string>>;
}

/**
 * Writes `parameters` as A1111 does. The settings line always carries at least the fields given; A1111 recognises it as
 * such from three fields on, so give steps, sampler and seed or more. A prompt line that itself starts with
 * "Negative prompt:" is read back as the negative prompt: the format has no escape for it.
 */
export function formatInfotext(parameters: GenerationParameters): string {
  const fields = settingsOf(parameters).map(([label, value]) => `${label}: ${quote(value)}`);
  const negative = parameters.negativePrompt === '' ? '' : `\nNegative prompt: ${parameters.negativePrompt}`;
  return `${parameters.prompt}${negative}\n${fields.join(', ')}`.trim();
}

/** The settings line's fields in A1111's order; absent ones, and clip skip 1, are left out. */
function settingsOf(p: GenerationParameters): readonly (readonly [string, string])[] {
  const hashes = p.loraHashes?.map(({ name, hash }) => `${name}: ${hash}`).join(', ');
  const all: readonly (readonly [string, string | number | bigint | undefined])[] = [
    ['Steps', p.steps],
    ['Sampler', p.sampler],
    ['Schedule type', p.scheduleType],
    ['CFG scale', p.cfgScale],
    ['Seed', p.seed],
    ['Size', p.size && `${p.size.width}x${p.size.height}`],
    ['Model hash', p.modelHash],
    ['Model', p.model],
    ['VAE hash', p.vaeHash],
    ['VAE', p.vae],
    ['Variation seed', p.variationSeed],
    ['Variation seed strength', p.variationSeedStrength],
    ['Denoising strength', p.denoisingStrength],
    ['Clip skip', p.clipSkip === 1 ? undefined : p.clipSkip],
    ['RNG', p.rng],
    ...Object.entries(p.extra ?? {}),
    ['Lora hashes', hashes === '' ? undefined : hashes],
    ['Version', p.version],
  ];
  return all.flatMap(([label, value]) => (value === undefined ? [] : [[label, String(value)] as const]));
}

/** JSON-quoted where A1111 quotes, and also where its reader would otherwise lose quotes or spaces at the ends. */
function quote(value: string): string {
  const needed = /[,:\n]/.test(value) || value !== value.trim() || value.startsWith('"') || value === '';
  return needed ? JSON.stringify(value) : value;
}

/**
 * Reads an infotext. Never throws: text without a settings line (fewer than three fields, as A1111 decides) is all
 * prompt. Lines are trimmed, as A1111 trims them. A field whose value is not of its type is kept in `extra`.
 */
export function parseInfotext(text: string): GenerationParameters {
  const lines = text.trim().split('\n');
  const settings = readFields(lines.at(-1)!);
  const isSettings = settings.length >= 3;
  const { prompt, negativePrompt } = readPrompts(isSettings ? lines.slice(0, -1) : lines);
  return { prompt, negativePrompt, clipSkip: 1, ...typed(isSettings ? settings : []) };
}

function readPrompts(lines: readonly string[]): { readonly prompt: string; readonly negativePrompt: string } {
  const marker = 'Negative prompt:';
  const parts = { prompt: '', negativePrompt: '' };
  let part: keyof typeof parts = 'prompt';
  for (let line of lines.map((untrimmed) => untrimmed.trim())) {
    if (line.startsWith(marker)) {
      part = 'negativePrompt';
      line = line.slice(marker.length).trim();
    }
    parts[part] += (parts[part] === '' ? '' : '\n') + line;
  }
  return parts;
}

/**
 * All matches of A1111's `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`, scanned by hand: the expression is
 * quadratic on a long line without a colon, and this text comes from strangers.
 */
function readFields(line: string): readonly (readonly [string, string])[] {
  const label = /[\p{L}\p{N}_][\p{L}\p{N}_ \-/]*/uy;
  const quoted = /"(?:\\.|[^\\"])+"(?=,|$)/y;
  const fields: [string, string][] = [];
  let at = 0;
  while (at < line.length) {
    label.lastIndex = at;
    const key = label.exec(line)?.[0];
    if (key === undefined) {
      at += 1;
      continue;
    }
    at += key.length;
    if (key.length < 2 || line[at] !== ':') continue;
    at += 1;
    while (at < line.length && line[at]!.trim() === '') at += 1;
    quoted.lastIndex = at;
    const comma = line.indexOf(',', at);
    const value = quoted.exec(line)?.[0] ?? line.slice(at, comma === -1 ? line.length : comma);
    fields.push([key, value]);
    at += value.length + 1;
  }
  return fields;
}

function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return value;
  }
}

type Settings = { -readonly [K in keyof GenerationParameters]?: GenerationParameters[K] };

/** A reader per label: it stores the value and says true, or leaves it to `extra`. */
const readers: Readonly<Record<string, (value: string, into: Settings) => boolean>> = {
  Steps: number('steps'),
  Sampler: string('sampler'),
  'Schedule type': string('scheduleType'),
  'CFG scale': number('cfgScale'),
  Seed: seed('seed'),
  Size: (value, into) => {
    const match = /^(\d{1,9})x(\d{1,9})$/.exec(value);
    if (match !== null) into.size = { width: Number(match[1]), height: Number(match[2]) };
    return match !== null;
  },
  'Model hash': string('modelHash'),
  Model: string('model'),
  'VAE hash': string('vaeHash'),
  VAE: string('vae'),
  'Variation seed': seed('variationSeed'),
  'Variation seed strength': number('variationSeedStrength'),
  'Denoising strength': number('denoisingStrength'),
  'Clip skip': number('clipSkip'),
  RNG: string('rng'),
  'Lora hashes': (value, into) => {
    const loras = value.split(',').map((entry) => /^\s*(.*?)\s*:\s*([0-9a-fA-F]+)\s*$/.exec(entry));
    if (loras.includes(null)) return false;
    into.loraHashes = loras.map((match) => ({ name: match![1]!, hash: match![2]! }));
    return true;
  },
  Version: string('version'),
};

function typed(fields: readonly (readonly [string, string])[]): Settings {
  const settings: Settings = {};
  // No prototype: a label such as __proto__ is a field like any other.
  const extra = Object.create(null) as Record<string, string>;
  // As with A1111, the last of several fields with one label counts, and one without a value does not.
  for (const [label, raw] of new Map(fields.filter(([, value]) => value !== ''))) {
    const value = unquote(raw);
    if (!Object.hasOwn(readers, label) || !readers[label]!(value, settings)) extra[label] = value;
  }
  return Object.keys(extra).length === 0 ? settings : { ...settings, extra };
}

function string(key: 'sampler' | 'scheduleType' | 'modelHash' | 'model' | 'vaeHash' | 'vae' | 'rng' | 'version') {
  return (value: string, into: Settings): boolean => {
    into[key] = value;
    return true;
  };
}

function number(key: 'steps' | 'cfgScale' | 'variationSeedStrength' | 'denoisingStrength' | 'clipSkip') {
  return (value: string, into: Settings): boolean => {
    const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) && Number.isFinite(Number(value));
    if (isNumber) into[key] = Number(value);
    return isNumber;
  };
}

function seed(key: 'seed' | 'variationSeed') {
  return (value: string, into: Settings): boolean => {
    const read = parseSeed(value);
    if (read !== undefined) into[key] = read;
    return read !== undefined;
  };
}

/** A whole number of at most 20 digits; a bigint where a number would lose digits; undefined for anything else. */
export function parseSeed(text: string): number | bigint | undefined {
  if (!/^-?\d{1,20}$/.test(text)) return undefined;
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}
