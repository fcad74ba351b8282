// Lists of words on the disk, templates drawn from them, and tags on their way to rows of the stack.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FailureError } from '../../src-main/contract/failure.ts';
import { bundledWildcardFolder } from '../../src-main/host/bundled-files.ts';
import { readTags } from '../../src-main/host/prompt-desk.ts';
import { expandPrompt, findWildcards, type ExpandOptions } from '../../src-main/host/wildcard-files.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'atelier-wildcards-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const bundled = bundledWildcardFolder()!;
const options: ExpandOptions = { prompt: '', negativePrompt: '', mode: 'random', seed: 7, count: 1, limit: 100 };

describe('lists of words', () => {
  it('that came with the app are complete: each names only what is there, and gives a prompt', async () => {
    const names = [...(await findWildcards([bundled])).keys()];
    expect(names).toContain('subject');
    for (const name of names) {
      const { total, prompts } = await expandPrompt({ ...options, mode: 'all', prompt: `__${name}__`, limit: 1000 }, [
        bundled,
      ]);
      expect(total).toBe(prompts.length);
      expect(prompts.every(({ prompt }) => /^[a-z0-9 -]+$/.test(prompt))).toBe(true);
    }
  });

  it('of the artist stand instead of those of the app, and may lie in sub-folders', async () => {
    mkdirSync(join(root, 'mine'));
    writeFileSync(join(root, 'style.txt'), '# mine\nink style\n');
    writeFileSync(join(root, 'mine', 'tree.txt'), 'oak\n__style__ birch\n');
    const { prompts } = await expandPrompt({ ...options, mode: 'all', prompt: '__mine/tree__, __style__' }, [
      bundled,
      root,
    ]);
    expect(prompts.map(({ prompt }) => prompt)).toEqual(['oak, ink style', 'ink style birch, ink style']);
  });

  it('that are missing are said, with where they go', async () => {
    const missing = expandPrompt({ ...options, prompt: '__flower__' }, [bundled, root]);
    await expect(missing).rejects.toThrow(FailureError);
    await expect(missing).rejects.toThrow(`There is no list called flower. Put it as a .txt file into ${root}`);
    await expect(expandPrompt({ ...options, prompt: '__*/../style__' }, [root])).rejects.toThrow('no list called');
  });
});

describe('a template', () => {
  it('gives picture i of a batch what its own seed gives alone', async () => {
    const prompt = '__subject__, __style__';
    const many = await expandPrompt({ ...options, prompt, count: 4 }, [bundled]);
    expect(many.prompts.map(({ seed }) => seed)).toEqual([7, 8, 9, 10]);
    for (const one of many.prompts) {
      const alone = await expandPrompt({ ...options, prompt, seed: one.seed }, [bundled]);
      expect(alone.prompts).toEqual([one]);
    }
  });

  it('combines both prompts with one seed, up to a limit', async () => {
    const both = { ...options, mode: 'all' as const, prompt: '{a|b|c}', negativePrompt: '{x|y}' };
    const all = await expandPrompt(both, []);
    expect(all.total).toBe(6);
    expect(all.prompts.slice(0, 3)).toEqual([
      { prompt: 'a', negativePrompt: 'x', seed: 7 },
      { prompt: 'a', negativePrompt: 'y', seed: 7 },
      { prompt: 'b', negativePrompt: 'x', seed: 7 },
    ]);
    expect((await expandPrompt({ ...both, limit: 4 }, [])).prompts).toHaveLength(4);
    expect((await expandPrompt({ ...both, limit: 0 }, [])).prompts).toEqual([]);
  });
});

describe('tags of a prompt', () => {
  it.each<[string, string]>([
    ['a fox, <lora:ink:0.8>, night', 'a fox, night'],
    ['a fox <lora:ink:0.8> at night', 'a fox at night'],
    ['<lora:ink:0.8>, a fox', 'a fox'],
    ['a fox, <lora:ink:0.8>', 'a fox'],
    ['a fox<lora:ink:0.8>', 'a fox'],
    ['<lora:ink:0.8>', ''],
    ['a fox,\n<lora:ink:0.8>\nnight', 'a fox,\n\nnight'],
  ])('in %j leave %j', (prompt, rest) => {
    const read = readTags(prompt);
    expect(read.prompt).toBe(rest);
    expect(read.rows).toEqual([{ name: 'ink', weight: 0.8, textWeight: 0.8, source: '<lora:ink:0.8>' }]);
  });

  it('keep their weights over the steps and blocks', () => {
    const { rows } = readTags('<lora:a:0.3:1.2><lora:b:0.2@0.2,1@0.8:lbw=OUTALL>');
    expect(rows[0]).toMatchObject({ name: 'a', weight: 1.2, textWeight: 0.3 });
    expect(rows[1]).toMatchObject({ name: 'b', weight: 0.2, schedule: '0.2@0.2,1@0.8' });
    expect(rows[1]!.blocks).toMatch(/^1,0,/);
  });

  it('stay where they are part of an alternative, or cannot be read', () => {
    const prompt = 'a {fox <lora:ink:1>|dog} <lora:{a|b}:1> <lora:c:{0.5|1}> <hypernet:x:1> <lora:d:strong>';
    const read = readTags(prompt);
    expect(read.prompt).toBe(prompt);
    expect(read.rows).toEqual([]);
    expect(read.problems).toHaveLength(1);
    expect(read.problems[0]).toContain('<lora:d:strong> stays in the prompt');
  });
});
