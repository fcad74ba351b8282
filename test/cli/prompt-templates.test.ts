// Alternatives on the command line: one by chance for each picture, reproducible by its seed, or all combinations.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseArguments } from '../../src-main/cli/arguments.ts';
import { generateCommand, generateRequestOf } from '../../src-main/cli/generate.ts';
import { requestsOf } from '../../src-main/cli/prompt-templates.ts';
import type { GenerateRequest } from '../../src-main/contract/generation.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-cli-lists-'));
writeFileSync(join(folder, 'pet.txt'), 'dog\ncat\n');
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function requests(...words: string[]): Promise<readonly GenerateRequest[]> {
  const args = parseArguments(words, generateCommand.flags);
  return requestsOf(generateRequestOf(args), args);
}

describe('generate --prompt', () => {
  it('with alternatives gives each picture of a batch its own words, which its seed gives again', async () => {
    const flags = ['--model', 'm', '--prompt', 'a {red|green|blue} __pet__', '--wildcards', folder];
    const drawn = await requests(...flags, '--seed', '3', '--batch', '4');
    expect(drawn.map(({ seed, batch }) => [seed, batch])).toEqual([3, 4, 5, 6].map((seed) => [seed, 1]));
    for (const { prompt, template } of drawn) {
      expect(prompt).toMatch(/^a (red|green|blue) (dog|cat)$/);
      expect(template).toEqual({ prompt: 'a {red|green|blue} __pet__', negativePrompt: '' });
    }
    expect((await requests(...flags, '--seed', '5'))[0]!.prompt).toBe(drawn[2]!.prompt);
  });

  it('with --combinations gives all of them, up to the number given', async () => {
    const flags = ['--model', 'm', '--prompt', '{red|green} __pet__', '--wildcards', folder, '--combinations'];
    const all = await requests(...flags, '100');
    expect(all.map(({ prompt }) => prompt)).toEqual(['red dog', 'red cat', 'green dog', 'green cat']);
    expect(new Set(all.map(({ seed }) => seed)).size).toBe(1);
    expect(await requests(...flags, '3')).toHaveLength(3);
    await expect(requests(...flags, '0')).rejects.toThrow('--combinations must be a whole number from 1');
  });

  it('without alternatives is one request, and a missing list is said', async () => {
    const [only, ...others] = await requests('--model', 'm', '--prompt', 'a dog', '--batch', '4');
    expect(only).toMatchObject({ prompt: 'a dog', batch: 4 });
    expect(only).not.toHaveProperty('template');
    expect(others).toEqual([]);
    await expect(requests('--model', 'm', '--prompt', '__nothing__')).rejects.toThrow('no list called nothing');
  });
});
