// From the names and shapes of a file's tensors to the modules that they change: every naming family of LoRA for Stable
// Diffusion, LyCORIS' algorithms included. No weight is read. What is not understood is listed, as ComfyUI does; what is
// understood and cannot be used is named.
import type { TensorRef } from '../graph/ir.ts';
import { elementCount, showShape } from '../tensor/shape.ts';
import type { AdapterAlgorithm, AdapterContents, AdapterModule } from './adapter.ts';
import { factorShapes } from './adapter-shapes.ts';
import { embedFlag, isPositional, readPositional } from './cloneofsimo.ts';
import { adapterKey, type AdapterKey } from './lora-keys.ts';
import { namesOfModules, type AdapterTarget, type NamedModule } from './lora-targets.ts';
import { peftConfig, peftMetadata, type PeftConfig } from './peft-config.ts';

type Tensors = ReadonlyMap<string, TensorRef>;
type Metadata = Readonly<Record<string, string>>;

/**
 * The adapter in `tensors` against the modules of `base`. `config` is a PEFT folder's adapter_config.json, parsed. Never
 * throws: wrong shapes, unknown names and unsupported kinds are in the answer.
 */
export function readAdapter(
  tensors: Tensors,
  metadata: Metadata,
  base: AdapterTarget,
  config?: unknown,
): AdapterContents {
  const { rest, embeddings, misshapen } = findEmbeddings(tensors, metadata, base);
  if (isPositional(rest)) {
    const found = readPositional(rest, metadata, base);
    return {
      family: 'cloneofsimo',
      ...found,
      modules: inRunOrder(found.modules, base),
      embeddings,
      misshapen,
      warnings: [],
    };
  }
  const { layers, unmatched } = groupByLayer(rest);
  const names = namesOfModules(base);
  const peft = peftOf(metadata, config);
  const families = new Map<string, number>();
  const refused = new Map<string, number>();
  const modules = new Map<string, AdapterModule>();
  for (const [name, layer] of layers) {
    const kind = unsupported(layer.roles);
    if (kind !== undefined) {
      refused.set(kind, (refused.get(kind) ?? 0) + 1);
      continue;
    }
    const found = names.get(name);
    if (found === undefined) {
      unmatched.push(...layer.keys);
      continue;
    }
    const family = familyOf(found, layer.style);
    const { module } = found;
    const made = moduleOf(module, name, layer, peft);
    if (made === undefined) {
      unmatched.push(...layer.keys);
      continue;
    }
    if (typeof made === 'string') {
      misshapen.push(`${shorten(name)}: ${made}.`);
      continue;
    }
    const id = `${module.network}/${module.name}`;
    if (modules.has(id)) {
      misshapen.push(`${shorten(name)}: ${module.name} is there already as ${shorten(modules.get(id)!.layer)}.`);
      continue;
    }
    modules.set(id, made);
    families.set(family, (families.get(family) ?? 0) + 1);
    const bias = layer.roles.get('diff_b');
    if (bias !== undefined) unmatched.push(`${name}.diff_b`);
  }
  const [most] = [...families].sort(([, a], [, b]) => b - a);
  return {
    family: most?.[0] ?? familyOfEndings(layers.values()),
    modules: inRunOrder([...modules.values()], base),
    unmatched,
    refused: [...refused].map(([kind, count]) => ({ kind, count, message: refusal(kind, count) })),
    embeddings,
    misshapen,
    warnings: peft?.warnings ?? [],
  };
}

interface Layer {
  readonly roles: Map<string, TensorRef>;
  readonly keys: string[];
  style: AdapterKey['style'];
}

function groupByLayer(tensors: Tensors): { readonly layers: ReadonlyMap<string, Layer>; readonly unmatched: string[] } {
  const layers = new Map<string, Layer>();
  const unmatched: string[] = [];
  for (const [key, ref] of tensors) {
    const parts = adapterKey(key);
    if (parts === undefined) {
      unmatched.push(key);
      continue;
    }
    const layer = layers.get(parts.layer) ?? { roles: new Map<string, TensorRef>(), keys: [], style: parts.style };
    layers.set(parts.layer, layer);
    if (layer.roles.has(parts.role) && parts.role !== 'glora' && parts.role !== 'oft') {
      unmatched.push(key);
      continue;
    }
    if (parts.style !== 'kohya') layer.style = parts.style;
    layer.roles.set(parts.role, ref);
    layer.keys.push(key);
  }
  return { layers, unmatched };
}

/** The module's change; what does not fit, in words; undefined when the layer holds nothing that changes its weight. */
function moduleOf(
  module: NamedModule['module'],
  name: string,
  { roles }: Layer,
  peft: PeftConfig | undefined,
): AdapterModule | string | undefined {
  const algorithm = algorithmOf(roles);
  if (algorithm === undefined) return undefined;
  const tensors = Object.fromEntries(
    rolesOf[algorithm].flatMap((role) => {
      const ref = roles.get(role);
      return ref === undefined ? [] : [[role.replace(/^kron_/, ''), ref]];
    }),
  );
  const shapes = factorShapes(module, algorithm, tensors);
  if (typeof shapes === 'string') return shapes;
  for (const role of ['alpha', 'scale']) {
    const ref = roles.get(role);
    if (ref !== undefined && elementCount(ref.shape) !== 1) {
      return `${role} is ${showShape(ref.shape)}, expected one number`;
    }
  }
  const [alpha, scale] = [roles.get('alpha'), roles.get('scale')];
  const said = alpha === undefined ? peft?.scaleOf(module.network, module.name) : undefined;
  // PEFT's LoKr divides by the config's rank even where nothing is decomposed.
  const rank = peft?.type === 'LOKR' ? (said?.rank ?? shapes.rank) : shapes.rank;
  const own = alpha ?? said?.alpha;
  return {
    module,
    layer: name,
    algorithm,
    tensors,
    rank,
    // LyCORIS writes an alpha beside an undecomposed LoKr, where it does not count; nor does it beside a full delta.
    ...(own === undefined || (isUndecomposed(algorithm, tensors) && peft?.type !== 'LOKR') ? {} : { alpha: own }),
    ...(scale === undefined ? {} : { scale }),
    ...(said?.rsLora === true ? { rsLora: true } : {}),
  };
}

const isUndecomposed = (algorithm: AdapterAlgorithm, tensors: Readonly<Record<string, TensorRef>>): boolean =>
  algorithm === 'full' || (algorithm === 'lokr' && Object.hasOwn(tensors, 'w1') && Object.hasOwn(tensors, 'w2'));

const rolesOf: Readonly<Record<AdapterAlgorithm, readonly string[]>> = {
  lora: ['down', 'up'],
  tucker: ['down', 'mid', 'up'],
  loha: ['w1_a', 'w1_b', 'w2_a', 'w2_b', 't1', 't2'],
  lokr: ['kron_w1', 'kron_w1_a', 'kron_w1_b', 'kron_w2', 'kron_w2_a', 'kron_w2_b', 'kron_t2'],
  full: ['diff'],
};

function algorithmOf(roles: ReadonlyMap<string, TensorRef>): AdapterAlgorithm | undefined {
  if (roles.has('mid')) return 'tucker';
  return (['lora', 'loha', 'lokr', 'full'] as const).find((one) => rolesOf[one].some((role) => roles.has(role)));
}

/** Kinds that need the base weights or multiply them, by the tensors that only they have. */
function unsupported(roles: ReadonlyMap<string, TensorRef>): string | undefined {
  if (roles.has('magnitude')) return 'DoRA';
  if (roles.has('oft')) return roles.get('oft')!.shape.length === 4 ? 'BOFT' : 'OFT';
  if (roles.has('on_input')) return 'IA3';
  if (roles.has('glora')) return 'GLoRA';
  if (roles.has('norm')) return 'norm';
  if (roles.has('set') || roles.has('reshape')) return 'replaced weights';
  return undefined;
}

const whys: Readonly<Record<string, string>> = {
  DoRA: 'it rescales the rows of the base weights',
  OFT: 'it rotates the base weights',
  BOFT: 'it rotates the base weights',
  IA3: 'it multiplies the base weights',
  GLoRA: 'it multiplies the base weights',
  norm: 'it changes normalisation layers',
  'replaced weights': 'it replaces weights of the base model',
};

const refusal = (kind: string, count: number): string =>
  `${count} ${count === 1 ? 'module is' : 'modules are'} ${kind}, which is not supported yet: ${whys[kind]!}, where an expert only adds to them.`;

function familyOf({ family }: NamedModule, style: AdapterKey['style']): string {
  return family ?? diffusersFamilies[style];
}

const diffusersFamilies: Readonly<Record<AdapterKey['style'], string>> = {
  PEFT: 'diffusers (PEFT)',
  processor: 'diffusers (processor)',
  linear_layer: 'diffusers (lora_linear_layer)',
  kohya: 'generic',
};

function familyOfEndings(layers: Iterable<Layer>): string {
  for (const { style } of layers) return style === 'kohya' ? 'kohya' : diffusersFamilies[style];
  return 'unknown';
}

function peftOf(metadata: Metadata, config: unknown): PeftConfig | undefined {
  if (config !== undefined) return peftConfig(config);
  const text = Object.hasOwn(metadata, 'lora_adapter_metadata') ? metadata['lora_adapter_metadata'] : undefined;
  return text === undefined ? undefined : peftMetadata(text);
}

/** Textual-inversion vectors: cloneofsimo marks their words in the metadata, A1111's bundles name them in the key. */
function findEmbeddings(
  tensors: Tensors,
  metadata: Metadata,
  { textEncoder }: AdapterTarget,
): { readonly rest: Tensors; readonly embeddings: Map<string, TensorRef>; readonly misshapen: string[] } {
  const width = textEncoder[0]?.inFeatures;
  const rest = new Map<string, TensorRef>();
  const embeddings = new Map<string, TensorRef>();
  const misshapen: string[] = [];
  for (const [key, ref] of tensors) {
    const [, bundled] = /^bundle_emb\.(.{1,200})\.string_to_param\.\*$/.exec(key) ?? [];
    const word = bundled ?? (Object.hasOwn(metadata, key) && metadata[key] === embedFlag ? key : undefined);
    if (word === undefined) rest.set(key, ref);
    else if (ref.shape.length >= 1 && ref.shape.length <= 2 && ref.shape.at(-1) === width) embeddings.set(word, ref);
    else misshapen.push(`The word ${shorten(word)} has shape ${showShape(ref.shape)}, expected [n, ${width ?? 0}].`);
  }
  return { rest, embeddings, misshapen };
}

function inRunOrder(modules: readonly AdapterModule[], { unet, textEncoder }: AdapterTarget): readonly AdapterModule[] {
  const place = new Map([...unet, ...textEncoder].map((module, i) => [module, i]));
  return [...modules].sort((a, b) => place.get(a.module)! - place.get(b.module)!);
}

const shorten = (text: string): string => JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text);
