// The first LoRA files for Stable Diffusion (https://github.com/cloneofsimo/lora) number their layers: `unet:7:up` is the
// eighth linear layer under a module of the classes that the metadata lists, in the order of torch's `modules()`. That order
// is diffusers' order of registration: up_blocks before mid_block, attentions before resnets, and, until diffusers 0.12, the
// feed-forward part between a block's two attentions. Every shape is compared; what does not fit is refused, never guessed.
import type { TensorRef } from '../graph/ir.ts';
import type { AdapterContents, AdapterModule } from './adapter.ts';
import { factorShapes } from './adapter-shapes.ts';
import type { AdapterTarget } from './lora-targets.ts';
import type { ExpertNetwork, NetworkModule } from './modules.ts';

type Tensors = ReadonlyMap<string, TensorRef>;

const positional = /^(unet|text_encoder):(\d{1,6}):(up|down)$/;
/** Metadata value that marks a textual-inversion vector. */
export const embedFlag = '<embed>';

/** Whether the file is of this family. */
export function isPositional(tensors: Tensors): boolean {
  for (const key of tensors.keys()) if (positional.test(key)) return true;
  return false;
}

type Found = Pick<AdapterContents, 'modules' | 'unmatched' | 'refused'>;

/** Finds the modules that the numbers mean. Keys of textual-inversion vectors are left to the caller. */
export function readPositional(
  tensors: Tensors,
  metadata: Readonly<Record<string, string>>,
  target: AdapterTarget,
): Found {
  const places: Record<ExpertNetwork, Map<number, { up?: TensorRef; down?: TensorRef }>> = {
    unet: new Map(),
    text_encoder: new Map(),
  };
  const unmatched: string[] = [];
  for (const [key, ref] of tensors) {
    const [, network, index, role] = positional.exec(key) ?? [];
    if (network === undefined) {
      unmatched.push(key);
      continue;
    }
    const list = places[network as ExpertNetwork];
    const place = list.get(Number(index)) ?? {};
    place[role as 'up' | 'down'] = ref;
    list.set(Number(index), place);
  }
  const modules: AdapterModule[] = [];
  const problems: string[] = [];
  for (const network of ['unet', 'text_encoder'] as const) {
    const list = places[network];
    if (list.size === 0) continue;
    const entries = Array.from({ length: list.size }, (_, i) => list.get(i));
    if (entries.some((entry) => entry?.up === undefined || entry.down === undefined)) {
      const at = entries.findIndex((entry) => entry?.up === undefined || entry.down === undefined);
      problems.push(`The numbered layers of its ${wordsOf[network]} have a gap at ${at}.`);
      continue;
    }
    const whole = entries as readonly { readonly up: TensorRef; readonly down: TensorRef }[];
    const fit = numbering(network, whole, metadata[network], target);
    if (typeof fit === 'string') problems.push(fit);
    else modules.push(...fit);
  }
  if (problems.length === 0) return { modules, unmatched, refused: [] };
  const count = places.unet.size + places.text_encoder.size;
  const message = `${problems.join(' ')} Numbered layers mean nothing in another model, so none is used.`;
  return { modules: [], unmatched, refused: [{ kind: 'numbered layers', count, message }] };
}

const wordsOf: Readonly<Record<ExpertNetwork, string>> = { unet: 'UNet', text_encoder: 'text encoder' };

interface Entry {
  readonly up: TensorRef;
  readonly down: TensorRef;
}

function numbering(
  network: ExpertNetwork,
  entries: readonly Entry[],
  listed: string | undefined,
  target: AdapterTarget,
): readonly AdapterModule[] | string {
  const classes = classesOf(network, listed);
  if (typeof classes === 'string') return classes;
  const orders =
    network === 'unet' ? unetOrders(target.unet, classes) : [textEncoderOrder(target.textEncoder, classes)];
  let [nearest, closest] = ['', -1];
  for (const order of orders) {
    if (order.length !== entries.length) continue;
    const made: AdapterModule[] = [];
    for (const [i, module] of order.entries()) {
      const { up, down } = entries[i]!;
      const shapes = factorShapes(module, 'lora', { up, down });
      if (typeof shapes === 'string') {
        if (i > closest) {
          [nearest, closest] = [`layer ${i} would be ${module.name}, but ${shapes}`, i];
        }
        break;
      }
      const layer = `${network}:${i}`;
      made.push({ module, layer, algorithm: 'lora', tensors: { up, down }, rank: shapes.rank });
    }
    // No two orders fit: a feed-forward projection is eight times as wide as an attention's.
    if (made.length === order.length) return made;
  }
  const words = wordsOf[network];
  if (closest >= 0) return `The numbered layers of its ${words} do not fit this model: ${nearest}.`;
  const counts = [...new Set(orders.map(({ length }) => length))].join(' or ');
  return `It numbers ${entries.length} layers of its ${words}, this model has ${counts} of the kinds it lists.`;
}

const defaults: Readonly<Record<ExpertNetwork, readonly string[]>> = {
  unet: ['CrossAttention', 'Attention', 'GEGLU'],
  text_encoder: ['CLIPAttention'],
};
const known: Readonly<Record<ExpertNetwork, readonly string[]>> = {
  unet: [...defaults.unet, 'ResnetBlock2D'],
  text_encoder: [...defaults.text_encoder, 'CLIPSdpaAttention'],
};

function classesOf(network: ExpertNetwork, listed: string | undefined): ReadonlySet<string> | string {
  if (listed === undefined) return new Set(defaults[network]);
  const odd = `The classes that its ${wordsOf[network]} layers are numbered by`;
  let names: unknown;
  try {
    names = listed.length > 10_000 ? undefined : JSON.parse(listed);
  } catch {
    names = undefined;
  }
  if (!Array.isArray(names)) return `${odd} cannot be read.`;
  const strange: unknown = names.find((name) => typeof name !== 'string' || !known[network].includes(name));
  if (strange !== undefined) return `${odd} include ${JSON.stringify(strange).slice(0, 60)}, which is not known here.`;
  return new Set(names as readonly string[]);
}

/** The part of a UNet's path that says where in the traversal it comes, and its class's place in the block. */
const parts = /^(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.(attentions|resnets)\.(\d+)\.(.+)$/;
const blockOrder = ['down_blocks', 'up_blocks', 'mid_block'];
const inBlock = ['attentions', 'resnets'];
const inAttention = ['to_q', 'to_k', 'to_v', 'to_out.0'];
const inResnet = ['conv1', 'time_emb_proj', 'conv2', 'conv_shortcut'];

/**
 * Modules under `classes` in cloneofsimo's numbering, each order that diffusers has had: today's, then the old one; with
 * residual blocks, their convolutions belong to it or not (the `extended` variant).
 */
export function unetOrders(
  modules: readonly NetworkModule[],
  classes: ReadonlySet<string>,
): readonly (readonly NetworkModule[])[] {
  const attention = classes.has('CrossAttention') || classes.has('Attention');
  const order = (units: readonly string[], convolutions: boolean): readonly NetworkModule[] =>
    modules
      .flatMap((module) => {
        const [, block, level = '0', list, index, rest] = parts.exec(module.name) ?? [];
        if (block === undefined || (module.kind === 'conv' && !convolutions)) return [];
        const at = [blockOrder.indexOf(block), Number(level), inBlock.indexOf(list!), Number(index)];
        const [, transformer = '0', unit, leaf = ''] =
          /^transformer_blocks\.(\d+)\.(attn1|attn2|ff)\.(.+)$/.exec(rest!) ?? [];
        if (unit === undefined) {
          const place = list === 'resnets' && classes.has('ResnetBlock2D') ? inResnet.indexOf(rest!) : -1;
          return place < 0 ? [] : [{ module, at: [...at, 0, 0, place] }];
        }
        const place =
          unit === 'ff'
            ? classes.has('GEGLU') && leaf === 'net.0.proj'
              ? 0
              : -1
            : attention
              ? inAttention.indexOf(leaf)
              : -1;
        return place < 0 ? [] : [{ module, at: [...at, Number(transformer), units.indexOf(unit), place] }];
      })
      .sort((a, b) => compare(a.at, b.at))
      .map(({ module }) => module);
  const today = ['attn1', 'attn2', 'ff'];
  const old = ['attn1', 'ff', 'attn2'];
  const withConvolutions = classes.has('ResnetBlock2D') ? [true, false] : [false];
  return withConvolutions.flatMap((convolutions) => [order(today, convolutions), order(old, convolutions)]);
}

const inTextAttention = ['k_proj', 'v_proj', 'q_proj', 'out_proj'];

/** The text encoder's numbering: transformers registers k, v, q, out. */
export function textEncoderOrder(
  modules: readonly NetworkModule[],
  classes: ReadonlySet<string>,
): readonly NetworkModule[] {
  if (classes.size === 0) return [];
  return modules
    .flatMap((module) => {
      const [, layer, leaf] = /\.layers\.(\d+)\.self_attn\.(\w+)$/.exec(module.name) ?? [];
      return layer === undefined ? [] : [{ module, at: [Number(layer), inTextAttention.indexOf(leaf!)] }];
    })
    .sort((a, b) => compare(a.at, b.at))
    .map(({ module }) => module);
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}
