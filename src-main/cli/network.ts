// `atelier network`: one network, raw tensors in and out, so that anyone can compare it with another implementation.
import { resolve } from 'node:path';
import { checkParams } from '../contract/check.ts';
import { networkNames, type NetworkName } from '../contract/channels.ts';
import { deviceChoices, type DeviceChoice } from '../contract/generation.ts';
import { nearest, UsageError, type ParsedArguments } from './arguments.ts';
import { bundledModel } from './bundled-model.ts';
import type { Command, CommandContext } from './command.ts';
import { expertFlags, expertNotes, mixFlagName, mixOf } from './expert-flags.ts';

export const networkCommand: Command = {
  name: 'network',
  positionals: 'NAME',
  summary: `Runs one network (${networkNames.join(', ')}) on tensors of a .safetensors file, or writes a seed's noise.`,
  flags: {
    model: {
      type: 'string',
      value: 'PATH',
      help: 'a .safetensors checkpoint or a diffusers folder (default: the bundled model)',
    },
    vae: { type: 'string', value: 'PATH', help: "a .safetensors autoencoder to use instead of the model's own" },
    in: { type: 'string', value: 'FILE', help: '.safetensors file with the inputs' },
    out: { type: 'string', value: 'FILE', help: '.safetensors file for the outputs' },
    'clip-skip': { type: 'string', value: 'N', help: 'for text-encoder, from 1 (default 1)' },
    ...expertFlags,
    'gates-out': { type: 'string', value: 'FILE', help: '.safetensors file for the values of the gates, for unet' },
    device: { type: 'string', value: 'NAME', help: `${deviceChoices.join(', ')} (default auto)` },
    'seed-noise': {
      type: 'string',
      value: 'SEED',
      help: 'write the starting noise of this seed instead of running a network',
    },
    shape: { type: 'string', value: 'N,N,..', help: 'of the noise, e.g. 1,4,64,64' },
  },
  notes: [
    'Inputs by network:',
    '  text-encoder   input_ids [1, 77] (int64)',
    '  unet           sample [1, C, H, W], timestep [1], encoder_hidden_states [1, T, D]',
    '  vae-encoder    sample [1, 3, H, W], -1 to 1',
    '  vae-decoder    latent [1, C, H, W]',
    '',
    ...expertNotes,
  ],
  examples: [
    'atelier network unet --model ~/models/v1-5.safetensors --in inputs.safetensors --out outputs.safetensors',
    'atelier network unet --in inputs.safetensors --out outputs.safetensors --expert a.safetensors --expert b.safetensors --gate ab.mole.safetensors --gates-out gates.safetensors',
    'atelier network text-encoder --in ids.safetensors --out states.safetensors --clip-skip 2',
    'atelier network --seed-noise 42 --shape 1,4,64,64 --out noise.safetensors',
  ],
  run: (context) => (context.args.text('seed-noise') === undefined ? runNetwork(context) : writeNoise(context)),
};

/** Fields of the request by the flag that sets them, for messages. */
function flagName(field: string): string {
  if (field.startsWith('mix.')) return mixFlagName(field.slice('mix.'.length));
  return { clipSkip: '--clip-skip', gatesOut: '--gates-out' }[field] ?? `--${field}`;
}

async function runNetwork({ args, client, terminal, signal }: CommandContext): Promise<undefined> {
  const mix = mixOf(args);
  const gatesOut = args.text('gates-out');
  const request = {
    network: nameOf(args),
    model: resolve(args.text('model') ?? bundledModel()),
    input: resolve(args.required('in')),
    output: resolve(args.required('out')),
    device: args.text('device') as DeviceChoice | undefined,
    clipSkip: args.number('clip-skip'),
    ...(args.text('vae') === undefined ? {} : { vae: resolve(args.required('vae')) }),
    ...(mix === undefined ? {} : { mix }),
    ...(gatesOut === undefined ? {} : { gatesOut: resolve(gatesOut) }),
  };
  checkParams('network', request, flagName);
  const result = await client.request('network', request, { signal });
  terminal.result({ ...result, output: request.output });
  const outputs = Object.entries(result.outputs).map(([name, shape]) => `${name} [${shape.join(', ')}]`);
  terminal.print(request.output);
  terminal.note(`${outputs.join(', ')} in ${(result.elapsedMs / 1000).toFixed(2)} s on ${result.device}.`);
  return undefined;
}

async function writeNoise({ args, client, terminal, signal }: CommandContext): Promise<undefined> {
  if (args.positionals.length > 0) throw new UsageError('--seed-noise runs no network: leave its name out.');
  const sizes = args.required('shape').split(',');
  if (!sizes.every((size) => /^\s*\d+\s*$/.test(size))) {
    throw new UsageError(
      `--shape must be whole numbers with commas, such as 1,4,64,64, not "${args.required('shape')}".`,
    );
  }
  const request = { seed: args.number('seed-noise')!, shape: sizes.map(Number), output: resolve(args.required('out')) };
  checkParams('noise', request, (field) => (field === 'seed' ? '--seed-noise' : `--${field.replace(/\..*/, '')}`));
  const result = await client.request('noise', request, { signal });
  terminal.result({ ...result, output: request.output });
  terminal.print(request.output);
  return undefined;
}

function nameOf({ positionals }: ParsedArguments): NetworkName {
  const [name, ...more] = positionals;
  if (name === undefined) throw new UsageError(`Name the network: ${networkNames.join(', ')}.`);
  if (more.length > 0) throw new UsageError(`One network at a time: "${more.join(' ')}" is too much.`);
  const found = networkNames.find((known) => known === name);
  if (found !== undefined) return found;
  const near = nearest(name, networkNames);
  throw new UsageError(
    `There is no network "${name}"; there are ${networkNames.join(', ')}.${near === undefined ? '' : ` Did you mean ${near}?`}`,
  );
}
