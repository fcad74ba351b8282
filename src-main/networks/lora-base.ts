// Which base model an adapter (LoRA and its relatives) was trained for, told by names and widths alone: the text that the
// cross-attention reads is 768, 1024 or 2048 wide in SD 1.x, SD 2.x and SDXL (InvokeAI's rule). Metadata is a second
// opinion: merges and converters copy it from other files, widths cannot lie.
import type { TensorRef } from '../graph/ir.ts';

type Tensors = ReadonlyMap<string, TensorRef>;

/** The base of an adapter, and how far to trust the answer. */
export interface AdapterBase {
  /** 'sd1' and 'sd2' can be used here; 'custom' may fit a model of the same width. */
  readonly model: 'sd1' | 'sd2' | 'custom' | 'other' | 'unknown';
  /** For a person: 'SD 1.x', 'SDXL', 'Flux', 'a model of its own size (text 128 wide)'; undefined when not known. */
  readonly name?: string;
  /** Width of the text that the cross-attention reads, where the file shows it. */
  readonly textWidth?: number;
  /** What it was told by, for a sentence: "its cross-attention reads text 768 wide". */
  readonly evidence: string;
  /** Where metadata disagrees with the tensors, or is all there is. */
  readonly warnings: readonly string[];
}

/** Base model by the width of the text that its cross-attention reads. */
export function baseOfWidth(width: number | undefined): 'SD 1.x' | 'SD 2.x' | 'SDXL' | undefined {
  return width === 768 ? 'SD 1.x' : width === 1024 ? 'SD 2.x' : width === 2048 ? 'SDXL' : undefined;
}

/** Tells the base of an adapter of any family from its tensors; `metadata` as in the file's header. Never throws. */
export function adapterBase(tensors: Tensors, metadata: Readonly<Record<string, string>> = {}): AdapterBase {
  const told = byNames(tensors) ?? byTextWidth(tensors) ?? byTextEncoder(tensors);
  const said = metadataOpinion(metadata);
  if (told === undefined) {
    if (said === undefined) return { model: 'unknown', evidence: 'nothing in it says so', warnings: [] };
    const warnings = [
      `Its base, ${said.name}, is what its metadata says (${said.by}); no width in it can confirm that.`,
    ];
    return { model: modelOf(said.name), name: said.name, evidence: 'its metadata', warnings };
  }
  // A text encoder of 768 is SD 1's and SDXL's first: there, metadata may decide.
  const name = said !== undefined && told.or === said.name ? said.name : told.name;
  const warnings =
    said === undefined || said.name === name
      ? []
      : [`Its metadata says ${said.name} (${said.by}), but ${told.evidence}: it is for ${name}.`];
  return {
    model: told.custom === true ? 'custom' : modelOf(name),
    name,
    ...(told.textWidth === undefined ? {} : { textWidth: told.textWidth }),
    evidence: told.evidence,
    warnings,
  };
}

interface Told {
  readonly name: string;
  readonly evidence: string;
  readonly textWidth?: number;
  /** The other base that the same evidence allows. */
  readonly or?: string;
  readonly custom?: boolean;
}

const modelOf = (name: string): AdapterBase['model'] =>
  name === 'SD 1.x' ? 'sd1' : name === 'SD 2.x' ? 'sd2' : 'other';

/** Layers that only one design has. The first that fits counts; `.` and kohya's `_` between the parts of a path. */
const designs: readonly (readonly [RegExp, string])[] = [
  [/(^|[._])(temporal_transformer_blocks|motion_modules|time_stack)[._]/, 'a video model (motion module)'],
  [/(^|[._])double_stream_blocks[._]/, 'HiDream'],
  [/(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]/, 'Flux'],
  [/(^|[._])joint_blocks[._]/, 'SD3'],
  [/(^|[._])transformer_blocks[._]\d+[._](img_mlp|txt_mlp|img_mod|txt_mod)[._]/, 'Qwen-Image'],
  [/(^|[._])transformer_blocks[._]\d+[._]attn[._](add_[qkv]_proj|to_add_out)/, 'SD3'],
  [/^(transformer|base_model\.model)\.transformer_blocks\.\d+\.attn\./, 'SD3 or Flux'],
  [/^lora_(prior_unet|te_prior)_/, 'Stable Cascade'],
  [/(^|[._])blocks[._]\d+[._](cross_attn|self_attn)[._][qkvo]([._]|$)/, 'Wan'],
  [/(^|[._])blocks[._]\d+[._]attn[12][._](Wqkv|q_proj|kv_proj|out_proj)/, 'HunyuanDiT'],
  [/(^|[._])layers[._]\d+[._](attention|feed_forward)[._](qkv|out|w[123]|to_[qkv])([._]|$)/, 'Lumina'],
  [/^(base_model\.model\.)?model\.layers\.\d+\.(self_attn|mlp)\./, 'a language model'],
  [/^lora_te2_|^text_encoder_2\./, 'SDXL'],
  // SD 1 and 2 have one transformer block in each attention, SDXL up to ten.
  [
    /(attentions[._]\d+|(input_blocks|output_blocks)[._]\d+[._]1|middle_block[._]1)[._]transformer_blocks[._]([1-9]|\d\d)[._]/,
    'SDXL',
  ],
  [
    /^(transformer\.|base_model\.model\.|lora_transformer_|lycoris_)?transformer_blocks[._]\d+[._]attn[12][._]/,
    'PixArt',
  ],
];

function byNames(tensors: Tensors): Told | undefined {
  for (const [pattern, name] of designs) {
    for (const key of tensors.keys()) {
      if (pattern.test(key)) return { name, evidence: `it has layers of ${name} (${JSON.stringify(shorten(key))})` };
    }
  }
  return undefined;
}

function byTextWidth(tensors: Tensors): Told | undefined {
  const width = namedTextWidth(tensors) ?? positionalTextWidth(tensors);
  if (width === undefined) return undefined;
  const evidence = `its cross-attention reads text ${width} wide`;
  const base = width === 1280 ? 'SDXL refiner' : baseOfWidth(width);
  return base === undefined
    ? { name: `a model of its own size (text ${width} wide)`, evidence, textWidth: width, custom: true }
    : { name: base, evidence, textWidth: width };
}

function namedTextWidth(tensors: Tensors): number | undefined {
  const layers = new Set<string>();
  for (const key of tensors.keys()) {
    const [, layer] = /^(.*attn2[._](?:processor\.)?to_[kv])(?:_lora)?\./.exec(key) ?? [];
    if (layer === undefined || layers.has(layer)) continue;
    layers.add(layer);
    const width = inputWidth(tensors, layer);
    if (width !== undefined) return width;
  }
  return undefined;
}

const downNames = [
  '.lora_down.weight',
  '.lora.down.weight',
  '_lora.down.weight',
  '.lora_linear_layer.down.weight',
  '.lora_A.weight',
  '.lora_A.default.weight',
  '.lora_A',
  '.diff',
];

/** Input width of the linear layer called `layer`, from whichever factors of it the file holds. */
function inputWidth(tensors: Tensors, layer: string): number | undefined {
  const shape = (name: string): readonly number[] | undefined => tensors.get(`${layer}${name}`)?.shape;
  for (const name of downNames) {
    const width = shape(name)?.[1];
    if (width !== undefined) return width;
  }
  // LoHa: (w1_a w1_b) * (w2_a w2_b), w1_b is [r, in].
  const hada = shape('.hada_w1_b') ?? shape('.hada_w2_b');
  if (hada !== undefined) return hada[1];
  // LoKr: kron(w1, w2), so the widths multiply.
  const first = shape('.lokr_w1') ?? shape('.lokr_w1_b');
  const second = shape('.lokr_w2') ?? shape('.lokr_w2_b');
  if (first?.[1] !== undefined && second?.[1] !== undefined) return first[1] * second[1];
  // GLoRA: W A + B; A = a1 a2 is [in, in], and either order of its factors is found in files.
  const glora = shape('.a1.weight');
  return glora === undefined || glora.length < 2 ? undefined : Math.max(...glora);
}

/**
 * cloneofsimo's files number their layers instead of naming them. Of all layers only the cross-attention's keys and values
 * have a width that differs from their output by no factor 4 or 8 (feed-forward) and comes with several outputs.
 */
function positionalTextWidth(tensors: Tensors): number | undefined {
  const outputs = new Map<number, number[]>();
  for (const [key, { shape }] of tensors) {
    const [, layer] = /^(unet:\d+):down$/.exec(key) ?? [];
    const width = shape[1];
    const output = layer === undefined ? undefined : tensors.get(`${layer}:up`)?.shape[0];
    if (shape.length !== 2 || width === undefined || output === undefined) continue;
    if (width === output || output === 8 * width || width === 4 * output) continue;
    outputs.set(width, [...(outputs.get(width) ?? []), output]);
  }
  const [most] = [...outputs].sort(([, a], [, b]) => b.length - a.length);
  return most !== undefined && most[1].length >= 2 ? most[0] : undefined;
}

function byTextEncoder(tensors: Tensors): Told | undefined {
  for (const key of tensors.keys()) {
    const [, named] = /^(.*(?:self_attn[._](?:to_)?[qkv](?:_proj)?|mlp[._]fc1))(?:_lora)?\./.exec(key) ?? [];
    const positional = /^text_encoder:\d+:down$/.test(key) ? tensors.get(key)!.shape[1] : undefined;
    const width = named === undefined ? positional : inputWidth(tensors, named);
    if (width === undefined) continue;
    const evidence = `its text encoder is ${width} wide`;
    const base = width === 1280 ? 'SDXL' : width === 2048 ? undefined : baseOfWidth(width);
    if (base === undefined)
      return { name: `a model of its own size (text encoder ${width} wide)`, evidence, custom: true };
    return { name: base, evidence, ...(base === 'SD 1.x' ? { or: 'SDXL' } : {}) };
  }
  return undefined;
}

interface Opinion {
  readonly name: string;
  /** The field and its value, shortened. */
  readonly by: string;
}

/** What trainers write: kohya's `ss_base_model_version` and `ss_v2`, the model spec's architecture. */
function metadataOpinion(metadata: Readonly<Record<string, string>>): Opinion | undefined {
  const version = own(metadata, 'ss_base_model_version');
  const architecture = own(metadata, 'modelspec.architecture');
  const known: readonly (readonly [RegExp, string])[] = [
    [/^sdxl_|^stable-diffusion-xl/i, 'SDXL'],
    [/^sd_?v?2|^stable-diffusion-v2/i, 'SD 2.x'],
    [/^sd_?v?3|^stable-diffusion-v?3/i, 'SD3'],
    [/^sd_?v?1|^stable-diffusion-v1/i, 'SD 1.x'],
    [/^flux/i, 'Flux'],
  ];
  const nameOf = (value: string): string | undefined => known.find(([pattern]) => pattern.test(value))?.[1];
  for (const [field, value] of [
    ['ss_base_model_version', version],
    ['modelspec.architecture', architecture],
  ] as const) {
    const name = value === undefined ? undefined : nameOf(value);
    if (name !== undefined) return { name, by: `${field} ${JSON.stringify(shorten(value!))}` };
  }
  // kohya's SDXL scripts write "False" as well, so only "True" says something.
  return own(metadata, 'ss_v2') === 'True' ? { name: 'SD 2.x', by: 'ss_v2 "True"' } : undefined;
}

const own = (metadata: Readonly<Record<string, string>>, key: string): string | undefined =>
  Object.hasOwn(metadata, key) ? metadata[key] : undefined;

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text);
