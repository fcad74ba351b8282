// Stable Diffusion's configs: the published constants, and the config.json files of a diffusers folder read into our types.
// A field that would change the computation in a way we do not build is refused by name and value, never ignored.
// Fields: diffusers UNet2DConditionModel, AutoencoderKL, schedulers; transformers CLIPTextConfig.
import { CheckpointError } from './checkpoint-error.ts';
import { Fields, mostLayers } from './config-fields.ts';
import type {
  AutoencoderConfig,
  ClipTextConfig,
  DownBlockType,
  SchedulerConfig,
  UNetConfig,
  UpBlockType,
} from './configs.ts';

/** CLIP ViT-L/14's text half, Stable Diffusion 1. */
export const sd1TextConfig: ClipTextConfig = {
  vocabSize: 49408,
  hiddenSize: 768,
  intermediateSize: 3072,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
  maxPositionEmbeddings: 77,
  hiddenAct: 'quick_gelu',
  layerNormEps: 1e-5,
};

/** OpenCLIP ViT-H/14's text half, Stable Diffusion 2: diffusers keeps the 23 layers that are used of its 24. */
export const sd2TextConfig: ClipTextConfig = {
  ...sd1TextConfig,
  hiddenSize: 1024,
  intermediateSize: 4096,
  numHiddenLayers: 23,
  numAttentionHeads: 16,
  hiddenAct: 'gelu',
};

/** UNet of Stable Diffusion 1. */
export const sd1UNetConfig: UNetConfig = {
  sampleSize: 64,
  inChannels: 4,
  outChannels: 4,
  downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
  blockOutChannels: [320, 640, 1280, 1280],
  layersPerBlock: 2,
  crossAttentionDim: 768,
  numAttentionHeads: [8, 8, 8, 8],
  useLinearProjection: false,
  normNumGroups: 32,
  normEps: 1e-5,
  flipSinToCos: true,
  freqShift: 0,
};

/** UNet of Stable Diffusion 2 at 768 pixels; the 512-pixel base differs in sampleSize alone. */
export const sd2UNetConfig: UNetConfig = {
  ...sd1UNetConfig,
  sampleSize: 96,
  crossAttentionDim: 1024,
  numAttentionHeads: [5, 10, 20, 20],
  useLinearProjection: true,
};

/** The autoencoder of both. */
export const sdAutoencoderConfig: AutoencoderConfig = {
  inChannels: 3,
  outChannels: 3,
  latentChannels: 4,
  blockOutChannels: [128, 256, 512, 512],
  layersPerBlock: 2,
  normNumGroups: 32,
  scalingFactor: 0.18215,
  sampleSize: 512,
};

/** The schedule both were trained with; Stable Diffusion 2 at 768 pixels predicts v. */
export const sdSchedulerConfig: SchedulerConfig = {
  numTrainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: 'scaled_linear',
  predictionType: 'epsilon',
  rescaleBetasZeroSnr: false,
};

/** The four configs of a Stable Diffusion model. */
export interface StableDiffusionConfigs {
  readonly text: ClipTextConfig;
  readonly unet: UNetConfig;
  readonly vae: AutoencoderConfig;
  readonly scheduler: SchedulerConfig;
}

/** stable-diffusion-v1-5. */
export const SD15: StableDiffusionConfigs = {
  text: sd1TextConfig,
  unet: sd1UNetConfig,
  vae: sdAutoencoderConfig,
  scheduler: sdSchedulerConfig,
};

/** stable-diffusion-2-1, 768 pixels. */
export const SD21: StableDiffusionConfigs = {
  text: sd2TextConfig,
  unet: sd2UNetConfig,
  vae: { ...sdAutoencoderConfig, sampleSize: 768 },
  scheduler: { ...sdSchedulerConfig, predictionType: 'v_prediction' },
};

/** Reads a text encoder's config.json. `file` is for messages. Throws CheckpointError. */
export function parseClipTextConfig(json: unknown, file: string): ClipTextConfig {
  const fields = new Fields(json, file);
  fields.only('model_type', ['clip_text_model'], 'A CLIP text encoder is expected.');
  const hiddenAct = fields.oneOf('hidden_act', ['quick_gelu', 'gelu'], 'quick_gelu');
  const config: ClipTextConfig = {
    vocabSize: fields.count('vocab_size', 49408),
    hiddenSize: fields.count('hidden_size', 512),
    intermediateSize: fields.count('intermediate_size', 2048),
    numHiddenLayers: fields.count('num_hidden_layers', 12, mostLayers),
    numAttentionHeads: fields.count('num_attention_heads', 8),
    maxPositionEmbeddings: fields.count('max_position_embeddings', 77),
    hiddenAct,
    layerNormEps: fields.number('layer_norm_eps', 1e-5),
  };
  fields.divides('hidden_size', config.hiddenSize, 'num_attention_heads', config.numAttentionHeads);
  return config;
}

/** Reads a UNet's config.json. Throws CheckpointError on what the graph cannot express. */
export function parseUNetConfig(json: unknown, file: string): UNetConfig {
  const fields = new Fields(json, file);
  fields.only('_class_name', ['UNet2DConditionModel'], 'A UNet of Stable Diffusion 1.x or 2.x is expected.');
  fields.only('time_cond_proj_dim', [null], 'It is distilled with guidance as an input (LCM), which is not supported.');
  fields.only('addition_embed_type', [null], 'That is Stable Diffusion XL or a relative, which is not supported.');
  for (const [name, allowed] of Object.entries(unetAllows)) fields.only(name, allowed);
  const blockOutChannels = fields.counts('block_out_channels', undefined, [320, 640, 1280, 1280]);
  const levels = blockOutChannels.length;
  const attends = (kind: 'Down' | 'Up', fallback: readonly string[]): readonly string[] =>
    fields.listOf(`${kind.toLowerCase()}_block_types`, [`CrossAttn${kind}Block2D`, `${kind}Block2D`], levels, fallback);
  // What configs call attention_head_dim is the number of heads (diffusers' issue 2011).
  const headField = fields.given('num_attention_heads') ? 'num_attention_heads' : 'attention_head_dim';
  const layersPerBlock = same(fields.counts('layers_per_block', levels, [2], mostLayers), 'layers_per_block', file);
  const crossAttentionDim = same(fields.counts('cross_attention_dim', levels, [1280]), 'cross_attention_dim', file);
  const config: UNetConfig = {
    sampleSize: fields.side('sample_size', 64),
    inChannels: fields.count('in_channels', 4),
    outChannels: fields.count('out_channels', 4),
    downBlockTypes: attends('Down', sd1UNetConfig.downBlockTypes) as readonly DownBlockType[],
    upBlockTypes: attends('Up', sd1UNetConfig.upBlockTypes) as readonly UpBlockType[],
    blockOutChannels,
    layersPerBlock,
    crossAttentionDim,
    numAttentionHeads: fields.counts(headField, levels, [8]),
    useLinearProjection: fields.flag('use_linear_projection', false),
    normNumGroups: fields.count('norm_num_groups', 32),
    normEps: fields.number('norm_eps', 1e-5),
    flipSinToCos: fields.flag('flip_sin_to_cos', true),
    freqShift: fields.number('freq_shift', 0),
  };
  const { inChannels } = config;
  if (inChannels !== 4) throw new CheckpointError(file, wrongChannels(inChannels));
  config.blockOutChannels.forEach((width, i) => {
    fields.divides('block_out_channels', width, headField, config.numAttentionHeads[i]!);
    fields.divides('block_out_channels', width, 'norm_num_groups', config.normNumGroups);
  });
  return config;
}

/** Why a UNet with `channels` latent inputs is refused. */
export function wrongChannels(channels: number): string {
  const known: Readonly<Record<number, string>> = {
    9: 'this is an inpainting model (9 input channels), which is not supported',
    8: 'this is an instruct-pix2pix model (8 input channels), which is not supported',
    5: 'this is a depth-to-image model (5 input channels), which is not supported',
    7: 'this is an upscaler (7 input channels), which is not supported',
  };
  const what = known[channels] ?? `its UNet takes ${channels} input channels, expected 4`;
  return `${what}. Choose a text-to-image checkpoint.`;
}

/** Reads an AutoencoderKL config.json. Throws CheckpointError. */
export function parseAutoencoderConfig(json: unknown, file: string): AutoencoderConfig {
  const fields = new Fields(json, file);
  fields.only('_class_name', ['AutoencoderKL'], 'A KL autoencoder is expected.');
  for (const [name, allowed] of Object.entries(autoencoderAllows)) fields.only(name, allowed);
  const latentChannels = fields.count('latent_channels', 4);
  if (latentChannels === 16) {
    throw new CheckpointError(file, `this VAE has 16 latent channels (SD 3 or Flux); Stable Diffusion 1 and 2 need 4.`);
  }
  const blockOutChannels = fields.counts('block_out_channels', undefined, [64]);
  const levels = blockOutChannels.length;
  fields.listOf('down_block_types', ['DownEncoderBlock2D'], levels, ['DownEncoderBlock2D']);
  fields.listOf('up_block_types', ['UpDecoderBlock2D'], levels, ['UpDecoderBlock2D']);
  const config: AutoencoderConfig = {
    inChannels: fields.count('in_channels', 3),
    outChannels: fields.count('out_channels', 3),
    latentChannels,
    blockOutChannels,
    layersPerBlock: fields.count('layers_per_block', 1, mostLayers),
    normNumGroups: fields.count('norm_num_groups', 32),
    scalingFactor: fields.number('scaling_factor', 0.18215),
    sampleSize: fields.side('sample_size', 512),
  };
  for (const width of blockOutChannels) {
    fields.divides('block_out_channels', width, 'norm_num_groups', config.normNumGroups);
  }
  return config;
}

/** Reads scheduler_config.json: the training schedule, not the sampler. Throws CheckpointError. */
export function parseSchedulerConfig(json: unknown, file: string): SchedulerConfig {
  const fields = new Fields(json, file);
  fields.only('trained_betas', [null]);
  if (fields.startsWith('_class_name', 'FlowMatch')) {
    throw new CheckpointError(
      file,
      `this scheduler belongs to SD3 or Flux; Stable Diffusion 1.x and 2.x are supported.`,
    );
  }
  return {
    numTrainTimesteps: fields.count('num_train_timesteps', 1000),
    betaStart: fields.number('beta_start', 0.0001),
    betaEnd: fields.number('beta_end', 0.02),
    betaSchedule: fields.oneOf('beta_schedule', ['linear', 'scaled_linear', 'squaredcos_cap_v2'], 'linear'),
    predictionType: fields.oneOf('prediction_type', ['epsilon', 'v_prediction'], 'epsilon'),
    rescaleBetasZeroSnr: fields.flag('rescale_betas_zero_snr', false),
  };
}

/** Values that mean "as Stable Diffusion 1 and 2 do it"; an absent field means the first. */
const unetAllows: Readonly<Record<string, readonly unknown[]>> = {
  class_embed_type: [null],
  num_class_embeds: [null],
  encoder_hid_dim: [null],
  encoder_hid_dim_type: [null],
  only_cross_attention: [false],
  dual_cross_attention: [false],
  mid_block_only_cross_attention: [null, false],
  mid_block_type: ['UNetMidBlock2DCrossAttn'],
  mid_block_scale_factor: [1],
  resnet_time_scale_shift: ['default'],
  resnet_skip_time_act: [false],
  resnet_out_scale_factor: [1],
  time_embedding_type: ['positional'],
  time_embedding_dim: [null],
  time_embedding_act_fn: [null],
  timestep_post_act: [null],
  transformer_layers_per_block: [1],
  reverse_transformer_layers_per_block: [null],
  cross_attention_norm: [null],
  attention_type: ['default'],
  act_fn: ['silu', 'swish'],
  center_input_sample: [false],
  conv_in_kernel: [3],
  conv_out_kernel: [3],
  downsample_padding: [1],
};

const autoencoderAllows: Readonly<Record<string, readonly unknown[]>> = {
  act_fn: ['silu', 'swish'],
  mid_block_add_attention: [true],
  use_quant_conv: [true],
  use_post_quant_conv: [true],
  shift_factor: [null, 0],
  latents_mean: [null],
  latents_std: [null],
};

function same(values: readonly number[], name: string, file: string): number {
  if (values.some((value) => value !== values[0])) {
    throw new CheckpointError(file, `"${name}" is ${values.join(', ')}; one value for all levels is supported.`);
  }
  return values[0]!;
}
