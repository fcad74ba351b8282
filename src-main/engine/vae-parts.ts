// The autoencoder in a file of tensors, whatever its naming: LDM's, diffusers', or TAESD's small one.
// Shapes decide the config; the file has no other.
import type { TensorRef } from '../graph/ir.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import type { AutoencoderConfig } from '../networks/configs.ts';
import { SD15 } from '../networks/sd-configs.ts';
import { diffusersVaeNaming, ldmVaeNaming, taesdNaming, weightSource } from '../networks/weight-names.ts';
import { type Vae } from './checkpoint-parts.ts';

type Tensors = ReadonlyMap<string, TensorRef>;

/** Prefixes that a VAE's tensors stand behind. */
const prefixes = ['first_stage_model.', '', 'vae.'];

/** Whether `tensors` hold a KL autoencoder's decoder, and how its names are spelt. */
export function findVae(
  tensors: Tensors,
): { readonly prefix: string; readonly naming: 'LDM' | 'diffusers' } | undefined {
  for (const prefix of prefixes) {
    if (!tensors.has(`${prefix}decoder.conv_in.weight`)) continue;
    const ldm =
      tensors.has(`${prefix}decoder.mid.block_1.conv1.weight`) ||
      tensors.has(`${prefix}decoder.up.0.block.0.conv1.weight`);
    return { prefix, naming: ldm ? 'LDM' : 'diffusers' };
  }
  return undefined;
}

/** The KL autoencoder in `tensors`, undefined when there is none. Throws CheckpointError when it is another model's. */
export function klVae(tensors: Tensors, file: string): Extract<Vae, { kind: 'kl' }> | undefined {
  const found = findVae(tensors);
  if (found === undefined) return undefined;
  const { prefix, naming } = found;
  const size = (key: string, axis: number): number => tensors.get(prefix + key)?.shape[axis] ?? 0;
  const count = (pattern: (index: number) => string): number => {
    let index = 0;
    while (index < 16 && tensors.has(prefix + pattern(index))) index += 1;
    return index;
  };
  const block = (level: number, levels: number, j: number): string =>
    naming === 'LDM'
      ? `decoder.up.${level}.block.${j}.conv1.weight`
      : `decoder.up_blocks.${levels - 1 - level}.resnets.${j}.conv1.weight`;
  const levels = count((level) =>
    naming === 'LDM' ? `decoder.up.${level}.block.0.conv1.weight` : `decoder.up_blocks.${level}.resnets.0.conv1.weight`,
  );
  const latentChannels = size('decoder.conv_in.weight', 1);
  if (latentChannels !== 4) {
    const whose = latentChannels === 16 ? ', as SD3 and Flux have' : '';
    throw new CheckpointError(
      file,
      `its VAE has ${latentChannels} latent channels${whose}. Stable Diffusion 1.x and 2.x have 4.`,
    );
  }
  const config: AutoencoderConfig = {
    ...SD15.vae,
    outChannels: size('decoder.conv_out.weight', 0),
    blockOutChannels: Array.from({ length: levels }, (_, level) => size(block(level, levels, 0), 0)),
    layersPerBlock: count((j) => block(0, levels, j)) - 1,
  };
  const { blockOutChannels } = config;
  if (levels === 0 || config.layersPerBlock < 1 || blockOutChannels.some((width) => width < 1 || width % 32 !== 0)) {
    throw new CheckpointError(
      file,
      `its VAE is damaged or of an unknown kind (block widths ${blockOutChannels.join(', ')}).`,
    );
  }
  const names = naming === 'LDM' ? ldmVaeNaming(config, prefix) : diffusersVaeNaming(prefix);
  return {
    kind: 'kl',
    file,
    config,
    weights: weightSource('VAE', file, tensors, names),
    hasEncoder: tensors.has(`${prefix}encoder.conv_in.weight`),
  };
}

/** Whether `tensors` hold TAESD's decoder or encoder. */
export function findTaesd(tensors: Tensors): { readonly decoder: boolean; readonly encoder: boolean } {
  const decoder = weightSource('TAESD decoder', '', tensors, taesdNaming('decoder'));
  const encoder = weightSource('TAESD encoder', '', tensors, taesdNaming('encoder'));
  return {
    decoder: decoder.has('1.weight') && decoder.has('3.conv.0.weight'),
    // Bare names do not tell the networks apart; the encoder starts with a convolution of the picture's 3 channels.
    encoder: encoder.has('1.conv.0.weight') && encoder.has('0.weight') && encoder.ref('0.weight').shape[1] === 3,
  };
}

/** TAESD's decoder in `tensors`. Throws CheckpointError when it is incomplete, the encoder alone, or for other latents. */
export function taesdVae(tensors: Tensors, file: string): Extract<Vae, { kind: 'taesd' }> {
  const weights = weightSource('TAESD decoder', file, tensors, taesdNaming('decoder'));
  const found = findTaesd(tensors);
  if (!found.decoder) {
    throw new CheckpointError(
      file,
      `it holds no TAESD decoder${found.encoder ? ', only its encoder' : ''}. Choose taesd_decoder.safetensors.`,
    );
  }
  const channels = weights.ref('1.weight').shape[1];
  if (channels !== 4) {
    throw new CheckpointError(
      file,
      `this tiny decoder reads ${channels ?? 0} latent channels. Stable Diffusion 1.x and 2.x have 4: choose TAESD.`,
    );
  }
  return { kind: 'taesd', file, weights, hasEncoder: found.encoder };
}
