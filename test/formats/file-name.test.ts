// File names that every system accepts, from any prompt.
import { describe, expect, it } from 'vitest';
import { fileNameTokens, formatFileName, longestNameBytes, safeFileName } from '../../src-main/formats/file-name.ts';

const values = {
  seed: 0,
  steps: 20,
  cfg: 7.5,
  sampler: 'DPM++ 2M',
  model: 'sub/dream:v8',
  width: 512,
  height: 768,
  prompt: '(masterpiece:1.2), <lora:ink:0.8> a fox\nin the [deep|dark] snow, at night, 8k',
  date: new Date(2026, 0, 2, 3, 4, 5),
  batch: 1,
  index: 3,
};

describe('formatFileName', () => {
  it('fills in every token', () => {
    expect(formatFileName('[seed]-[prompt_words]-[date]', values)).toBe(
      '0-masterpiece-a-fox-in-the-deep-dark-snow-2026-01-02',
    );
    expect(formatFileName('[steps] [cfg] [sampler] [model] [width]x[height] [batch].[index] [datetime]', values)).toBe(
      '20 7.5 DPM++ 2M sub_dream_v8 512x768 1.3 2026-01-02_03-04-05',
    );
    expect(formatFileName('[prompt]', { ...values, prompt: 'a: b/c' })).toBe('a_ b_c');
  });

  it('names the unknown token and lists the known ones', () => {
    expect(() => formatFileName('[seed]-[wombat]', values)).toThrow(/\[wombat\].*\[seed\] \[steps\].*\[index\]/);
    expect(() => formatFileName('[constructor]', values)).toThrow(/\[constructor\]/);
    expect(fileNameTokens).toContain('[prompt_words]');
  });

  it('shortens the prompt, not what follows it', () => {
    const name = formatFileName('[seed]-[prompt]-[date]', { ...values, prompt: '長い説明'.repeat(100) });
    expect(name).toMatch(/^0-長い説明.*-2026-01-02$/);
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(longestNameBytes);
  });

  it('leaves no doubled separator for an empty prompt', () => {
    expect(formatFileName('[seed]-[prompt_words]-[date]', { ...values, prompt: '((()))' })).toBe('0-2026-01-02');
    expect(formatFileName('[prompt]', { ...values, prompt: '' })).toBe('picture');
  });

  it('cannot leave the folder', () => {
    for (const prompt of ['../../etc/passwd', '..\\..\\x', '/root', 'C:\\x', '..', '.', '~/x', 'a\0b']) {
      expect(formatFileName('[prompt]', { ...values, prompt })).not.toMatch(/[/\\:\0]|^\.*$/);
    }
  });
});

describe('safeFileName', () => {
  it.each([
    ['CON', '_CON'],
    ['nul.tar.gz', '_nul.tar.gz'],
    ['com1', '_com1'],
    ['LPT¹', '_LPT¹'],
    ['aux .x', '_aux .x'],
    ['console', 'console'],
    ['name. . .', 'name'],
    ['  .hidden', 'hidden'],
    ['-rf', 'rf'],
    ['a<b>c"d|e?f*g', 'a_b_c_d_e_f_g'],
    ['tab\there\u0007', 'tab here_'],
    ['photo\u202Egnp.exe', 'photognp.exe'],
    ['\ud800x', '_x'],
    ['e\u0301', '\u00e9'],
    ['', 'picture'],
    ['...', 'picture'],
  ])('%j becomes %j', (text, name) => {
    expect(safeFileName(text)).toBe(name);
  });

  it('cuts between whole characters', () => {
    const family = '👩‍👩‍👧‍👦'; // 25 bytes, one character to a reader
    expect(safeFileName(family.repeat(10), 60)).toBe(family.repeat(2));
  });

  it('stays short and fast on a megabyte', () => {
    expect(Buffer.byteLength(safeFileName('é'.repeat(2 ** 19)))).toBe(longestNameBytes);
    expect(Buffer.byteLength(safeFileName(`a${'\u0301'.repeat(2 ** 19)}`))).toBeLessThanOrEqual(longestNameBytes);
  });
});
