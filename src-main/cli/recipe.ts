// `atelier recipe`: a mix as a file that travels: experts and gate by name and hash, weights, masks, mode.
import { resolve } from 'node:path';
import { checkParams } from '../contract/check.ts';
import { UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { expertFlags, expertNotes, mixFlagName, mixOf } from './expert-flags.ts';

export const recipeCommand: Command = {
  name: 'recipe',
  summary: 'Saves experts, weights, masks, mode and gate as a recipe that others can use with --recipe.',
  flags: {
    ...expertFlags,
    prompt: { type: 'string', help: 'its <lora:…> tags become experts too' },
    out: { type: 'string', value: 'FILE', help: 'the recipe file (default mix.mole.json)' },
  },
  notes: expertNotes,
  examples: [
    'atelier recipe --expert ink.safetensors:0.8 --expert fox.safetensors --mode normalised --out fox-in-ink.mole.json',
    'atelier generate --recipe fox-in-ink.mole.json --lora-dir ~/loras --prompt "a fox"',
  ],
  async run({ args, client, terminal, signal }) {
    const mix = mixOf(args);
    if (mix === undefined) throw new UsageError('A recipe needs experts: name them with --expert.');
    const request = { mix, prompt: args.text('prompt') ?? '', output: resolve(args.text('out') ?? 'mix.mole.json') };
    checkParams('saveRecipe', request, (field) =>
      field.startsWith('mix.') ? mixFlagName(field.slice(4)) : `--${field}`,
    );
    const result = await client.request('saveRecipe', request, { signal });
    terminal.result(result);
    terminal.print(result.path);
    return undefined;
  },
};
