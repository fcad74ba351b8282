// A1111's own examples read as A1111 reads them, and what we write reads back the same.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatInfotext, parseInfotext, type GenerationParameters } from '../../src-main/formats/infotext.ts';

const full: GenerationParameters = {
  prompt: 'a (red:1.2) fox, <lora:ink:0.8>\nin the snow',
  negativePrompt: 'blurry, low quality',
  steps: 20,
  sampler: 'DPM++ 2M',
  scheduleType: 'Karras',
  cfgScale: 7,
  seed: 0,
  size: { width: 512, height: 768 },
  modelHash: '6ce0161689',
  model: 'v1-5-pruned-emaonly',
  denoisingStrength: 0.75,
  clipSkip: 2,
  rng: 'CPU',
  loraHashes: [
    { name: 'ink', hash: '0123456789ab' },
    { name: 'wash', hash: 'ba9876543210' },
  ],
  version: 'v1.10.1',
};

describe('formatInfotext', () => {
  it('writes the fields in the order of A1111 create_infotext, quoting those with commas or colons', () => {
    expect(formatInfotext(full)).toBe(
      [
        'a (red:1.2) fox, <lora:ink:0.8>',
        'in the snow',
        'Negative prompt: blurry, low quality',
        'Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 0, Size: 512x768, ' +
          'Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.75, Clip skip: 2, RNG: CPU, ' +
          'Lora hashes: "ink: 0123456789ab, wash: ba9876543210", Version: v1.10.1',
      ].join('\n'),
    );
  });

  it('leaves out an empty negative prompt and clip skip 1, as A1111 does', () => {
    const text = formatInfotext({ prompt: 'cat', negativePrompt: '', steps: 4, cfgScale: 1, seed: 5, clipSkip: 1 });
    expect(text).toBe('cat\nSteps: 4, CFG scale: 1, Seed: 5');
  });
});

describe('parseInfotext', () => {
  it('reads the example in A1111’s own documentation of the format', () => {
    const read = parseInfotext(
      "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed, intricate\n" +
        'Negative prompt: ugly, fat, (((deformed))), [blurry], mutated, (extra_limb)\n' +
        'Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b\n',
    );
    expect(read).toEqual({
      prompt: "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed, intricate",
      negativePrompt: 'ugly, fat, (((deformed))), [blurry], mutated, (extra_limb)',
      steps: 20,
      sampler: 'Euler a',
      cfgScale: 7,
      seed: 965400086,
      size: { width: 512, height: 512 },
      modelHash: '45dee52b',
      clipSkip: 1,
    });
  });

  it('reads 400 random texts as A1111’s own parser does', () => {
    const path = join(import.meta.dirname, '../golden/data/infotext/read-by-a1111.json');
    const cases = JSON.parse(readFileSync(path, 'utf8')) as { text: string; fields: Record<string, string> }[];
    for (const { text, fields } of cases) expect(asA1111(parseInfotext(text)), JSON.stringify(text)).toEqual(fields);
  });

  it('gives back everything that was written', () => {
    const unknown = {
      'Hires upscale': '2',
      'Hires upscaler': 'R-ESRGAN 4x+',
      'Hires prompt': 'a, b: "c"\nd',
      TI: ' x ',
    };
    expect(parseInfotext(formatInfotext({ ...full, extra: unknown }))).toEqual({ ...full, extra: unknown });
  });

  it('takes a last line with fewer than three fields as prompt', () => {
    expect(parseInfotext('a cat\nSteps: 20, Sampler: Euler')).toEqual({
      prompt: 'a cat\nSteps: 20, Sampler: Euler',
      negativePrompt: '',
      clipSkip: 1,
    });
  });

  it('keeps "Negative prompt:" inside a prompt line in the prompt', () => {
    const text = formatInfotext({ ...full, prompt: 'a sign that says Negative prompt: none', negativePrompt: 'text' });
    expect(parseInfotext(text)).toMatchObject({
      prompt: 'a sign that says Negative prompt: none',
      negativePrompt: 'text',
    });
  });

  it('takes the last of several fields with one label, and none without a value', () => {
    expect(parseInfotext('x\nSteps: 1, Seed: 2, Steps: 3, Seed: , Size: a, Size: 8x8')).toEqual({
      ...{ prompt: 'x', negativePrompt: '', clipSkip: 1 },
      ...{ steps: 3, seed: 2, size: { width: 8, height: 8 } },
    });
  });

  it('keeps a seed of 64 bits exactly', () => {
    const seed = 18446744073709551615n;
    expect(parseInfotext(formatInfotext({ ...full, seed })).seed).toBe(seed);
  });

  it('keeps fields of the wrong type as text, and labels such as __proto__ as fields', () => {
    const read = parseInfotext(
      'x\nSteps: many, Size: wide, Lora hashes: what, __proto__: 1, Seed: 1e400, CFG scale: NaN',
    );
    expect(read.steps).toBeUndefined();
    expect(Object.entries(read.extra ?? {})).toEqual([
      ['Steps', 'many'],
      ['Size', 'wide'],
      ['Lora hashes', 'what'],
      ['__proto__', '1'],
      ['Seed', '1e400'],
      ['CFG scale', 'NaN'],
    ]);
  });

  it('reads a megabyte without structure in linear time', () => {
    for (const piece of ['a', 'a ', 'a:"', 'ab:"x,', 'ab: \\"', 'a\n', '"', 'ab:,']) {
      const started = performance.now();
      parseInfotext(piece.repeat(2 ** 20 / piece.length));
      expect(performance.now() - started, JSON.stringify(piece)).toBeLessThan(3000);
    }
  });

  it('round-trips 2000 random prompts and fields', () => {
    const random = mulberry(7);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
    const pieces = [
      'fox',
      ' ',
      ', ',
      ': ',
      '\n',
      '"',
      '\\',
      '(a:1.2)',
      '日本',
      'é',
      '😀',
      'Steps: 20',
      'Negative prompt:',
      '=',
      'BREAK',
      '[a|b]',
    ];
    const text = (): string => Array.from({ length: Math.floor(random() * 12) }, () => pick(pieces)).join('');
    for (let round = 0; round < 2000; round += 1) {
      const written: GenerationParameters = {
        ...full,
        prompt: asStored(text()),
        negativePrompt: asStored(text()),
        model: text(),
        seed: Math.floor(random() * 2 ** 32),
        cfgScale: Math.round(random() * 300) / 10,
        extra: { 'Some note': text(), 'Hires/other-thing 2': text() },
      };
      expect(parseInfotext(formatInfotext(written)), JSON.stringify(written)).toEqual(written);
    }
  });
});

/** Our fields under A1111's labels, as text. */
function asA1111(read: GenerationParameters): Record<string, string> {
  const text: Record<string, string> = {};
  const fields: Record<string, string | number | bigint | undefined> = {
    Prompt: read.prompt,
    'Negative prompt': read.negativePrompt,
    Steps: read.steps,
    Sampler: read.sampler,
    'CFG scale': read.cfgScale,
    Seed: read.seed,
    'Size-1': read.size?.width,
    'Size-2': read.size?.height,
    'Model hash': read.modelHash,
    Model: read.model,
    VAE: read.vae,
    'Clip skip': read.clipSkip,
    Version: read.version,
  };
  for (const [label, value] of Object.entries(fields)) if (value !== undefined) text[label] = String(value);
  for (const [label, value] of Object.entries(read.extra ?? {})) {
    // A1111 cuts every value like 512x512 in two, we do so for Size alone.
    const size = /^(\d+)x(\d+)$/.exec(value);
    if (size === null) text[label] = value;
    else Object.assign(text, { [`${label}-1`]: size[1], [`${label}-2`]: size[2] });
  }
  return text;
}

/** What the format can hold: trimmed lines, none before the first word, none that starts with the marker. */
function asStored(prompt: string): string {
  return prompt
    .split('\n')
    .map((line) => line.trim().replace(/^(Negative prompt:\s*)+/, ''))
    .join('\n')
    .trim();
}

/** A small seeded generator (mulberry32), so that a failing round can be repeated. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
