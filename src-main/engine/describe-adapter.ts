// The report card of a LoRA or one of its relatives, from its header and its sidecars alone: what it is for, what of it
// fits, what is left out and why. A file that cannot be used gets a card too.
import { basename } from 'node:path';
import type { AdapterReport, EmbeddingReport } from '../contract/files.ts';
import type { SafetensorsHeader } from '../formats/safetensors.ts';
import { readScalars } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import type { AdapterContents, AdapterModule } from '../networks/adapter.ts';
import { adapterBase, baseOfWidth, type AdapterBase } from '../networks/lora-base.ts';
import { adapterKey } from '../networks/lora-keys.ts';
import { readAdapter } from '../networks/lora-names.ts';
import type { AdapterTarget } from '../networks/lora-targets.ts';
import { textEncoderModules, unetModules } from '../networks/modules.ts';
import { SD15, SD21 } from '../networks/sd-configs.ts';
import { adapterFacts } from './adapter-facts.ts';
import type { ExpertBase } from './open-expert.ts';
import { findSidecars } from './sidecars.ts';
import { findThumbnail } from './thumbnail.ts';

export interface DescribedAdapter {
  readonly base: AdapterBase;
  /** Naming family, as FileReport's. */
  readonly family: string;
  readonly adapter: AdapterReport;
  readonly embeddings: readonly EmbeddingReport[];
  readonly problems: readonly string[];
}

export interface DescribeOptions {
  /** The model to compare with; by default the one that the adapter says it is for. */
  readonly model?: ExpertBase | undefined;
  /** A PEFT folder's adapter_config.json, parsed. */
  readonly config?: unknown;
}

const mostNames = 100;
const longestName = 300;
/** Ranks that a change of full rank keeps, as mole/factors.ts does unless told otherwise. */
const mostRank = 64;

/** Describes the adapter with this `header`. Throws SafetensorsError when the file changes meanwhile. */
export async function describeAdapter(
  { file, tensors, metadata }: SafetensorsHeader,
  { model, config }: DescribeOptions = {},
): Promise<DescribedAdapter> {
  const base = adapterBase(tensors, metadata);
  const sidecars = await findSidecars(file);
  const thumbnail = await findThumbnail(file, metadata, sidecars);
  const { warnings, ...facts } = adapterFacts(metadata, sidecars);
  const target = targetOf(base, model);
  // Names tell the kinds that are refused even where there is no model to compare with.
  const read = readAdapter(tensors, metadata, target ?? sdTarget(SD15), config);
  const contents = target === undefined ? { ...read, modules: [], misshapen: [], unmatched: [] } : read;
  const { modules } = contents;
  const unmatched = contents.unmatched.map(cut);
  const lost = new Set(contents.unmatched.map((key) => adapterKey(key)?.layer ?? key));
  for (const entry of modules) lost.delete(entry.layer);
  const refusedCount = contents.refused.reduce((sum, { count }) => sum + count, 0);
  const ranks = modules.filter((entry) => !isWhole(entry)).map(({ rank }) => rank);
  return {
    base,
    family: read.family,
    adapter: {
      algorithms: algorithmsOf(modules),
      ...range('ranks', ranks),
      ...range('alphas', await alphasOf(modules)),
      modulesMatched: modules.length,
      modulesTotal: modules.length + contents.misshapen.length + refusedCount + lost.size,
      unmatched: unmatched.slice(0, mostNames),
      unmatchedTotal: unmatched.length,
      textEncoder: modules.some(({ module }) => module.network === 'text_encoder'),
      truncatedModules: modules.filter((entry) => rankOfDelta(entry) > mostRank).length,
      refusedKinds: contents.refused,
      ...facts,
      ...(thumbnail === undefined ? {} : { thumbnail }),
      sidecars: sidecars.files,
      warnings: [...base.warnings, ...contents.warnings, ...contents.misshapen.slice(0, 8), ...warnings],
    },
    embeddings: [...contents.embeddings].map(([token, ref]) => embeddingOf(cut(token), ref)),
    problems: problemsOf(base, model, contents, target !== undefined),
  };
}

/** The words of a textual-inversion file: each tensor is one, called by the file's name. */
export function describeEmbedding({ file, tensors }: SafetensorsHeader): readonly EmbeddingReport[] {
  const token = basename(file).replace(/\.\w+$/, '');
  return [...tensors.values()].filter(({ shape }) => shape.length === 1 || shape.length === 2).map((ref) => embeddingOf(token, ref)); // prettier-ignore
}

const embeddingOf = (token: string, { shape }: TensorRef): EmbeddingReport => ({
  token,
  vectors: shape.length === 1 ? 1 : shape[0]!,
  width: shape.at(-1)!,
});

/** What to match names against; undefined for a design that is not known here, or a size of which no model was named. */
function targetOf({ model, textWidth }: AdapterBase, given: ExpertBase | undefined): AdapterTarget | undefined {
  if (model === 'other') return undefined;
  if (given !== undefined) {
    const { unet, textEncoder } = given;
    if (textWidth !== undefined && textWidth !== unet.config.crossAttentionDim) return undefined;
    return sdTarget({ unet: unet.config, text: textEncoder.config });
  }
  return model === 'custom' ? undefined : sdTarget(model === 'sd2' ? SD21 : SD15);
}

const targets = new WeakMap<object, AdapterTarget>();

function sdTarget({ unet, text }: Pick<typeof SD15, 'unet' | 'text'>): AdapterTarget {
  const known = targets.get(unet);
  if (known !== undefined) return known;
  const target = { unet: unetModules(unet), textEncoder: textEncoderModules(text), unetConfig: unet };
  targets.set(unet, target);
  return target;
}

function problemsOf(
  base: AdapterBase,
  model: ExpertBase | undefined,
  { modules, refused, misshapen, unmatched, embeddings }: AdapterContents,
  compared: boolean,
): readonly string[] {
  if (base.model === 'other') {
    return [
      `It is for ${base.name ?? 'another model'} (${base.evidence}); this program runs LoRAs for SD 1.x and 2.x.`,
    ];
  }
  const refusals = refused.map(({ message }) => message);
  if (!compared) {
    if (model === undefined) {
      return [
        ...refusals,
        `It is for ${base.name ?? 'a model of its own size'}: name that model to compare its layers with it.`,
      ];
    }
    const width = model.unet.config.crossAttentionDim;
    const needs = baseOfWidth(width) ?? `a LoRA trained for it (text ${width} wide)`;
    return [
      `It is for ${base.name ?? 'another model'} (${base.evidence}); ${JSON.stringify(model.name)} needs ${needs}.`,
    ];
  }
  const needing = model === undefined ? (base.name ?? 'SD 1.x') : JSON.stringify(model.name);
  if (modules.length > 0) return refusals;
  if (refused.length > 0) return [...refusals, 'Nothing of it can be used.'];
  if (misshapen.length > 0) return [`None of its ${misshapen.length} layers has the shape that ${needing} needs.`];
  if (unmatched.length > 0) return [`None of its names belongs to a layer of ${needing}.`];
  return embeddings.size > 0 ? [] : ['It holds nothing that changes a layer.'];
}

/** 'LoRA', 'LoCon', ... by the number of layers. */
function algorithmsOf(modules: readonly AdapterModule[]): readonly string[] {
  const names = { tucker: 'LoCon (Tucker)', loha: 'LoHa', lokr: 'LoKr', full: 'full' } as const;
  const counts = new Map<string, number>();
  for (const { algorithm, module } of modules) {
    const name = algorithm === 'lora' ? (module.kernel > 1 ? 'LoCon' : 'LoRA') : names[algorithm];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a).map(([name]) => name);
}

/** Whether nothing in the layer is decomposed, so that it has no rank of its own. */
const isWhole = ({ algorithm, tensors }: AdapterModule): boolean =>
  algorithm === 'full' || (algorithm === 'lokr' && 'w1' in tensors && 'w2' in tensors);

/** Rank of the layer's delta, where it does not hold its factors itself: what is more than 64 is cut. */
function rankOfDelta({ algorithm, module, tensors, rank }: AdapterModule): number {
  const full = Math.min(module.outFeatures, module.inFeatures * module.kernel ** 2);
  const side = (name: string): number => {
    const whole = tensors[name]?.shape;
    const decomposed = tensors[`${name}_b`]?.shape[0] ?? 1;
    return whole === undefined
      ? decomposed
      : Math.min(
          whole[0]!,
          whole.slice(1).reduce((a, b) => a * b, 1),
        );
  };
  if (algorithm === 'full') return full;
  if (algorithm === 'lokr') return Math.min(full, side('w1') * side('w2'));
  if (algorithm === 'loha') return Math.min(full, rank * side('w2'));
  return 0;
}

/** Alphas in the file; 0, as trainers write where none was set, counts as the rank. */
async function alphasOf(modules: readonly AdapterModule[]): Promise<readonly number[]> {
  const stored = modules.filter(({ alpha }) => alpha !== undefined && typeof alpha !== 'number');
  const values = await readScalars(stored.map(({ alpha }) => alpha as TensorRef));
  const given = modules.flatMap(({ alpha, rank }) => (typeof alpha === 'number' ? [alpha === 0 ? rank : alpha] : []));
  return [...given, ...values.map((value, i) => (value === 0 ? stored[i]!.rank : value))].filter(Number.isFinite);
}

function range<Name extends string>(
  name: Name,
  values: readonly number[],
): { readonly [Key in Name]?: readonly [number, number] } {
  if (values.length === 0) return {};
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  return { [name]: [least, most] } as unknown as { [Key in Name]: readonly [number, number] };
}

const cut = (name: string): string => (name.length > longestName ? `${name.slice(0, longestName - 3)}...` : name);
