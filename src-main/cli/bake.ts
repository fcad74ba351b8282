// `atelier bake`: a mix of experts as one plain LoRA that any tool loads.
import { resolve } from 'node:path';
import type { BakeResult, Methods } from '../contract/channels.ts';
import { checkParams } from '../contract/check.ts';
import { deviceChoices, type DeviceChoice } from '../contract/generation.ts';
import { UsageError, withoutUndefined, type ParsedArguments } from './arguments.ts';
import { bundledModel } from './bundled-model.ts';
import type { Command } from './command.ts';
import { expertFlags, expertNotes, mixFlagName, mixOf } from './expert-flags.ts';
import { visible } from './terminal.ts';
import { nameOf, outputOf, prepareFolder } from './training-flags.ts';

const flagOfField: Readonly<Record<string, string>> = {
  prompts: '--prompt',
  negativePrompt: '--negative',
  cfgScale: '--cfg',
  output: '--out',
};

function flagName(field: string): string {
  if (field.startsWith('mix.')) return mixFlagName(field.slice('mix.'.length));
  const first = field.split('.')[0]!;
  return flagOfField[first] ?? `--${first}`;
}

export const bakeCommand: Command = {
  name: 'bake',
  summary: 'Makes one plain LoRA of a mix of experts, and says what that leaves out.',
  flags: {
    ...expertFlags,
    prompt: {
      type: 'string',
      repeats: true,
      help: 'what is drawn to listen to the gates; best what the file is for; may be repeated',
    },
    rank: { type: 'string', value: 'N', help: 'ranks of a layer at most (default: all, nothing is cut)' },
    out: {
      type: 'string',
      value: 'FILE',
      help: 'the LoRA (default: the names of the experts and -baked.safetensors); never overwritten',
    },
    negative: { type: 'string', help: 'as in generate' },
    seed: { type: 'string', value: 'N', help: 'of the drawings (default 0)' },
    steps: { type: 'string', value: 'N', help: 'of the drawings (default 20)' },
    cfg: { type: 'string', value: 'X', help: 'guidance scale of the drawings (default 7)' },
    width: { type: 'string', value: 'PIXELS', help: "of the drawings (default: the model's own size)" },
    height: { type: 'string', value: 'PIXELS', help: 'likewise' },
    model: {
      type: 'string',
      value: 'PATH',
      help: 'a .safetensors checkpoint or a diffusers folder (default: the bundled model)',
    },
    vae: { type: 'string', value: 'PATH', help: "a .safetensors autoencoder to use instead of the model's own" },
    device: { type: 'string', value: 'NAME', help: `${deviceChoices.join(', ')} (default auto)` },
    threads: { type: 'string', value: 'N', help: 'of the processor (default: one per physical core)' },
  },
  notes: expertNotes,
  examples: [
    'atelier bake --expert ink.safetensors --expert cat.safetensors --gate ink-cat.mole.safetensors --prompt "a cat, ink drawing"',
    'atelier bake --expert ink.safetensors:0.8 --expert cat.safetensors:0.6 --prompt "a cat" --rank 32 --out both.safetensors',
    'atelier bake --recipe favourite.mole.json --lora-dir ~/loras --prompt "a cat" --prompt "a house"',
  ],
  stopping: 'Stopping after this step; nothing is written until all drawings are listened to.',
  async run({ args, client, terminal, signal }) {
    const request = bakeRequestOf(args);
    checkParams('bake', request, flagName);
    await prepareFolder(request.output);
    const result = await client.request('bake', request, {
      signal,
      onEvent: (event) => {
        terminal.event(event);
      },
    });
    terminal.print(result.path);
    summary(result).forEach((line) => {
      terminal.note(line);
    });
    terminal.result(result);
    return undefined;
  },
};

/** The request that the flags describe. Throws UsageError. */
export function bakeRequestOf(args: ParsedArguments): Methods['bake']['params'] {
  if (args.positionals.length > 0) {
    const words = args.positionals.join(' ');
    throw new UsageError(
      `"${words}" stands alone. A prompt of several words is written in quotes: --prompt "${words}".`,
    );
  }
  const prompts = args.texts('prompt');
  const mix = mixOf(args) ?? {};
  const files = [...(mix.experts ?? []).map(({ path }) => path), ...(mix.recipe === undefined ? [] : [mix.recipe])];
  if (files.length === 0 && !prompts.some((prompt) => prompt.includes('<lora:'))) {
    throw new UsageError('There is nothing to bake: give the experts with --expert, or a --recipe.');
  }
  if (prompts.length === 0) {
    throw new UsageError('--prompt is missing: what the experts should be heard with, best what the file is for.');
  }
  const vae = args.text('vae');
  return withoutUndefined({
    model: resolve(args.text('model') ?? bundledModel()),
    vae: vae === undefined ? undefined : resolve(vae),
    mix,
    prompts: [...prompts],
    negativePrompt: args.text('negative'),
    seed: args.number('seed'),
    steps: args.number('steps'),
    cfgScale: args.number('cfg'),
    width: args.number('width'),
    height: args.number('height'),
    rank: args.number('rank'),
    device: args.text('device')?.toLowerCase() as DeviceChoice | undefined,
    threads: args.number('threads'),
    output: outputOf(args, `${[nameOf(files), 'baked'].filter((part) => part !== '').join('-')}.safetensors`),
  });
}

/** What is in the file, and what is not. */
function summary({ layers, ranks, experts, coefficients, ...left }: BakeResult): readonly string[] {
  const rank = ranks[0] === ranks[1] ? `rank ${ranks[0]}` : `ranks ${ranks[0]} to ${ranks[1]}`;
  const parts = experts.map((name, i) => `${visible(name)} ${coefficients[i]!.toFixed(2)}`);
  return [
    `One LoRA of ${layers} layers, ${rank}, with ${parts.join(', ')} (mean strength).`,
    `What is left out: ${percent(left.gateResidual)} by constant gates, ${percent(left.rankResidual)} by the cut in rank; ` +
      `pictures differ by ${left.pictureDifference.toFixed(1)} of 255 on average.`,
  ];
}

/** 0.034 as "3 %", 0.004 as "0.4 %". */
function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.05) return 'less than 0.1 %';
  return `${value < 1 ? Number(value.toFixed(1)) : Math.round(value)} %`;
}
