// The artist's stack on its way into the graph: which experts speak at a step, how loud in which row of the network, under which
// mode. Everything here is inputs of the graph; nothing rebuilds it but a kind of layer that no expert has targeted before.
import type { Branch } from '../diffusion/guidance.ts';
import { atLeastOne, factorFeeds, type Layers } from '../mole/expert-feeds.ts';
import { expertInput, type ExpertGraph } from '../mole/expert-layers.ts';
import type { Expert } from '../mole/expert.ts';
import type { GateGroup } from '../mole/groups.ts';
import { gateFeeds, groupsOf, specIn, zeroParameters, type TrainedGate } from '../mole/trained-gate.ts';
import type { ExpertNetwork, NetworkModule } from '../networks/modules.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { LearnedWords } from '../text/learned-words.ts';

export const mixtureModes = ['mole', 'sum', 'normalised', 'manual', 'switch', 'composite', 'ssr', 'np'] as const;
/**
 * `mole`: learned gates. `sum`: strengths as they are. `normalised`: strengths that together exceed 1 are scaled back to 1.
 * `manual`: strengths times block weights. `switch`, `composite`: one expert at a time, in turn over the steps or averaged over
 * predictions (Zhong et al. 2024, arXiv:2402.16843). `ssr`, `np`: closed-form merges, computed before.
 */
export type MixtureMode = (typeof mixtureModes)[number];

/** One row of the artist's stack. */
export interface StackEntry {
  readonly expert: Expert;
  /** Strength in the UNet at a step (from 0) of `steps`; negative and above 1 too. */
  readonly weight: (step: number, steps: number) => number;
  readonly textWeight: number;
  /** Factor of a row (IN01, MID…; BASE is the text encoder). */
  readonly block: (row: string) => number;
  readonly muted: boolean;
  readonly solo: boolean;
  /**
   * Share of the strength in the unconditional branch; the gate's, or 1, unless given. An expert that is silent there is guided toward
   * like the prompt (asymmetric guidance of CRAFT-LoRA, arXiv:2602.18936).
   */
  readonly unguided?: number;
}

export interface MixtureOptions {
  readonly mode: MixtureMode;
  /** With mode `mole`: its experts are those of the entries, in the same order. */
  readonly gate?: TrainedGate;
  /** What a picture's metadata says of the mixture: experts by name and hash, never by path, in the artist's order. */
  readonly record?: Readonly<Record<string, unknown>> | undefined;
  /** Who may speak in a row, per entry, instead of mute and solo. */
  readonly masks?: Readonly<Record<string, readonly boolean[]>>;
  /** Gates (or, without gates, strengths) set by hand in a row, per entry; null leaves them as they are. */
  readonly overrides?: Readonly<Record<string, readonly (number | null)[]>> | undefined;
  /** Steps between turns of mode `switch`. */
  readonly switchEvery?: number;
  /** Words that the prompt may use beside the vocabulary's, and their vectors [E, D]. */
  readonly learned?: Learned | undefined;
}

/** Learned words and the table that their ids point into, from the vocabulary's size on. */
export interface Learned {
  readonly words: LearnedWords;
  readonly table: FloatTensor;
}

/** The rows of a network and the row of each of its layers. */
export interface Rows {
  readonly names: readonly string[];
  readonly rowOf: (module: string) => string;
}

/** Layers that trainers target together; a graph that carries one of a kind carries all of it. */
export function kindOf({ name }: NetworkModule): string {
  if (/\.(attn[12]|self_attn)\./.test(name)) return 'attention';
  if (/\.(ff|mlp)\./.test(name)) return 'feed-forward';
  if (/\.proj_(in|out)$/.test(name)) return 'projection';
  if (name.includes('.resnets.')) return 'resnet';
  if (name.includes('samplers.')) return 'sampler';
  return 'ends';
}

/** What one network needs of a mixture. */
export interface NetworkMixture {
  /** Equal keys mean graphs that differ in nothing. */
  readonly key: string;
  readonly graph: ExpertGraph;
  /** Factors and gate parameters: the same for every step. */
  readonly fixed: Record<string, FloatTensor>;
  readonly groups: readonly GateGroup[];
}

export class Mixture {
  readonly entries: readonly StackEntry[];
  readonly mode: MixtureMode;
  readonly gate: TrainedGate | undefined;
  readonly #options: MixtureOptions;

  constructor(entries: readonly StackEntry[], options: MixtureOptions) {
    this.entries = entries;
    this.mode = options.mode;
    this.gate = options.mode === 'mole' ? options.gate : undefined;
    this.#options = options;
  }

  /** What a picture's metadata says of the mixture; undefined where there is nothing to say. */
  get record(): Readonly<Record<string, unknown>> | undefined {
    return this.#options.record;
  }

  /** Learned words of the prompt. */
  get learned(): Learned | undefined {
    return this.#options.learned;
  }

  /** Bytes of all factors, as read and as they are fed. */
  get bytes(): number {
    const numbers = this.entries.flatMap(({ expert: { layers } }) =>
      [...layers.unet.values(), ...layers.text_encoder.values()].map(
        ({ down, up }) => down.data.length + up.data.length,
      ),
    );
    return 2 * 4 * numbers.reduce((sum, count) => sum + count, 0);
  }

  /** True when some expert speaks in the text encoder. */
  get speaksInText(): boolean {
    return this.entries.some(({ expert }) => expert.layers.text_encoder.size > 0);
  }

  /**
   * Who speaks: by mute and solo, or by the row's own mask. Solo wins over mute, as on a mixing desk.
   */
  speaks(row: string): readonly boolean[] {
    const own = this.#options.masks?.[row];
    if (own !== undefined) return this.entries.map((_, i) => own[i] ?? true);
    const anySolo = this.entries.some(({ solo }) => solo);
    return this.entries.map(({ muted, solo }) => (anySolo ? solo : !muted));
  }

  /** True when some gate or strength is set by hand. */
  get isOverridden(): boolean {
    return Object.values(this.#options.overrides ?? {}).some((row) => row.some((value) => value !== null));
  }

  /** What is set by hand in a row, per entry. */
  overridesOf(row: string): readonly (number | undefined)[] {
    const own = this.#options.overrides?.[row];
    return this.entries.map((_, i) => own?.[i] ?? undefined);
  }

  /**
   * The experts that speak in one prediction of a step: all of them (undefined), or with `switch` and `composite` one at a time.
   * Predictions of several passes are averaged.
   */
  passes(step: number): readonly (number | undefined)[] {
    if (this.mode !== 'switch' && this.mode !== 'composite') return [undefined];
    const present = this.speaks('').flatMap((on, i) => (on ? [i] : []));
    if (present.length === 0) return [undefined];
    if (this.mode === 'composite') return present;
    return [present[Math.floor(step / (this.#options.switchEvery ?? 5)) % present.length]];
  }

  /**
   * Graph and fixed feeds of `network`, whose layers that run are `modules`; `carried` kinds get a branch in any case, and with
   * `overridable` gates can be set by hand from step to step.
   */
  network(
    network: ExpertNetwork,
    modules: readonly NetworkModule[],
    rows: Rows,
    carried: ReadonlySet<string> = new Set(),
    overridable = this.isOverridden,
  ): NetworkMixture {
    const layers: Layers = this.entries.map(({ expert }) => expert.layers[network]);
    const kinds = new Set(carried);
    for (const module of modules) if (layers.some((layer) => layer.has(module.name))) kinds.add(kindOf(module));
    const carrying = modules.filter((module) => kinds.has(kindOf(module)));
    const index = new Map(rows.names.map((name, i) => [name, i]));
    const base = {
      modules: new Map(carrying.map((module) => [module.name, module])),
      rows: rows.names.length,
      rowOf: (module: string): number => index.get(rows.rowOf(module))!,
    };
    const fixed = factorFeeds(carrying, layers);
    const key = [...kinds].sort().join(' ');
    if (this.gate === undefined) return { key, graph: base, fixed, groups: [] };
    // A gate file without this network: what its experts say there is mixed evenly.
    const known = this.gate.networks[network];
    const spec = known === undefined ? uniformSpec : specIn(this.gate.spec, network);
    const groups = groupsOf(modules, layers, spec);
    if (groups.length === 0) return { key, graph: base, fixed, groups };
    const gate =
      known === undefined
        ? { ...this.gate, spec, networks: { [network]: zeroParameters(groups, spec, layers.length) } }
        : this.gate;
    Object.assign(fixed, gateFeeds(gate, network, groups, layers));
    const members = groups.map(({ name, members }) => `${name}:${members.length}`).join(' ');
    return {
      key: `${key} | ${JSON.stringify(spec)} ${members}${overridable ? ' | overridable' : ''}`,
      graph: { ...base, gate: { spec, groups, overridable } },
      fixed,
      groups,
    };
  }

  /**
   * What changes from step to step and between the branches of guidance: the weights [rows, N], masks [rows, N] and, for gates, what is
   * set by hand. `alone` lets one expert speak.
   */
  weights(
    network: ExpertNetwork,
    rows: Rows,
    step: number,
    steps: number,
    alone?: number,
    branch: Branch = 'conditional',
  ): Record<string, FloatTensor> {
    const asymmetric = branch === 'unconditional' && network === 'unet';
    const shares = this.entries.map(({ unguided }, i) =>
      asymmetric ? (unguided ?? this.gate?.unguided?.[i] ?? 1) : 1,
    );
    const count = atLeastOne(this.entries.length);
    const weights = new Float32Array(rows.names.length * count);
    const masks = new Float32Array(rows.names.length * count);
    const free = new Float32Array(rows.names.length * count).fill(1);
    const overrides = new Float32Array(rows.names.length * count);
    rows.names.forEach((row, r) => {
      const speaks = this.speaks(row);
      const byHand = this.overridesOf(row);
      const strengths = this.entries.map(({ weight, textWeight, block }, i) => {
        const strength = network === 'unet' ? weight(step, steps) : textWeight;
        const heard = this.mode === 'sum' ? strength : strength * block(row);
        const on = speaks[i]! && (alone === undefined || alone === i);
        masks[r * count + i] = on ? 1 : 0;
        if (byHand[i] !== undefined) {
          free[r * count + i] = 0;
          overrides[r * count + i] = on ? byHand[i] : 0;
        }
        return on || this.gate !== undefined ? heard : 0;
      });
      const sizeOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + Math.abs(value), 0);
      const set = byHand.map((value, i) => (value === undefined || !speaks[i]! ? 0 : value));
      const rest = Math.max(0, 1 - sizeOf(set));
      const total = sizeOf(strengths.filter((_, i) => byHand[i] === undefined));
      const scale = this.mode === 'normalised' ? rest / Math.max(rest, total, tiny) : 1;
      strengths.forEach((strength, i) => {
        const own = this.gate === undefined && byHand[i] !== undefined ? overrides[r * count + i]! : strength * scale;
        weights[r * count + i] = own * shares[i]!;
      });
    });
    const shape = [rows.names.length, count];
    return {
      [expertInput.weights]: floatTensor(shape, weights),
      [expertInput.masks]: floatTensor(shape, masks),
      [expertInput.free]: floatTensor(shape, free),
      [expertInput.overrides]: floatTensor(shape, overrides),
    };
  }
}

/** An expert at the same strength in every step and row, neither muted nor solo. */
export const plainEntry = (expert: Expert, weight = 1, textWeight = weight): StackEntry => ({
  expert,
  weight: () => weight,
  textWeight,
  block: () => 1,
  muted: false,
  solo: false,
});

/** Nobody speaks. */
export const noExperts = new Mixture([], { mode: 'sum' });

/** Keeps a division finite where nothing is left to share. */
const tiny = 1e-30;

const uniformSpec = { granularity: 'network', form: 'pooled', amplitude: 'convex', timestep: false } as const;
