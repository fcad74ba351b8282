// The report card as a person reads it: escapes made visible, lists wrapped whole, unmatched names shown eight at a time.
import { describe, expect, it } from 'vitest';
import { adapterFacts, embeddingFacts, wrap } from '../../src-main/cli/report-card.ts';
import type { AdapterReport } from '../../src-main/contract/files.ts';

const card: AdapterReport = {
  algorithms: ['LoRA', 'LoCon'],
  ranks: [4, 16],
  alphas: [0.1 + 0.2, 8],
  modulesMatched: 3,
  modulesTotal: 15,
  unmatched: Array.from({ length: 12 }, (_, i) => `lora_unet_nowhere_${i}.lora_down.weight`),
  unmatchedTotal: 1212,
  textEncoder: false,
  truncatedModules: 0,
  refusedKinds: [],
  triggerWords: ['ohwx cat', 'ink'],
  triggerSource: "its author's trigger phrase",
  training: [
    ['epochs', '10'],
    ['learning rate', '0.0001'],
  ],
  sidecars: ['/loras/ink.png'],
  warnings: [],
};
const shown = (adapter: AdapterReport): Record<string, string | undefined> => Object.fromEntries(adapterFacts(adapter));

describe('facts of a LoRA', () => {
  it('ranges, layers, trigger words with their source, training in columns', () => {
    expect(shown(card)).toMatchObject({
      kinds: 'LoRA, LoCon',
      rank: '4 to 16',
      alpha: '0.3 to 8',
      layers: '3 of 15 fit, none in the text encoder',
      triggers: "ohwx cat, ink\n(its author's trigger phrase)",
      training: 'epochs         10\nlearning rate  0.0001',
      'beside it': 'ink.png',
    });
  });

  it('eight unmatched names, then how many more', () => {
    const lines = shown(card)['not used']!.split('\n');
    expect(lines).toHaveLength(9);
    expect(lines[8]).toBe('and 1,204 more; --json lists more');
  });

  it('trigger words of several words are not torn apart between lines', () => {
    const words = Array.from({ length: 24 }, (_, i) => `a long trigger ${i}`);
    const lines = shown({ ...card, triggerWords: words })
      ['triggers']!.split('\n')
      .slice(0, -1);
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) {
      expect(line.length).toBeLessThanOrEqual(100);
      for (const word of line.replace(/,$/, '').split(', ')) expect(words).toContain(word);
    }
  });

  it('a title of several lines cannot pass for another fact', () => {
    expect(shown({ ...card, title: 'Ink\nlicence    free' })['title']).toBe('Ink licence free');
  });

  it('what is not known is not shown', () => {
    const { title, author, picture } = shown(card);
    expect([title, author, picture]).toEqual([undefined, undefined, undefined]);
  });

  it('learned words with their vectors', () => {
    expect(embeddingFacts([{ token: '<s1>', vectors: 1, width: 768 }])).toEqual([['words', '<s1>  (1 vector of 768)']]);
  });
});

it('lines break at 100 signs; a longer word keeps a line for itself', () => {
  const long = 'x'.repeat(150);
  expect(wrap(`a ${long} b`)).toBe(`a\n${long}\nb`);
  expect(wrap('one\ntwo')).toBe('one\ntwo');
});
