// The paper's guidance by CLIP, as pieces of graph. The paper says of its domain loss only "unsupervised training with both local and
// global guidance from CLIP" (arXiv:2404.13628, section 3.3) and gives no formula; its released code scores whole drawings against the
// prompt and gives its patch ("local") term weight 0. What stands here is ours: the clean picture x0 that one prediction of the UNet
// amounts to is decoded and looked at by CLIP; `global` is its distance from the caption, `local` from the reference picture.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import { decoded } from '../networks/autoencoder.ts';
import { imageEmbeds } from '../networks/clip-vision.ts';
import type { AutoencoderConfig, ClipConfig, PredictionType } from '../networks/configs.ts';
import { parameter, plainLayers, type AttentionForm } from '../networks/layers.ts';

/** Names of the judge's inputs and outputs. */
export const judgeNames = {
  /** [B, C, h, w]: what the UNet predicts; the loss is differentiated with respect to it. */
  prediction: 'prediction',
  /** [B, C, h, w]: the noised latents x_t that the UNet saw. */
  sample: 'sample',
  /** [B, 1, 1, 1] each: x0 = sampleFactor * sample + predictionFactor * prediction. */
  sampleFactor: 'sample_factor',
  predictionFactor: 'prediction_factor',
  /** [B, P] each. */
  text: 'text_embeds',
  reference: 'reference_embeds',
  /** [K, P]: of all captions; [B, K]: one-hot, which of them is the picture's own. Where captions are contrasted only. */
  captions: 'caption_embeds',
  own: 'own_caption',
  loss: 'loss',
  global: 'loss_global',
  local: 'loss_local',
  contrast: 'loss_contrast',
} as const;

export interface ClipSight {
  readonly vae: { readonly config: AutoencoderConfig; readonly ref: (name: string) => TensorRef };
  readonly clip: {
    readonly config: ClipConfig;
    readonly ref: (name: string) => TensorRef;
    readonly normalisation: ClipNormalisation;
  };
  /** Latent height and width. */
  readonly height: number;
  readonly width: number;
  readonly attention: AttentionForm;
}

/** Mean and deviation of red, green and blue in [0, 1], by which a CLIP's pictures are normalised. */
export interface ClipNormalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Of the pictures that CLIP was trained on (https://github.com/openai/CLIP, clip.py). */
export const clipNormalisation: ClipNormalisation = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};

export interface ClipWeights {
  readonly global: number;
  readonly local: number;
  /** Of telling the picture's caption from the others: 0 unless given. */
  readonly contrast?: number;
}

/**
 * Graph: the inputs of judgeNames -> `loss` = weights.global (1 - cos(picture, text)) + weights.local (1 - cos(picture, reference))
 * + weights.contrast * -log softmax_k(s cos(picture, caption k)) of the picture's own caption, with CLIP's own scale s, as CLIP was trained
 * (Radford et al. 2021, figure 3): the mean over the batch, and all terms. Differentiable from end to end.
 */
export function clipJudge(sight: ClipSight, weights: ClipWeights): Graph {
  const b = new GraphBuilder('CLIP loss');
  const shape = ['B', sight.vae.config.latentChannels, sight.height, sight.width];
  const prediction = b.input(judgeNames.prediction, shape);
  const sample = b.input(judgeNames.sample, shape);
  const factor = (name: string): Value => b.input(name, ['B', 1, 1, 1]);
  const x0 = b.Add(
    b.Mul(sample, factor(judgeNames.sampleFactor)),
    b.Mul(prediction, factor(judgeNames.predictionFactor)),
  );
  const embeds = embedLatents(b, x0, sight);
  const given = (name: string): Value => b.input(name, ['B', sight.clip.config.projectionDim]);
  const far = (name: string): Value =>
    b.ReduceMean(b.Sub(b.constant(1), cosine(b, embeds, given(name))), [0, 1], false);
  const [global, local] = [far(judgeNames.text), far(judgeNames.reference)];
  b.output(judgeNames.global, global);
  b.output(judgeNames.local, local);
  const weighed = (x: Value, weight: number): Value => b.Mul(x, b.constant(weight));
  let loss = b.Add(weighed(global, weights.global), weighed(local, weights.local));
  const { contrast = 0 } = weights;
  if (contrast > 0) {
    const term = contrastOf(b, embeds, sight);
    b.output(judgeNames.contrast, term);
    loss = b.Add(loss, weighed(term, contrast));
  }
  b.output(judgeNames.loss, loss);
  return b.build();
}

/** -log softmax of the own caption among all, the mean over the batch: log sum_k exp(s cos_k - s cos_own). */
function contrastOf(b: GraphBuilder, embeds: Value, { clip, attention }: ClipSight): Value {
  const unit = (x: Value): Value => b.Div(x, b.Sqrt(b.ReduceSum(b.Mul(x, x), [1])));
  const captions = unit(b.input(judgeNames.captions, ['K', clip.config.projectionDim])); // [K, P]
  const network = { builder: b, ref: clip.ref, layers: plainLayers, attention };
  const scale = b.Exp(parameter(network, 'logit_scale', []));
  const logits = b.Mul(b.MatMul(unit(embeds), b.Transpose(captions, [1, 0])), scale); // [B, K]
  const own = b.ReduceSum(b.Mul(logits, b.input(judgeNames.own, ['B', 'K'])), [1]); // [B, 1]
  // e^60 is far from the end of float32, and no caption stays that far ahead for long.
  const ahead = b.op('Min', [b.Sub(logits, own), b.constant(60)])[0]!;
  return b.ReduceMean(b.Log(b.ReduceSum(b.Exp(ahead), [1])), [0, 1], false);
}

/** Graph: `x0` [B, C, h, w], latents as the UNet sees them, -> `image_embeds` [B, P] of the picture that they are. */
export function clipReference(sight: ClipSight): Graph {
  const b = new GraphBuilder('CLIP image encoder');
  const x0 = b.input('x0', ['B', sight.vae.config.latentChannels, sight.height, sight.width]);
  b.output('image_embeds', embedLatents(b, x0, sight));
  return b.build();
}

/**
 * x0 of a prediction at a noise level: (x_t - sigma eps) / signal for noise, signal x_t - sigma v for v (Salimans & Ho 2022,
 * appendix D), as factors of x_t and of the prediction. signal^2 = alphaBar, sigma^2 = 1 - alphaBar.
 */
export function x0Factors(
  alphaBar: number,
  predictionType: PredictionType,
): { readonly sample: number; readonly prediction: number } {
  const [signal, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  return predictionType === 'epsilon'
    ? { sample: 1 / signal, prediction: -sigma / signal }
    : { sample: signal, prediction: -sigma };
}

function embedLatents(b: GraphBuilder, x0: Value, { vae, clip, attention }: ClipSight): Value {
  const network = { builder: b, layers: plainLayers, attention };
  const latent = b.Mul(x0, b.constant(1 / vae.config.scalingFactor));
  const image = decoded({ ...network, ref: vae.ref }, latent, vae.config);
  const seen = seenByClip(b, image, clip.config.vision.imageSize, clip.normalisation);
  return imageEmbeds({ ...network, ref: clip.ref }, seen, clip.config);
}

/**
 * What CLIP sees of an image [B, 3, H, W] in [-1, 1]: clamped to what a picture file can hold, the shorter side scaled to `size`, the
 * middle cut out, normalised: [B, 3, size, size]. CLIP's own preprocessing, with linear instead of cubic interpolation, as two
 * constant matrices: rows [size, H] x columns [W, size].
 */
export function seenByClip(b: GraphBuilder, image: Value, size: number, { mean, std }: ClipNormalisation): Value {
  const [height, width] = image.shape.slice(2).map(Number) as [number, number];
  const unit = b.Add(b.Mul(image, b.constant(0.5)), b.constant(0.5));
  const clamped = b.op('Min', [b.Max(unit, b.constant(0)), b.constant(1)])[0]!;
  const shorter = Math.min(height, width);
  const middle = (from: number): Float32Array => {
    const to = Math.floor((size * from) / shorter);
    const start = Math.floor((to - size) / 2);
    return resizeMatrix(from, to).subarray(start * from, (start + size) * from);
  };
  const rows = b.constant(middle(height), [size, height]);
  const columns = b.Transpose(b.constant(middle(width), [size, width]), [1, 0]);
  const scaled = b.MatMul(rows, b.MatMul(clamped, columns)); // [B, 3, H, W] -> [B, 3, H, S] -> [B, 3, S, S]
  const [middleColour, deviation] = [mean, std].map((values) => b.constant(values, [1, 3, 1, 1]));
  return b.Div(b.Sub(scaled, middleColour!), deviation!);
}

/**
 * Linear interpolation of `from` numbers to `to` as a matrix [to, from]. When it shrinks, it is antialiased the way Pillow and torch
 * (interpolate with antialias) do it: the triangle is as wide as a step of the result, its weights sampled at the middles of the
 * source and normalised to sum to 1, so that the edges need no padding.
 */
export function resizeMatrix(from: number, to: number): Float32Array {
  const scale = from / to;
  const reach = Math.max(1, scale);
  const matrix = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const centre = scale * (i + 0.5);
    const weights = Array.from({ length: from }, (_, j) => Math.max(0, 1 - Math.abs(j + 0.5 - centre) / reach));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    weights.forEach((weight, j) => (matrix[i * from + j] = weight / sum));
  }
  return matrix;
}

/** Cosine of the angle between rows of a and b [B, P]: [B, 1]. */
function cosine(b: GraphBuilder, x: Value, y: Value): Value {
  const dot = (u: Value, v: Value): Value => b.ReduceSum(b.Mul(u, v), [1]);
  return b.Div(dot(x, y), b.Mul(b.Sqrt(dot(x, x)), b.Sqrt(dot(y, y))));
}
