// What an opened checkpoint is, whichever way it is stored, and the checks that both ways share. Nothing here holds a weight.
import type { TensorRef } from '../graph/ir.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import type {
  AutoencoderConfig,
  ClipTextConfig,
  PredictionType,
  SchedulerConfig,
  UNetConfig,
} from '../networks/configs.ts';
import {
  checkWeights,
  clipTextParameters,
  parameterCount,
  taesdDecoderParameters,
  unetParameters,
  vaeParameters,
  type ParameterShapes,
} from '../networks/parameter-shapes.ts';
import { wrongChannels } from '../networks/sd-configs.ts';
import type { WeightSource } from '../networks/weight-names.ts';

/** Latents to pictures and back: the KL autoencoder, or its small distilled stand-in. */
export type Vae =
  | {
      readonly kind: 'kl';
      /** Where its weights are, for messages. */
      readonly file: string;
      readonly config: AutoencoderConfig;
      readonly weights: WeightSource;
      /** False when the file holds the decoder alone. */
      readonly hasEncoder: boolean;
    }
  | { readonly kind: 'taesd'; readonly file: string; readonly weights: WeightSource; readonly hasEncoder: boolean };

/** A Stable Diffusion checkpoint: configs, and where each weight lies. */
export interface Checkpoint {
  /** Absolute path of the file or folder. */
  readonly path: string;
  /** File or folder name without its extension. */
  readonly name: string;
  readonly family: 'sd1' | 'sd2' | 'custom';
  readonly textEncoder: {
    readonly config: ClipTextConfig;
    readonly weights: WeightSource;
    /** Token that fills a prompt up to 77: the end token in SD 1, 0 in SD 2. */
    readonly padToken: number;
    /** Layers left out at the end: always 0, since config.numHiddenLayers counts the used ones (23 of SD 2's 24). */
    readonly skipLayers: number;
  };
  readonly unet: { readonly config: UNetConfig; readonly weights: WeightSource };
  readonly vae: Vae;
  readonly scheduler: SchedulerConfig;
  /** Tensor counts by element type, over all files. */
  readonly precision: Readonly<Record<string, number>>;
  /** The files' own texts: hostile until shown as text. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  /** All files that weights are read from, absolute. */
  readonly files: readonly string[];
  /** Bytes of each network's parameters as float32, for memory estimates. */
  readonly weightBytes: { readonly textEncoder: number; readonly unet: number; readonly vae: number };
}

/** What the caller knows better than the files. */
export interface CheckpointOptions {
  /** A VAE or TAESD file, or a diffusers `vae` folder, instead of the checkpoint's own. */
  readonly vae?: string;
  readonly prediction?: PredictionType;
  /** Whether the noise schedule ends at zero signal (Lin et al. 2023, https://arxiv.org/abs/2305.08891). */
  readonly zeroTerminalSnr?: boolean;
}

/** A VAE with the files it lies in and what there is to say about them. */
export type OpenedVae = Vae & { readonly files: readonly string[]; readonly warnings: readonly string[] };

/** What `checkNetworks` looks at. */
export interface Networks {
  readonly textEncoder: { readonly config: ClipTextConfig; readonly weights: WeightSource };
  readonly unet: { readonly config: UNetConfig; readonly weights: WeightSource };
  readonly vae: Vae;
}

/**
 * Checks that every parameter of every network is there in its shape, and that the networks fit each other. Returns the
 * float32 bytes of each. Throws CheckpointError that lists what is missing, network by network.
 */
export function checkNetworks(path: string, { textEncoder, unet, vae }: Networks): Checkpoint['weightBytes'] {
  const text = clipTextParameters(textEncoder.config);
  const net = unetParameters(unet.config);
  const problems = [
    ...problemsOf('text encoder', textEncoder.weights, text),
    ...problemsOf('UNet', unet.weights, net),
    ...vaeProblems(vae),
  ];
  if (problems.length > 0) {
    const message = `it is incomplete or damaged. ${problems.join(' ')} Download it again, or look for a complete version.`;
    throw new CheckpointError(path, message);
  }
  if (textEncoder.config.hiddenSize !== unet.config.crossAttentionDim) {
    const message = `its text encoder gives ${textEncoder.config.hiddenSize} numbers per token, its UNet reads ${unet.config.crossAttentionDim}. They do not belong together.`;
    throw new CheckpointError(path, message);
  }
  const latents = vae.kind === 'kl' ? vae.config.latentChannels : 4;
  if (unet.config.inChannels !== latents) throw new CheckpointError(path, wrongChannels(unet.config.inChannels));
  return {
    textEncoder: parameterCount(text) * 4,
    unet: parameterCount(net) * 4,
    vae: vae.kind === 'kl' ? vaeBytes(vae) : parameterCount(taesdDecoderParameters()) * 4,
  };
}

function vaeBytes(vae: Extract<Vae, { kind: 'kl' }>): number {
  const decoder = parameterCount(vaeParameters(vae.config, 'decoder'));
  return 4 * (decoder + (vae.hasEncoder ? parameterCount(vaeParameters(vae.config, 'encoder')) : 0));
}

/** What an autoencoder lacks, in sentences; empty when it is whole. */
export function vaeProblems(vae: Vae): string[] {
  if (vae.kind === 'taesd') return problemsOf('TAESD decoder', vae.weights, taesdDecoderParameters());
  return [
    ...problemsOf('VAE decoder', vae.weights, vaeParameters(vae.config, 'decoder')),
    ...(vae.hasEncoder ? problemsOf('VAE encoder', vae.weights, vaeParameters(vae.config, 'encoder')) : []),
  ];
}

/** What of `expected` a network lacks or has in another shape, in sentences; empty when it is whole. */
export function problemsOf(network: string, weights: WeightSource, expected: ParameterShapes): string[] {
  const { missing, misshapen } = checkWeights(weights, expected);
  const problems: string[] = [];
  const list = (names: readonly string[]): string =>
    names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
  if (missing.length > 0) {
    problems.push(`The ${network} lacks ${missing.length} of ${expected.size} tensors: ${list(missing)}.`);
  }
  if (misshapen.length > 0) {
    problems.push(`The ${network} has ${misshapen.length} tensors of another shape: ${list(misshapen)}.`);
  }
  return problems;
}

/** SD 1, SD 2, or something of another size that has their architecture. */
export function familyOf({ blockOutChannels, crossAttentionDim }: UNetConfig): Checkpoint['family'] {
  if (blockOutChannels.join() !== '320,640,1280,1280') return 'custom';
  return crossAttentionDim === 768 ? 'sd1' : crossAttentionDim === 1024 ? 'sd2' : 'custom';
}

/** Tensor counts by element type. */
export function precisionOf(refs: Iterable<TensorRef>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { dtype } of refs) counts[dtype] = (counts[dtype] ?? 0) + 1;
  return counts;
}
