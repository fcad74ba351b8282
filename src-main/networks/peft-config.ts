// What a PEFT config says about scale: of a folder's adapter_config.json, or of the metadata key `lora_adapter_metadata` that
// diffusers writes, whose fields carry the network's name in front ("unet.r"). Hostile until checked: patterns are compared
// as text, never run as the regular expressions that PEFT takes them for.
// PEFT's rule (peft.utils.get_pattern_key): the first pattern that is the end of the module's path counts.
import type { ExpertNetwork } from './modules.ts';

/** Scale of one module by its config. */
export interface PeftScale {
  readonly alpha: number;
  readonly rsLora: boolean;
  /** Rank that the config gives the module. */
  readonly rank?: number;
}

/** A config, understood. */
export interface PeftConfig {
  /** 'LORA', 'LOHA', ... in capitals; undefined where the config does not say. */
  readonly type?: string;
  /** undefined where the config says nothing of the network. */
  scaleOf(network: ExpertNetwork, path: string): PeftScale | undefined;
  readonly warnings: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

const longestMetadata = 2_000_000;
const longestPattern = 300;
const mostPatterns = 10_000;

/** Understands a parsed adapter_config.json. Never throws. */
export function peftConfig(value: unknown): PeftConfig {
  const fields = isFields(value) ? value : {};
  const type = typeof fields['peft_type'] === 'string' ? fields['peft_type'].slice(0, 30).toUpperCase() : undefined;
  const scales = scalesOf(fields);
  return {
    ...(type === undefined ? {} : { type }),
    scaleOf: (_, path) => scales?.scaleOf(path),
    warnings: scales?.warnings ?? [],
  };
}

/** Understands the value of `lora_adapter_metadata`. Never throws. */
export function peftMetadata(text: string): PeftConfig {
  const fields = parse(text);
  if (fields === undefined) {
    const warnings = ['Its PEFT config (lora_adapter_metadata) was not understood; every scale counts as 1.'];
    return { scaleOf: () => undefined, warnings };
  }
  const of = (network: ExpertNetwork): Scales | undefined => {
    const own = Object.entries(fields).filter(([key]) => key.startsWith(`${network}.`));
    return scalesOf(Object.fromEntries(own.map(([key, value]) => [key.slice(network.length + 1), value])));
  };
  const scales = { unet: of('unet'), text_encoder: of('text_encoder') };
  return {
    scaleOf: (network, path) => scales[network]?.scaleOf(path),
    warnings: [...(scales.unet?.warnings ?? []), ...(scales.text_encoder?.warnings ?? [])],
  };
}

interface Scales {
  scaleOf(path: string): PeftScale;
  readonly warnings: readonly string[];
}

function scalesOf(fields: Fields): Scales | undefined {
  // LoHa's and LoKr's configs call it alpha.
  const alpha = finite(fields['lora_alpha']) ?? finite(fields['alpha']);
  if (alpha === undefined) return undefined;
  const rank = finite(fields['r']);
  const rsLora = fields['use_rslora'] === true;
  const alphas = patternsOf(fields['alpha_pattern']);
  const ranks = patternsOf(fields['rank_pattern']);
  const odd = alphas.odd + ranks.odd;
  return {
    scaleOf: (path) => {
      const ownRank = match(ranks.known, path) ?? rank;
      return {
        alpha: match(alphas.known, path) ?? alpha,
        rsLora,
        ...(ownRank === undefined ? {} : { rank: ownRank }),
      };
    },
    warnings: odd === 0 ? [] : [`${odd} patterns of its PEFT config were not understood and do not count.`],
  };
}

interface Pattern {
  readonly path: string;
  /** `^` in front: the whole path. */
  readonly whole: boolean;
  readonly value: number;
}

function patternsOf(value: unknown): { readonly known: readonly Pattern[]; readonly odd: number } {
  if (!isFields(value)) return { known: [], odd: 0 };
  const entries = Object.entries(value);
  const known = entries.slice(0, mostPatterns).flatMap(([key, given]): Pattern[] => {
    const number = finite(given);
    const plain = key.replace(/^\^/, '').replace(/\$$/, '').replaceAll('\\.', '.');
    if (number === undefined || key.length > longestPattern || !/^[\w.-]+$/.test(plain)) return [];
    return [{ path: plain, whole: key.startsWith('^'), value: number }];
  });
  return { known, odd: entries.length - known.length };
}

const match = (patterns: readonly Pattern[], path: string): number | undefined =>
  patterns.find((pattern) => path === pattern.path || (!pattern.whole && path.endsWith(`.${pattern.path}`)))?.value;

const finite = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parse(text: string): Fields | undefined {
  if (text.length > longestMetadata) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
