// A Stable Diffusion checkpoint in one .safetensors file, named as CompVis' latent diffusion code names it
// (https://github.com/CompVis/stable-diffusion). It has no config: tensor shapes say how wide and deep each network is,
// and the few things that no shape says (what the UNet predicts) are looked for in metadata, marks and sidecar files.
import { CheckpointError } from '../networks/checkpoint-error.ts';
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { readSafetensorsHeader, readTensor } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import type { ClipTextConfig, DownBlockType, PredictionType, UNetConfig, UpBlockType } from '../networks/configs.ts';
import { SD15, wrongChannels } from '../networks/sd-configs.ts';
import {
  transformersClipNaming,
  ldmUNetNaming,
  openClipNaming,
  weightSource,
  type WeightSource,
} from '../networks/weight-names.ts';
import {
  checkNetworks,
  familyOf,
  precisionOf,
  type Checkpoint,
  type CheckpointOptions,
  type OpenedVae,
} from './checkpoint-parts.ts';
import { ldmUnet, recognise } from './model-family.ts';
import { klVae } from './vae-parts.ts';

type Tensors = ReadonlyMap<string, TensorRef>;

const clipPrefix = 'cond_stage_model.transformer.';
const openClipPrefix = 'cond_stage_model.model.';

/** Opens a single-file checkpoint; `vae` replaces its own. Throws CheckpointError, SafetensorsError. */
export async function openFile(
  path: string,
  options: CheckpointOptions,
  vae: OpenedVae | undefined,
): Promise<Checkpoint> {
  const header = await readSafetensorsHeader(path);
  const { file, tensors, metadata } = header;
  refuseOthers(file, tensors);
  const unetConfig = unetFromShapes(tensors, file);
  const textEncoder = textFromShapes(tensors, file);
  const own = vae ?? klVae(tensors, file);
  if (own === undefined) {
    throw new CheckpointError(
      file,
      'it has no VAE (autoencoder), which turns the result into a picture. Choose a separate VAE file with it.',
    );
  }
  const warnings = [...header.warnings, ...(vae?.warnings ?? [])];
  const prediction = options.prediction ?? (await predictionOf(file, tensors, metadata, unetConfig, warnings));
  const zeroSnr = options.zeroTerminalSnr ?? tensors.has('ztsnr');
  const unet = {
    config: {
      ...unetConfig,
      sampleSize: unetConfig.crossAttentionDim === 1024 && prediction === 'v_prediction' ? 96 : 64,
    },
    weights: weightSource('UNet', file, tensors, ldmUNetNaming(unetConfig)),
  };
  const weightBytes = checkNetworks(file, { textEncoder, unet, vae: own });
  return {
    path: file,
    name: basename(file, extname(file)),
    family: familyOf(unetConfig),
    textEncoder,
    unet,
    vae: own,
    scheduler: { ...SD15.scheduler, predictionType: prediction, rescaleBetasZeroSnr: zeroSnr },
    precision: precisionOf(tensors.values()),
    metadata,
    warnings,
    files: [...new Set([file, ...(vae?.files ?? [])])],
    weightBytes,
  };
}

/** Refuses by name what is no Stable Diffusion 1 or 2 checkpoint. */
function refuseOthers(file: string, tensors: Tensors): void {
  const family = recognise(tensors);
  const expected = 'Expected a checkpoint of Stable Diffusion 1.x or 2.x with its UNet and text encoder.';
  const hints: Readonly<Record<string, string>> = {
    lora: ' Open it as a LoRA, beside a checkpoint.',
    vae: ' Choose it as the VAE, beside a checkpoint.',
    taesd: ' Choose it as the VAE, beside a checkpoint.',
    embedding: ' It cannot be used here yet.',
  };
  if (family.kind !== 'checkpoint' || !family.supported) {
    throw new CheckpointError(file, `this is ${family.what}. ${expected}${hints[family.kind] ?? ''}`);
  }
}

/** Width and depth of the UNet from its tensors; heads, which no shape tells, by the rule of SD 1 (8) or SD 2 (64 wide). */
function unetFromShapes(tensors: Tensors, file: string): UNetConfig {
  const shape = (key: string): readonly number[] => tensors.get(ldmUnet + key)?.shape ?? [];
  const has = (key: string): boolean => tensors.has(ldmUnet + key);
  const damaged = (what: string): never => {
    throw new CheckpointError(file, `its UNet is damaged or of an unknown kind: ${what}.`);
  };
  const inChannels = shape('input_blocks.0.0.weight')[1] ?? 0;
  if (inChannels !== 4) throw new CheckpointError(file, wrongChannels(inChannels));

  if (has('time_embed.cond_proj.weight')) {
    throw new CheckpointError(
      file,
      'this is a distilled model that reads the guidance as an input (LCM). Use its LoRA with a plain checkpoint instead.',
    );
  }

  const levels: { width: number; resnets: number; attention: boolean }[] = [];
  let level: (typeof levels)[number] | undefined;
  for (let i = 1; i < 1000; i++) {
    if (has(`input_blocks.${i}.0.op.weight`)) {
      level = undefined;
      continue;
    }
    const width = shape(`input_blocks.${i}.0.in_layers.2.weight`)[0];
    if (width === undefined) break;
    const attention = has(`input_blocks.${i}.1.transformer_blocks.0.attn2.to_k.weight`);
    if (has(`input_blocks.${i}.1.transformer_blocks.1.attn2.to_k.weight`))
      damaged('more than one transformer block per level');
    if (level === undefined) {
      level = { width, resnets: 1, attention };
      levels.push(level);
    } else if (level.width !== width || level.attention !== attention) damaged(`level ${levels.length} is uneven`);
    else level.resnets += 1;
  }
  const layersPerBlock = levels[0]?.resnets ?? 0;
  if (levels.length === 0 || levels.length > 8) damaged(`${levels.length} levels`);
  if (levels.some(({ resnets }) => resnets !== layersPerBlock)) damaged('levels of unequal depth');
  if (levels.some(({ width }) => width < 1 || width % 32 !== 0)) damaged('widths that do not divide by 32');

  const perLevel = layersPerBlock + 1;
  const upAttention = levels.map((_, i) =>
    has(`output_blocks.${i * perLevel}.1.transformer_blocks.0.attn2.to_k.weight`),
  );
  const middle = 'middle_block.1.transformer_blocks.0.attn2.to_k.weight';
  if (!has(middle)) damaged(`it has no ${middle}`);
  const crossAttentionDim = shape(middle)[1] ?? 0;
  const byWidth =
    crossAttentionDim === 1024 || (crossAttentionDim !== 768 && tensors.has(`${openClipPrefix}ln_final.weight`));
  return {
    ...SD15.unet,
    inChannels,
    outChannels: shape('out.2.weight')[0] ?? 0,
    downBlockTypes: levels.map(({ attention }): DownBlockType => (attention ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    upBlockTypes: upAttention.map((attention): UpBlockType => (attention ? 'CrossAttnUpBlock2D' : 'UpBlock2D')),
    blockOutChannels: levels.map(({ width }) => width),
    layersPerBlock,
    crossAttentionDim,
    numAttentionHeads: levels.map(({ width }) => (byWidth ? Math.max(1, Math.floor(width / 64)) : 8)),
    useLinearProjection: shape('middle_block.1.proj_in.weight').length === 2,
  };
}

/** The text encoder: CLIP's own in SD 1, OpenCLIP's in SD 2, whose last layer is not used. */
function textFromShapes(tensors: Tensors, file: string): Checkpoint['textEncoder'] {
  const open = tensors.has(`${openClipPrefix}ln_final.weight`);
  const weights: WeightSource = weightSource(
    'text encoder',
    file,
    tensors,
    open ? openClipNaming(openClipPrefix) : transformersClipNaming(clipPrefix),
  );
  const shape = (name: string): readonly number[] => weights.ref(`text_model.${name}`).shape;
  const [vocabSize, hiddenSize] = shape('embeddings.token_embedding.weight') as [number, number];
  let layers = 0;
  while (layers < 200 && weights.has(`text_model.encoder.layers.${layers}.layer_norm1.weight`)) layers += 1;
  const used = open ? layers - 1 : layers;
  if (used < 1 || !(hiddenSize >= 64) || hiddenSize % 64 !== 0) {
    throw new CheckpointError(
      file,
      `its text encoder is damaged or of an unknown kind: ${layers} layers of width ${hiddenSize}.`,
    );
  }
  const config: ClipTextConfig = {
    ...SD15.text,
    vocabSize,
    hiddenSize,
    intermediateSize: shape('encoder.layers.0.mlp.fc1.weight')[0] ?? 0,
    numHiddenLayers: used,
    numAttentionHeads: hiddenSize / 64,
    maxPositionEmbeddings: shape('embeddings.position_embedding.weight')[0] ?? 0,
    hiddenAct: open ? 'gelu' : 'quick_gelu',
  };
  return { config, weights, padToken: open ? 0 : vocabSize - 1, skipLayers: 0 };
}

/** Steps of training after which Stability published SD 2's 512-pixel base model, the one that predicts noise. */
const baseModelSteps = 875_000n;

/** What the UNet predicts: what the file says, what lies beside it, else what most models of its kind do. */
async function predictionOf(
  file: string,
  tensors: Tensors,
  metadata: Readonly<Record<string, string>>,
  unet: UNetConfig,
  warnings: string[],
): Promise<PredictionType> {
  const said = metadata['modelspec.prediction_type'];
  if (said === 'v' || said === 'v_prediction') return 'v_prediction';
  if (said === 'epsilon' || said === 'eps') return 'epsilon';
  if (tensors.has('v_pred')) return 'v_prediction';
  const architecture = metadata['modelspec.architecture'] ?? '';
  if (architecture.startsWith('stable-diffusion-v2-768-v')) return 'v_prediction';
  if (architecture.startsWith('stable-diffusion-v2-512')) return 'epsilon';
  const sidecar = await readSidecar(file);
  if (sidecar !== undefined) return /parameterization["']?\s*:\s*["']?v\b/.test(sidecar) ? 'v_prediction' : 'epsilon';
  if (unet.crossAttentionDim !== 1024) return 'epsilon';
  const steps = tensors.get('global_step');
  if (steps?.dtype === 'int64' && steps.length === 8) {
    return (await readTensor(steps)).data[0] === baseModelSteps ? 'epsilon' : 'v_prediction';
  }
  warnings.push(
    'The file does not say whether it predicts noise (512-pixel models) or v (768-pixel ones); v is assumed. If pictures come out as noise or burnt, choose the other.',
  );
  return 'v_prediction';
}

/** The .yaml of the same name, which A1111 reads too; undefined when there is none. */
async function readSidecar(file: string): Promise<string | undefined> {
  const path = file.slice(0, file.length - extname(file).length) + '.yaml';
  const text = await readFile(path, 'utf8').catch(() => undefined);
  return text === undefined || text.length > 1_000_000 ? undefined : text;
}
