// The numbers that decide each network's graph, under the names of their Hugging Face config.json fields (camelCase).
// Only numbers live here: no checkpoint key, no file name, no code.

/** CLIP text transformer (transformers `CLIPTextConfig`). */
export interface ClipTextConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  /** T, the number of token positions: 77. */
  readonly maxPositionEmbeddings: number;
  readonly hiddenAct: 'quick_gelu' | 'gelu';
  readonly layerNormEps: number;
}

/** CLIP image transformer (transformers `CLIPVisionConfig`). */
export interface ClipVisionConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  /** S, pixels of each side. */
  readonly imageSize: number;
  /** Pixels of each side of a patch; divides imageSize. */
  readonly patchSize: number;
  readonly hiddenAct: 'quick_gelu' | 'gelu';
  readonly layerNormEps: number;
}

/** Both halves of CLIP and what joins them (transformers `CLIPConfig`). */
export interface ClipConfig {
  readonly text: ClipTextConfig;
  /** Token at which the text is read; 2 stands for the largest id, as in configs from before transformers 4.31. */
  readonly eosTokenId: number;
  readonly vision: ClipVisionConfig;
  /** P, numbers of an embedding. */
  readonly projectionDim: number;
}

export type DownBlockType = 'CrossAttnDownBlock2D' | 'DownBlock2D';
export type UpBlockType = 'CrossAttnUpBlock2D' | 'UpBlock2D';

/** Conditional UNet of Stable Diffusion 1.x and 2.x (diffusers `UNet2DConditionModel`). */
export interface UNetConfig {
  readonly sampleSize: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly downBlockTypes: readonly DownBlockType[];
  readonly upBlockTypes: readonly UpBlockType[];
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly crossAttentionDim: number;
  /** Number of attention HEADS per level (diffusers calls it attention_head_dim for historical reasons), one per block. */
  readonly numAttentionHeads: readonly number[];
  readonly useLinearProjection: boolean;
  readonly normNumGroups: number;
  readonly normEps: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
}

/** KL autoencoder (diffusers `AutoencoderKL`). */
export interface AutoencoderConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly normNumGroups: number;
  /** Latents are multiplied by this before the UNet sees them: 0.18215 for SD 1 and 2. */
  readonly scalingFactor: number;
  readonly sampleSize: number;
}

/** What a checkpoint's UNet predicts: the noise, or v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D). */
export type PredictionType = 'epsilon' | 'v_prediction';

/** Noise schedule the checkpoint was trained with (diffusers scheduler_config.json). */
export interface SchedulerConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';
  readonly predictionType: PredictionType;
  readonly rescaleBetasZeroSnr: boolean;
}
