// Prompts against A1111's own code (golden/text.py), its documented examples, and what must hold for any string.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAttention, type PromptPart } from '../../src-main/text/attention.ts';
import { extractTags } from '../../src-main/text/prompt-tags.ts';
import {
  applyEmphasis,
  padChunks,
  promptSchedule,
  promptWarnings,
  tokenChunks,
  tokenCount,
} from '../../src-main/text/prompt.ts';
import { clipTokenizer } from '../../src-main/text/tokenizer.ts';
import { textTolerance } from '../support/tolerances.ts';

const tokenizer = clipTokenizer();
const golden = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../golden/data/text/${name}.json`, import.meta.url), 'utf8'));

const schedule = (prompt: string): [number, string][] =>
  promptSchedule(prompt, 10).map(({ untilStep, text }) => [untilStep, text]);
const asA1111 = (part: PromptPart): [string, number] =>
  part.kind === 'break' ? ['BREAK', -1] : [part.text, part.weight];

/** Random strings of brackets and what is written between them, the same on every run. */
function bracketStrings(count: number): string[] {
  const pieces = [
    '(',
    ')',
    '[',
    ']',
    ':',
    '|',
    '\\',
    ':1.2)',
    ':3]',
    ':.5]',
    'a',
    'fox ',
    ',',
    '雪',
    '😀',
    '\n',
    ' BREAK ',
    '<lora:x:1>',
    '1.2.3)',
    '9e9',
  ];
  let state = 1;
  const next = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  return Array.from({ length: count }, () =>
    Array.from({ length: next(30) }, () => pieces[next(pieces.length)]!).join(''),
  );
}

describe('schedules', () => {
  const everyStep = (...texts: string[]): [number, string][] =>
    Array.from({ length: 10 }, (_, index) => [index + 1, texts[index % texts.length]!]);

  it.each<[string, [number, string][]]>([
    ['test', [[10, 'test']]],
    [
      'a [b:3]',
      [
        [3, 'a '],
        [10, 'a b'],
      ],
    ],
    [
      'a [b: 3]',
      [
        [3, 'a '],
        [10, 'a b'],
      ],
    ],
    [
      'a [[[b]]:2]',
      [
        [2, 'a '],
        [10, 'a [[b]]'],
      ],
    ],
    [
      '[(a:2):3]',
      [
        [3, ''],
        [10, '(a:2)'],
      ],
    ],
    [
      'a [b : c : 1] d',
      [
        [1, 'a b  d'],
        [10, 'a  c  d'],
      ],
    ],
    [
      'a[b:[c:d:2]:1]e',
      [
        [1, 'abe'],
        [2, 'ace'],
        [10, 'ade'],
      ],
    ],
    ['a [unbalanced', [[10, 'a [unbalanced']]],
    [
      'a [b:.5] c',
      [
        [5, 'a  c'],
        [10, 'a b c'],
      ],
    ],
    [
      '((a][:b:c [d:3]',
      [
        [3, '((a][:b:c '],
        [10, '((a][:b:c d'],
      ],
    ],
    ['[a|(b:1.1)]', everyStep('a', '(b:1.1)')],
    ['[fe|]male', everyStep('female', 'male')],
    ['[fe|||]male', everyStep('female', 'male', 'male', 'male')],
  ])('%j is what A1111 documents', (prompt, expected) => {
    expect(schedule(prompt)).toEqual(expected);
  });

  interface Row {
    readonly text: string;
    readonly parsed?: false;
    readonly schedule?: [number, string][];
  }

  it('500 well-formed prompts, nested three deep, change when they change in A1111', () => {
    const rows = golden('schedules') as Row[];
    expect(rows.map(({ text }) => schedule(text))).toEqual(rows.map((row) => row.schedule));
  });

  it('of broken prompts that A1111 can parse, nearly all are read alike', () => {
    // Its Earley parser is ambiguous here: next to stray closing brackets it sometimes reads a whole switch as stray, too.
    const rows = (golden('schedules-broken') as Row[]).filter((row) => row.parsed !== false);
    const alike = rows.filter((row) => JSON.stringify(schedule(row.text)) === JSON.stringify(row.schedule));
    expect(alike.length / rows.length).toBeGreaterThan(textTolerance.brokenSchedulesAlike);
  });

  it('a bar outside brackets is text, and switches beside it still work', () => {
    // A1111's grammar has no place for it and then schedules nothing at all.
    expect(schedule('a | b [c:d:3]')).toEqual([
      [3, 'a | b c'],
      [10, 'a | b d'],
    ]);
  });

  it.each([0, -1, 1.5, Number.NaN])('%d steps are refused', (steps) => {
    expect(() => promptSchedule('a', steps)).toThrow(RangeError);
  });

  it('any string of brackets has a schedule that ends at the last step, in rising order', () => {
    for (const text of bracketStrings(2000)) {
      const ends = promptSchedule(text, 7).map(({ untilStep }) => untilStep);
      expect(ends.at(-1), text).toBe(7);
      expect(ends, text).toEqual([...new Set(ends)].sort((a, b) => a - b));
    }
  });

  it('text without a switch or an alternation is left as it is', () => {
    for (const text of bracketStrings(2000).map((raw) => raw.replace(/[|:]/g, '')))
      expect(schedule(text)).toEqual([[10, text]]);
  });
});

describe('emphasis', () => {
  it.each<[string, [string, number][]]>([
    ['normal text', [['normal text', 1]]],
    [
      'an (important) word',
      [
        ['an ', 1],
        ['important', 1.1],
        [' word', 1],
      ],
    ],
    ['(unbalanced', [['unbalanced', 1.1]]],
    ['\\(literal\\]', [['(literal]', 1]]],
    ['(unnecessary)(parens)', [['unnecessaryparens', 1.1]]],
    [
      'a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).',
      [
        ['a ', 1],
        ['house', 1.5730000000000004],
        [' ', 1.1],
        ['on', 1],
        [' a ', 1.1],
        ['hill', 0.55],
        [', sun, ', 1.1],
        ['sky', 1.4641000000000006],
        ['.', 1.1],
      ],
    ],
    ['', [['', 1]]],
    [
      'a BREAK b',
      [
        ['a', 1],
        ['BREAK', -1],
        ['b', 1],
      ],
    ],
  ])('%j is weighted as A1111 documents', (prompt, expected) => {
    expect(parseAttention(prompt).map(asA1111)).toEqual(expected);
  });

  it('800 random strings of brackets are weighted to the last bit as in A1111, unless BREAK stands in brackets', () => {
    const rows = golden('attention') as { readonly text: string; readonly parts: [string, number][] }[];
    const comparable = rows.filter(({ parts }) =>
      parts.every(([text, weight]) => !text.startsWith('BREAK') || weight === -1),
    );
    expect(comparable.length).toBeGreaterThan(rows.length / 2);
    expect(comparable.map(({ text }) => parseAttention(text).map(asA1111))).toEqual(
      comparable.map(({ parts }) => parts),
    );
  });

  it('BREAK breaks inside brackets, too, and both sides keep their weight', () => {
    expect(parseAttention('(a BREAK b)').map(asA1111)).toEqual([
      ['a', 1.1],
      ['BREAK', -1],
      ['b', 1.1],
    ]);
  });

  it('a number that is none stays text', () => {
    expect(parseAttention('(x:1.2.3)').map(asA1111)).toEqual([['x:1.2.3', 1.1]]);
  });

  it('any string of brackets keeps its text, and its weights are positive and finite', () => {
    for (const text of bracketStrings(2000)) {
      const parts = parseAttention(text);
      const weights = parts.flatMap((part) => (part.kind === 'text' ? [part.weight] : []));
      expect(
        weights.every((weight) => weight > 0 && Number.isFinite(weight)),
        text,
      ).toBe(true);
      const bare = (value: string): string => value.replace(/[()[\]\\\s]|BREAK|:\s*[+-]?[.\d]+(?=\s*\))/g, '');
      expect(
        bare(parts.map((part) => (part.kind === 'text' ? part.text : '')).join('')).replace(/[:.\d]/g, ''),
        text,
      ).toBe(bare(text).replace(/[:.\d]/g, ''));
    }
  });

  it.each(['(', '[', '(a', '[a:', '[a|', '[a|b]', '(a:9)', '\\', ':', '<a:', ' '])(
    '100,000 times %j does not throw',
    (piece) => {
      const parts = parseAttention(piece.repeat(100_000));
      expect(parts.every((part) => part.kind === 'break' || Number.isFinite(part.weight))).toBe(true);
      expect(promptSchedule(piece.repeat(100_000), 1)).toHaveLength(1);
      expect(extractTags(piece.repeat(100_000)).tags).toEqual([]);
    },
  );

  it('states are weighted and scaled back to their mean as torch does', () => {
    const rows = golden('emphasis') as Record<'states' | 'weights' | 'expected', number[]>[];
    for (const { states, weights, expected } of rows) {
      const actual = applyEmphasis(Float32Array.from(states), weights, 77, 8);
      const largest = Math.max(...expected.map(Math.abs));
      const error = Math.max(...expected.map((value, index) => Math.abs(value - actual[index]!))) / largest;
      expect(error).toBeLessThan(textTolerance.emphasis);
    }
  });

  it('weights of 1 leave the states alone, other weights leave the input alone', () => {
    const states = Float32Array.of(1, 2, 3, 4);
    expect(applyEmphasis(states, [1, 1], 2, 2)).toBe(states);
    applyEmphasis(states, [1, 2], 2, 2);
    expect([...states]).toEqual([1, 2, 3, 4]);
  });

  it('weights that cancel to a mean of zero give finite states', () => {
    expect([...applyEmphasis(Float32Array.of(1, 1), [1, -1], 2, 1)]).toEqual([1, -1]);
  });

  it('a wrong number of weights is refused', () => {
    expect(() => applyEmphasis(new Float32Array(4), [1], 2, 2)).toThrow(/2, 2.*1 weights/);
  });
});

describe('chunks', () => {
  interface Row {
    readonly text: string;
    readonly count: number;
    readonly chunks: { readonly tokens: number[]; readonly weights: number[] }[];
  }
  const rows = golden('chunks') as Row[];

  it('40 prompts of 1 to 150 pieces are cut as in A1111', () => {
    expect(rows.some(({ chunks }) => chunks.length > 3)).toBe(true);
    for (const { text, chunks } of rows) expect(tokenChunks(text, tokenizer), text).toEqual(chunks);
  });

  it('their tokens are counted as in A1111', () => {
    for (const { text, count } of rows) {
      expect(tokenCount(text).tokens, text).toBe(count);
      expect(tokenCount(text).limit, text).toBe(Math.ceil(count / 75) * 75);
    }
  });

  it('a short prompt stands between two marks, then comes the end mark or what Stable Diffusion 2 fills with', () => {
    const cat = [320, 1125, 539, 320, 2368];
    const fill = (id: number): number[] => Array.from({ length: 70 }, () => id);
    expect(tokenChunks('a photo of a cat', tokenizer)[0]!.tokens).toEqual([49406, ...cat, 49407, ...fill(49407)]);
    expect(tokenChunks('a photo of a cat', tokenizer, { padToken: 0 })[0]!.tokens).toEqual([
      49406,
      ...cat,
      49407,
      ...fill(0),
    ]);
  });

  it('an empty prompt is one chunk of marks, and so are the chunks that make both branches match', () => {
    const [empty] = tokenChunks('', tokenizer);
    expect(empty!.tokens).toEqual([49406, ...Array.from({ length: 76 }, () => 49407)]);
    const chunks = tokenChunks('a', tokenizer);
    expect(padChunks(chunks, 3, tokenizer)).toEqual([...chunks, empty, empty]);
    expect(padChunks(chunks, 0, tokenizer)).toEqual(chunks);
  });

  it('no token of any string is lost', () => {
    for (const text of bracketStrings(300)) {
      const joined = parseAttention(text.repeat(9)).flatMap((part) =>
        part.kind === 'text' ? tokenizer.encode(part.text) : [],
      );
      const chunks = tokenChunks(text.repeat(9), tokenizer);
      expect(chunks.every(({ tokens, weights }) => tokens.length === 77 && weights.length === 77)).toBe(true);
      expect(
        chunks.flatMap(({ tokens }) => tokens).filter((id) => id < 49406),
        text,
      ).toEqual(joined);
    }
  });

  it('an empty prompt counts 0 of 75, a changing one its longest text, tags nothing', () => {
    expect(tokenCount('')).toEqual({ tokens: 0, limit: 75 });
    expect(tokenCount('[a:a photo of a cat:.5]')).toEqual({ tokens: 5, limit: 75 });
    expect(tokenCount('a photo of a cat<lora:ink:0.8>')).toEqual({ tokens: 5, limit: 75 });
  });
});

describe('tags and warnings', () => {
  it('tags leave the prompt in order, of unknown kinds, too', () => {
    expect(extractTags('a <lora:ink:0.8:1> fox<what:ever> <lora:ink:0.8:1>')).toEqual({
      prompt: 'a  fox ',
      tags: [
        { type: 'lora', values: ['ink', '0.8', '1'], source: '<lora:ink:0.8:1>' },
        { type: 'what', values: ['ever'], source: '<what:ever>' },
        { type: 'lora', values: ['ink', '0.8', '1'], source: '<lora:ink:0.8:1>' },
      ],
    });
  });

  it.each(['<b>bold</b>', 'a < b', '<lora:>', '<lora', '3 <: 4'])('%s holds no tag and stays', (prompt) => {
    expect(extractTags(prompt)).toEqual({ prompt, tags: [] });
  });

  it('AND is an ordinary word, and its use is warned of', () => {
    expect(promptWarnings('a AND b').map(({ kind }) => kind)).toEqual(['and-unsupported']);
    expect(promptWarnings('a and b, BRAND, ANDROID')).toEqual([]);
    expect(tokenChunks('a AND b', tokenizer)).toEqual(tokenChunks('a and b', tokenizer));
  });
});
