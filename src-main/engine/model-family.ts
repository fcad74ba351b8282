// What a file of tensors is, told by the names and shapes it holds: a checkpoint that can be opened, or one of the many
// things that look alike from outside and are refused by name. File names and metadata are not trusted for it.
import type { TensorRef } from '../graph/ir.ts';
import { adapterBase, baseOfWidth } from '../networks/lora-base.ts';
import { adapterKey } from '../networks/lora-keys.ts';
import { findTaesd, findVae } from './vae-parts.ts';

type Tensors = ReadonlyMap<string, TensorRef>;

/** The answer: `kind` as in FileReport, and the words for it. */
export interface ModelFamily {
  readonly kind: 'checkpoint' | 'vae' | 'taesd' | 'lora' | 'embedding' | 'unknown';
  /** Base model: 'SD 1.x', 'SD 2.x', 'SDXL', 'SD3', 'Flux'; undefined when not known. */
  readonly base?: string;
  /** Naming family of a checkpoint or VAE: 'LDM', 'diffusers'. */
  readonly family?: string;
  /** What it is, for a sentence that begins "this is". */
  readonly what: string;
  /** Whether it can be opened as what `kind` says. */
  readonly supported: boolean;
}

/** LDM's prefix of the UNet in a single-file checkpoint. */
export const ldmUnet = 'model.diffusion_model.';

/** Recognises what `tensors` are. */
export function recognise(tensors: Tensors): ModelFamily {
  return lora(tensors) ?? controlNet(tensors) ?? diffusionModel(tensors) ?? smallPart(tensors) ?? unknown;
}

const unknown: ModelFamily = { kind: 'unknown', what: 'no model that is known here', supported: false };

function diffusionModel(tensors: Tensors): ModelFamily | undefined {
  const keys = [...tensors.keys()];
  const some = (pattern: RegExp): boolean => keys.some((key) => pattern.test(key));
  const refused = (base: string, what = base): ModelFamily => ({ kind: 'checkpoint', base, what, supported: false });
  if (some(/(^|\.)double_blocks\.0\./)) return refused('Flux');
  if (some(/(^|\.)joint_blocks\.0\./)) return refused('SD3', 'Stable Diffusion 3');
  if (some(/(^|\.)transformer_blocks\.0\.attn\.add_k_proj\./))
    return refused('SD3 or Flux', 'a diffusers transformer of Stable Diffusion 3 or Flux');
  if (some(/^conditioner\.embedders\.1\./)) return refused('SDXL', 'Stable Diffusion XL');
  if (some(/^conditioner\.embedders\.0\.model\./)) return refused('SDXL refiner', 'the refiner of Stable Diffusion XL');
  if (some(/(^|\.)(label_emb\.0\.0|add_embedding\.linear_1)\.weight$/)) return refused('SDXL', 'Stable Diffusion XL');
  if (some(/(^|\.)(time_stack|temporal_transformer_blocks|motion_modules)\./))
    return refused('video', 'a video model or motion module');

  if (tensors.has(`${ldmUnet}input_blocks.0.0.weight`)) {
    const base = baseOfWidth(ldmContextWidth(tensors, ldmUnet));
    const text = keys.some((key) => key.startsWith('cond_stage_model.'));
    return {
      kind: 'checkpoint',
      family: 'LDM',
      ...(base === undefined ? {} : { base }),
      what: text
        ? base === undefined
          ? 'a checkpoint'
          : `a checkpoint of ${base}`
        : 'a UNet without its text encoder',
      supported: text,
    };
  }
  const bare = 'the UNet of a model alone';
  if (tensors.has('input_blocks.0.0.weight')) {
    return { ...refused(baseOfWidth(ldmContextWidth(tensors, '')) ?? 'unknown', bare), family: 'LDM' };
  }
  if (tensors.has('conv_in.weight') && some(/^down_blocks\.0\.resnets\.0\./)) {
    return { ...refused(baseOfWidth(contextWidth(tensors)) ?? 'unknown', bare), family: 'diffusers' };
  }
  return undefined;
}

function smallPart(tensors: Tensors): ModelFamily | undefined {
  const taesd = findTaesd(tensors);
  if (taesd.decoder || taesd.encoder) {
    const what = taesd.decoder ? 'the tiny autoencoder TAESD' : 'the encoder of the tiny autoencoder TAESD';
    return { kind: 'taesd', what, supported: taesd.decoder };
  }
  const vae = findVae(tensors);
  if (vae !== undefined) {
    const channels = tensors.get(`${vae.prefix}decoder.conv_in.weight`)?.shape[1];
    const what = `a separate VAE (autoencoder)`;
    return {
      kind: 'vae',
      family: vae.naming,
      what,
      supported: channels === 4,
      ...(channels === 16 ? { base: 'SD3 or Flux' } : {}),
    };
  }
  const keys = [...tensors.keys()];
  if (keys.some((key) => /^(text_model\.)?encoder\.layers\.0\.self_attn\.|^transformer\.resblocks\.0\./.test(key))) {
    return { kind: 'unknown', what: 'a CLIP text encoder alone', supported: false };
  }
  return embedding(tensors);
}

/** A learned word (Gal et al. 2022, https://arxiv.org/abs/2208.01618): a few vectors as wide as the text encoder. */
function embedding(tensors: Tensors): ModelFamily | undefined {
  if (tensors.size === 0 || tensors.size > 3) return undefined;
  const what = 'a textual inversion (a learned word)';
  const widths = [...tensors.values()].map(({ shape }) => (shape.length >= 1 && shape.length <= 2 ? shape.at(-1)! : 0));
  if (tensors.has('clip_l') || tensors.has('clip_g'))
    return { kind: 'embedding', base: 'SDXL', what: `${what} for SDXL`, supported: false };
  const bases = widths.map((width) => ({ 768: 'SD 1.x', 1024: 'SD 2.x' })[width]);
  const base = bases.find((found) => found !== undefined);
  if (base !== undefined) return { kind: 'embedding', base, what: `${what} for ${base}`, supported: true };
  // A1111's name for the vectors; a single tensor of another name and width could be anything.
  const own = tensors.get('emb_params')?.shape;
  if (own === undefined || own.length !== 2) return undefined;
  const custom = `a model of its own size (text encoder ${own[1]!} wide)`;
  return { kind: 'embedding', base: custom, what: `${what} for ${custom}`, supported: true };
}

function controlNet(tensors: Tensors): ModelFamily | undefined {
  for (const key of tensors.keys()) {
    if (
      /^(control_model|controlnet_|lllite_|adapter\.body)|(^|\.)(input_hint_block|controlnet_cond_embedding)\./.test(
        key,
      )
    ) {
      return { kind: 'unknown', what: 'a ControlNet or adapter', supported: false };
    }
  }
  return undefined;
}

/** Endings that other models have as well, or that stand beside an adapter's factors. */
const commonRoles: ReadonlySet<string> = new Set(['weight', 'scale', 'alpha', 'rescale', 'diff_b']);

/** A LoRA or a relative: a quarter of its tensors and more are factors of one. Which ones it can use, readAdapter says. */
function lora(tensors: Tensors): ModelFamily | undefined {
  let factors = 0;
  for (const key of tensors.keys()) {
    const role = adapterKey(key)?.role;
    if ((role !== undefined && !commonRoles.has(role)) || /^(unet|text_encoder):\d+:(up|down)$/.test(key)) factors++;
  }
  if (factors === 0 || factors * 4 < tensors.size) return undefined;
  const base = adapterBase(tensors).name;
  const what = base === undefined ? 'a LoRA' : `a LoRA for ${base}`;
  return { kind: 'lora', ...(base === undefined ? {} : { base }), what, supported: true };
}

/** Width of the text states that an LDM UNet behind `prefix` reads. */
export function ldmContextWidth(tensors: Tensors, prefix: string): number | undefined {
  for (const [key, { shape }] of tensors) {
    if (key.startsWith(`${prefix}input_blocks.`) && key.endsWith('.attn2.to_k.weight')) return shape[1];
  }
  return undefined;
}

function contextWidth(tensors: Tensors): number | undefined {
  for (const [key, { shape }] of tensors) if (/^down_blocks\..*\.attn2\.to_k\.weight$/.test(key)) return shape[1];
  return undefined;
}
