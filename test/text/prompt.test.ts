// A1111's prompt grammar: its own doctest examples, and what must hold for any string of brackets.
import { describe, expect, it } from 'vitest';
import { parseAttention } from '../../src-main/text/attention.ts';
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

const tokenizer = clipTokenizer();

describe('scheduled prompts', () => {
  const schedule = (prompt: string): [number, string][] =>
    promptSchedule(prompt, 10).map(({ untilStep, text }) => [untilStep, text]);
  const everyStep = (...texts: string[]): [number, string][] =>
    Array.from({ length: 10 }, (_, i) => [i + 1, texts[i % texts.length]!]);

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
  ])('%s is what A1111 documents', (prompt, expected) => {
    expect(schedule(prompt)).toEqual(expected);
  });
});

describe('emphasis', () => {
  it('a photo of a cat is five tokens between two marks, filled with the end mark or with 0', () => {
    const [chunk] = tokenChunks('a photo of a cat', tokenizer);
    expect(chunk!.tokens).toEqual([49406, 320, 1125, 539, 320, 2368, ...Array.from({ length: 71 }, () => 49407)]);
    const [second] = tokenChunks('a photo of a cat', tokenizer, { padToken: 0 });
    expect(second!.tokens).toEqual([49406, 320, 1125, 539, 320, 2368, 49407, ...Array.from({ length: 70 }, () => 0)]);
  });

  it('nested weights multiply', () => {
    const parts = parseAttention('a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).');
    expect(
      parts.map((part) => (part.kind === 'text' ? [part.text, Number(part.weight.toFixed(9))] : part.kind)),
    ).toEqual([
      ['a ', 1],
      ['house', 1.573],
      [' ', 1.1],
      ['on', 1],
      [' a ', 1.1],
      ['hill', 0.55],
      [', sun, ', 1.1],
      ['sky', 1.4641],
      ['.', 1.1],
    ]);
  });
});

describe('surroundings', () => {
  it('tags come out, counts and warnings are there', () => {
    expect(extractTags('a <lora:x:0.8> b').tags).toEqual([
      { type: 'lora', values: ['x', '0.8'], source: '<lora:x:0.8>' },
    ]);
    expect(tokenCount('a photo of a cat <lora:x:1>')).toEqual({ tokens: 5, limit: 75 });
    expect(promptWarnings('a AND b')).toHaveLength(1);
    expect(padChunks([], 2, tokenizer)).toHaveLength(2);
    expect([...applyEmphasis(Float32Array.of(1, 2, 3, 4), [1, 1], 2, 2)]).toEqual([1, 2, 3, 4]);
  });
});
