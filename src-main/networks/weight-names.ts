// Networks ask for weights by their diffusers names alone; here those become the keys that a file really uses: diffusers,
// older diffusers, transformers, the original latent-diffusion code (LDM, one file) and OpenCLIP, whose fused attention
// matrices are used in place, row range by row range. Witness: diffusers' single_file_utils.py, run in the opposite direction.
import type { TensorRef } from '../graph/ir.ts';
import { showShape } from '../tensor/shape.ts';
import { CheckpointError } from './checkpoint-error.ts';
import type { AutoencoderConfig, UNetConfig } from './configs.ts';

/** Where a network finds its weights, by their diffusers names. */
export interface WeightSource {
  /** Throws CheckpointError when absent, naming the file, the key it looked for, and the nearest keys there are. */
  ref(name: string): TensorRef;
  has(name: string): boolean;
}

/** A key of the file; `third` is one of three equal row ranges of its tensor (q, k, v of a fused matrix). */
export interface Place {
  readonly key: string;
  readonly third?: 0 | 1 | 2;
}

/** Diffusers name -> the places where it may lie, best first. */
export type Naming = (name: string) => readonly Place[];

/** The tensors of `file` (for messages: a file or a folder) under `naming`; `network` is its name in messages. */
export function weightSource(
  network: string,
  file: string,
  tensors: ReadonlyMap<string, TensorRef>,
  naming: Naming,
): WeightSource {
  const find = (name: string): TensorRef | undefined => {
    for (const { key, third } of naming(name)) {
      const whole = tensors.get(key);
      if (whole !== undefined) return third === undefined ? whole : oneThird(whole, third, key);
    }
    return undefined;
  };
  return {
    has: (name) => naming(name).some(({ key }) => tensors.has(key)),
    ref: (name) => {
      const ref = find(name);
      if (ref !== undefined) return ref;
      const key = naming(name)[0]?.key ?? name;
      const near = nearest(key, tensors.keys());
      throw new CheckpointError(
        file,
        `the ${network} lacks the tensor "${key}"${key === name ? '' : ` (${name})`}. ` +
          (near.length === 0 ? 'Nothing there has a like name.' : `Nearest there: ${near.join(', ')}.`) +
          ' The file is incomplete or of another model family; download it again.',
      );
    },
  };
}

/** Names used as they are; with `prefix` when a whole pipeline lies in one file. UNets and current autoencoders. */
export function diffusersNaming(prefix = ''): Naming {
  return (name) => [{ key: prefix + name }];
}

/** AutoencoderKL, also from before diffusers 0.15: query, key, value, proj_attn. */
export function diffusersVaeNaming(prefix = ''): Naming {
  return (name) => [
    { key: prefix + name },
    {
      key:
        prefix +
        name.replace(
          /\.to_([qkvo])(?:ut\.0)?\.(weight|bias)$/,
          (_, part: string, end: string) => `.${oldAttention[part]!}.${end}`,
        ),
    },
  ];
}

const oldAttention: Readonly<Record<string, string>> = { q: 'query', k: 'key', v: 'value', o: 'proj_attn' };

/** CLIPTextModel with or without `text_model.`, which newer transformers leave out. LDM files of SD 1 embed it under a prefix. */
export function transformersClipNaming(prefix = ''): Naming {
  return (name) => [{ key: prefix + name }, { key: prefix + name.replace(/^text_model\./, '') }];
}

/** UNet of an LDM file: one counter runs over all input blocks, one over all output blocks. */
export function ldmUNetNaming(
  config: Pick<UNetConfig, 'layersPerBlock' | 'upBlockTypes'>,
  prefix = 'model.diffusion_model.',
): Naming {
  const perLevel = config.layersPerBlock + 1;
  const rules: readonly Rule[] = [
    [/^conv_in\./, () => 'input_blocks.0.0.'],
    [/^time_embedding\.linear_([12])\./, ([which]) => `time_embed.${which === 1 ? 0 : 2}.`],
    [/^conv_norm_out\./, () => 'out.0.'],
    [/^conv_out\./, () => 'out.2.'],
    [/^down_blocks\.(\d+)\.resnets\.(\d+)\./, ([i, j]) => `input_blocks.${perLevel * i! + j! + 1}.0.`],
    [/^down_blocks\.(\d+)\.attentions\.(\d+)\./, ([i, j]) => `input_blocks.${perLevel * i! + j! + 1}.1.`],
    [/^down_blocks\.(\d+)\.downsamplers\.0\.conv\./, ([i]) => `input_blocks.${perLevel * (i! + 1)}.0.op.`],
    [/^mid_block\.resnets\.(\d+)\./, ([j]) => `middle_block.${2 * j!}.`],
    [/^mid_block\.attentions\.0\./, () => 'middle_block.1.'],
    [/^up_blocks\.(\d+)\.resnets\.(\d+)\./, ([i, j]) => `output_blocks.${perLevel * i! + j!}.0.`],
    [/^up_blocks\.(\d+)\.attentions\.(\d+)\./, ([i, j]) => `output_blocks.${perLevel * i! + j!}.1.`],
    [
      // Comes after the attention where there is one.
      /^up_blocks\.(\d+)\.upsamplers\.0\.conv\./,
      ([i]) => `output_blocks.${perLevel * i! + perLevel - 1}.${config.upBlockTypes[i!] === 'UpBlock2D' ? 1 : 2}.conv.`,
    ],
  ];
  return (name) => {
    const key = rename(name, rules);
    return [{ key: prefix + (name.includes('.resnets.') ? rename(key, ldmResnet) : key) }];
  };
}

/** A resnet's parts in LDM's UNet; LDM's autoencoder keeps diffusers' names but for the shortcut. */
const ldmResnet: readonly Rule[] = [
  [/\.norm1\.(?=\w+$)/, () => '.in_layers.0.'],
  [/\.conv1\.(?=\w+$)/, () => '.in_layers.2.'],
  [/\.time_emb_proj\.(?=\w+$)/, () => '.emb_layers.1.'],
  [/\.norm2\.(?=\w+$)/, () => '.out_layers.0.'],
  [/\.conv2\.(?=\w+$)/, () => '.out_layers.3.'],
  [/\.conv_shortcut\.(?=\w+$)/, () => '.skip_connection.'],
];

/** Autoencoder of an LDM file: up blocks are counted from the picture's side, attention is 1x1 convolutions. */
export function ldmVaeNaming(
  config: Pick<AutoencoderConfig, 'blockOutChannels'>,
  prefix = 'first_stage_model.',
): Naming {
  const top = config.blockOutChannels.length - 1;
  const rules: readonly Rule[] = [
    [/\.down_blocks\.(\d+)\.resnets\.(\d+)\./, ([i, j]) => `.down.${i!}.block.${j!}.`],
    [/\.down_blocks\.(\d+)\.downsamplers\.0\./, ([i]) => `.down.${i!}.downsample.`],
    [/\.up_blocks\.(\d+)\.resnets\.(\d+)\./, ([i, j]) => `.up.${top - i!}.block.${j!}.`],
    [/\.up_blocks\.(\d+)\.upsamplers\.0\./, ([i]) => `.up.${top - i!}.upsample.`],
    [/\.mid_block\.resnets\.(\d+)\./, ([j]) => `.mid.block_${j! + 1}.`],
    [/\.mid_block\.attentions\.0\.group_norm\./, () => '.mid.attn_1.norm.'],
    [/\.mid_block\.attentions\.0\.to_out\.0\./, () => '.mid.attn_1.proj_out.'],
    [/\.mid_block\.attentions\.0\.to_(?=[qkv]\.)/, () => '.mid.attn_1.'],
    [/\.conv_norm_out\./, () => '.norm_out.'],
  ];
  return (name) => [{ key: prefix + rename(name, rules).replace('.conv_shortcut.', '.nin_shortcut.') }];
}

/** OpenCLIP's text transformer, as LDM files of SD 2 hold it: q, k and v are three row ranges of one matrix. */
export function openClipNaming(prefix = 'cond_stage_model.model.'): Naming {
  const rules: readonly Rule[] = [
    [/^text_model\.embeddings\.token_embedding\./, () => 'token_embedding.'],
    [/^text_model\.embeddings\.position_embedding\.weight$/, () => 'positional_embedding'],
    [/^text_model\.final_layer_norm\./, () => 'ln_final.'],
    [/^text_model\.encoder\.layers\.(\d+)\.layer_norm([12])\./, ([i, n]) => `transformer.resblocks.${i!}.ln_${n!}.`],
    [/^text_model\.encoder\.layers\.(\d+)\.mlp\.fc1\./, ([i]) => `transformer.resblocks.${i!}.mlp.c_fc.`],
    [/^text_model\.encoder\.layers\.(\d+)\.mlp\.fc2\./, ([i]) => `transformer.resblocks.${i!}.mlp.c_proj.`],
    [
      /^text_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\./,
      ([i]) => `transformer.resblocks.${i!}.attn.out_proj.`,
    ],
  ];
  return (name) => {
    const fused = /^text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)$/.exec(name);
    if (fused === null) return [{ key: prefix + rename(name, rules) }];
    const third = 'qkv'.indexOf(fused[2]!) as 0 | 1 | 2;
    return [{ key: `${prefix}transformer.resblocks.${fused[1]!}.attn.in_proj_${fused[3]!}`, third }];
  };
}

/**
 * TAESD (https://github.com/madebyollin/taesd): the indices of a Sequential (`1.weight`), the same under the network's
 * name, or diffusers' AutoencoderTiny, whose decoder lacks the clamp in front and so counts from one less.
 */
export function taesdNaming(half: 'encoder' | 'decoder'): Naming {
  return (name) => {
    const [index, ...rest] = name.split('.');
    const inDiffusers = half === 'encoder' ? name : [Number(index) - 1, ...rest].join('.');
    return [
      { key: name },
      { key: `${half}.layers.${inDiffusers}` },
      { key: `${half}.${name}` },
      { key: `taesd_${half}.${name}` },
    ];
  };
}

/** A pattern of which one match is replaced; the digits it caught come as numbers. */
type Rule = readonly [RegExp, (numbers: readonly number[]) => string];

function rename(name: string, rules: readonly Rule[]): string {
  for (const [pattern, replacement] of rules) {
    const match = pattern.exec(name);
    if (match === null) continue;
    const end = match.index + match[0].length;
    return name.slice(0, match.index) + replacement(match.slice(1).map(Number)) + name.slice(end);
  }
  return name;
}

/** Rows `third` of three of [3D, ...]: the same bytes, a shorter range. */
function oneThird(ref: TensorRef, third: 0 | 1 | 2, key: string): TensorRef {
  const [rows, ...rest] = ref.shape;
  if (rows === undefined || rows % 3 !== 0) {
    throw new CheckpointError(
      ref.file,
      `tensor "${key}" has shape ${showShape(ref.shape)}; expected three equal parts in its rows (q, k, v).`,
    );
  }
  const length = ref.length / 3;
  return { ...ref, shape: [rows / 3, ...rest], offset: ref.offset + third * length, length };
}

/** Up to three of `keys` that share the most of their ending and beginning with `key`. */
function nearest(key: string, keys: Iterable<string>): string[] {
  const scored: { readonly near: string; readonly score: number }[] = [];
  let looked = 0;
  for (const near of keys) {
    // A hostile file may hold many keys, and long ones.
    if (++looked > 10_000) break;
    if (near.length > 300) continue;
    const [longest, last] = [Math.min(near.length, key.length), near.length - 1];
    let [front, back] = [0, 0];
    while (front < longest && near[front] === key[front]) front++;
    while (back < longest - front && near[last - back] === key[key.length - 1 - back]) back++;
    if (front + back > key.length / 2) scored.push({ near, score: front + back });
  }
  scored.sort((a, b) => b.score - a.score);
  return scored.slice(0, 3).map(({ near }) => `"${near.slice(0, 120)}"`);
}
