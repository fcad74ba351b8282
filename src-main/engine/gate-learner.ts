// What learns in gate training: the gates of both networks, between the three forms they have: arrays for the optimiser, inputs of
// the graph, and the gate file.
import { FailureError } from '../contract/failure.ts';
import { foldPaperGate, unfoldPaperGradient, type Layers } from '../mole/expert-feeds.ts';
import { atRankOf, rankOf, type Expert, type LowRank } from '../mole/expert.ts';
import { gateInput, type GateSpec } from '../mole/gate.ts';
import type { GateGroup } from '../mole/groups.ts';
import { groupsOf, specIn, zeroParameters, type GroupParameters, type TrainedGate } from '../mole/trained-gate.ts';
import type { ExpertNetwork, NetworkModule } from '../networks/modules.ts';
import { transpose } from '../tensor/linear-algebra.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { Arrays } from '../training/optimizer.ts';
import type { LoadedModel } from './loaded-model.ts';
import { Mixture, plainEntry, type StackEntry } from './mixture.ts';
import type { TrainingImage } from './training-images.ts';
import type { TrainedNetwork } from './training-session.ts';

/** An expert of the stack and the prompts that are its own. */
export interface GateExpert {
  readonly expert: Expert;
  readonly weight: number;
  readonly textWeight: number;
  readonly prompts: readonly string[];
}

export function stackEntry({ expert, weight, textWeight }: GateExpert): StackEntry {
  return plainEntry(expert, weight, textWeight);
}

/** The gates of both networks between the file's form, the optimiser's arrays and the graph's inputs. */
export class GateLearner {
  readonly #model: LoadedModel;
  readonly #experts: readonly GateExpert[];
  readonly #stacks: readonly (readonly GateExpert[])[];
  readonly #spec: GateSpec;
  readonly #parts: readonly {
    readonly network: ExpertNetwork;
    readonly modules: readonly NetworkModule[];
    /** One per stack. */
    readonly layers: readonly Layers[];
    readonly groups: readonly GateGroup[];
  }[];
  readonly #tokens: (group: GateGroup) => number;
  readonly #textGates: boolean;
  readonly #listens: boolean;

  /**
   * `others` are further stacks that one gate learns from, in the roles of `experts`; `images` say which they teach.
   * Gates that do not listen leave what they make of the experts' outputs at zero. Throws a FailureError 'bad-request' when a
   * stack has another number of experts.
   */
  constructor(
    model: LoadedModel,
    experts: readonly GateExpert[],
    spec: GateSpec,
    images: readonly TrainingImage[],
    {
      textGates = true,
      listens = true,
      others = [],
    }: {
      readonly textGates?: boolean;
      readonly listens?: boolean;
      readonly others?: readonly (readonly GateExpert[])[];
    } = {},
  ) {
    this.#model = model;
    this.#stacks = alike([experts, ...others]);
    this.#experts = this.#stacks[0]!;
    this.#spec = spec;
    this.#textGates = textGates;
    this.#listens = listens;
    const modulesOf = {
      unet: model.unetModules,
      text_encoder: model.textModules,
    };
    this.#parts = (['unet', 'text_encoder'] as const).flatMap((network) => {
      const layers = this.#stacks.map((stack) => stack.map(({ expert }) => expert.layers[network]));
      const groups = groupsOf(modulesOf[network], layers[0]!, spec);
      return groups.length === 0 ? [] : [{ network, modules: modulesOf[network], layers, groups }];
    });
    this.#tokens = tokensOf(model, images[0]!, spec);
    if (spec.form === 'paper' && new Set(images.map(({ bucket }) => bucket)).size > 1) {
      throw new FailureError({
        kind: 'bad-request',
        message:
          "The paper's form has a number for every position, so all pictures must have one size: leave --buckets out, or choose the pooled form.",
      });
    }
  }

  get parameterCount(): number {
    return Object.values(this.start()).reduce((sum, { length }) => sum + length, 0);
  }

  /** Zeros: the uniform mix; with a free amplitude as loud as the plain sum, for at 1/N of it a stack has little to say. */
  start(): Arrays {
    const arrays: Record<string, Float32Array> = {};
    for (const { network, groups } of this.#trained()) {
      const spec = specIn(this.#spec, network);
      for (const { name, weight, timestep } of zeroParameters(groups, spec, this.#experts.length, this.#tokens)) {
        if (this.#listens) arrays[`${network}/${gateInput.weight(name)}`] = weight.data;
        if (timestep !== undefined) arrays[`${network}/${gateInput.timestep(name)}`] = timestep.data;
      }
      arrays[`${network}/${gateInput.logTemperature}`] = new Float32Array(groups.length);
      if (spec.amplitude === 'free') {
        arrays[`${network}/${gateInput.logGain}`] = new Float32Array(groups.length).fill(
          Math.log(this.#experts.length),
        );
      }
    }
    return arrays;
  }

  #trained() {
    return this.#parts.filter(({ network }) => network === 'unet' || this.#textGates);
  }

  networks(): { readonly unet: TrainedNetwork; readonly text: TrainedNetwork | undefined } {
    const part = (network: ExpertNetwork): TrainedNetwork | undefined => {
      const found = this.#parts.find((candidate) => candidate.network === network);
      if (found === undefined) return undefined;
      const trained = this.#trained().includes(found);
      const rows = this.#model.rows(network);
      const gate = this.gate(this.start());
      const mixtures = this.#stacks.map((stack) => new Mixture(stack.map(stackEntry), { mode: 'mole', gate }));
      const parts = mixtures.map((mixture) => mixture.network(network, found.modules, rows));
      const learnt = new Set(trained ? this.#inputs(network) : []);
      return {
        graph: parts[0]!.graph,
        fixed: parts.map(({ fixed }) =>
          Object.fromEntries(Object.entries(fixed).filter(([name]) => !learnt.has(name))),
        ),
        strengths: mixtures[0]!.weights(network, rows, 0, 1),
        trainables: [...learnt],
      };
    };
    return { unet: part('unet')!, text: part('text_encoder') };
  }

  /** Graph inputs that hold the gates of a network. */
  #inputs(network: ExpertNetwork): readonly string[] {
    const { groups } = this.#parts.find((part) => part.network === network)!;
    const spec = specIn(this.#spec, network);
    return [
      ...groups.flatMap((group) => [
        ...(!this.#listens
          ? []
          : spec.form === 'pooled'
            ? [gateInput.weight(group.name)]
            : group.readers.map(({ name }) => gateInput.folded(name))),
        ...(spec.timestep ? [gateInput.timestep(group.name)] : []),
      ]),
      gateInput.logTemperature,
      ...(spec.amplitude === 'free' ? [gateInput.logGain] : []),
    ];
  }

  /** What the graphs are fed of `parameters` with the experts of a stack. */
  feeds(parameters: Arrays, stack = 0): Readonly<Record<ExpertNetwork, Readonly<Record<string, FloatTensor>>>> {
    const feeds: Record<ExpertNetwork, Record<string, FloatTensor>> = { unet: {}, text_encoder: {} };
    const count = this.#experts.length;
    for (const { network, groups, layers } of this.#trained()) {
      const spec = specIn(this.#spec, network);
      const at = (name: string): Float32Array => parameters[`${network}/${name}`]!;
      const into = feeds[network];
      for (const group of groups) {
        // The weights of gates that do not listen are zeros, which are fed once.
        if (this.#listens) {
          const weight = at(gateInput.weight(group.name));
          if (spec.form === 'pooled')
            into[gateInput.weight(group.name)] = floatTensor([count * group.width, count], weight);
          else
            Object.assign(
              into,
              foldPaperGate(
                group,
                floatTensor([count, count, this.#tokens(group), group.width], weight),
                layers[stack]!,
              ),
            );
        }
        if (spec.timestep)
          into[gateInput.timestep(group.name)] = floatTensor(
            [at(gateInput.timestep(group.name)).length / count, count],
            at(gateInput.timestep(group.name)),
          );
      }
      into[gateInput.logTemperature] = floatTensor([groups.length], at(gateInput.logTemperature));
      if (spec.amplitude === 'free') into[gateInput.logGain] = floatTensor([groups.length], at(gateInput.logGain));
    }
    return feeds;
  }

  /** Gradients of the graph's inputs as gradients of the parameters: the paper's form is unfolded. */
  collect<T extends { readonly gradients: Arrays }>(result: T, stack = 0): T {
    if (this.#spec.form === 'pooled' || !this.#listens) return result;
    const gradients = Object.fromEntries(
      Object.entries(result.gradients).filter(([name]) => !name.endsWith(foldedEnding)),
    );
    for (const { network, groups, layers } of this.#trained()) {
      for (const group of groups) {
        const folded: Record<string, FloatTensor> = {};
        for (const { name } of group.readers) {
          const key = gateInput.folded(name);
          const values = result.gradients[`${network}/${key}`]!;
          folded[key] = floatTensor([values.length / this.#experts.length, this.#experts.length], values);
        }
        gradients[`${network}/${gateInput.weight(group.name)}`] = unfoldPaperGradient(
          group,
          this.#tokens(group),
          folded,
          layers[stack]!,
        ).data;
      }
    }
    return { ...result, gradients };
  }

  /** The gate that `parameters` are. */
  gate(parameters: Arrays): TrainedGate {
    const count = this.#experts.length;
    const networks: Partial<Record<ExpertNetwork, readonly GroupParameters[]>> = {};
    for (const { network, groups } of this.#trained()) {
      const spec = specIn(this.#spec, network);
      const at = (name: string): Float32Array => parameters[`${network}/${name}`]!;
      networks[network] = groups.map((group, i) => {
        const length = count * group.width;
        const shape = spec.form === 'pooled' ? [length, count] : [count, count, this.#tokens(group), group.width];
        const weight = floatTensor(shape, this.#listens ? at(gateInput.weight(group.name)) : undefined);
        return {
          name: group.name,
          weight: spec.form === 'pooled' ? transpose(weight) : weight,
          timestep: spec.timestep
            ? floatTensor(
                [at(gateInput.timestep(group.name)).length / count, count],
                at(gateInput.timestep(group.name)),
              )
            : undefined,
          logTemperature: at(gateInput.logTemperature)[i]!,
          logGain: spec.amplitude === 'free' ? at(gateInput.logGain)[i]! : 0,
        };
      });
    }
    return {
      spec: this.#spec,
      experts: this.#experts.map(({ expert: { name, sha256 } }) => ({ name, sha256 })),
      networks,
    };
  }

  /** Which expert drew a picture of the distillation loss. */
  ownerOf({ path }: TrainingImage): number {
    return Number(path.split(':')[0]);
  }
}

/**
 * The same stacks with experts of one shape per role, as one graph needs them: where a LoRA of another stack has a larger rank or a layer
 * more, zeros take the place of what is missing. Throws a FailureError unless all stacks have as many experts.
 */
function alike(stacks: readonly (readonly GateExpert[])[]): readonly (readonly GateExpert[])[] {
  const [first] = stacks;
  const odd = stacks.find(({ length }) => length !== first!.length);
  if (odd !== undefined) {
    const names = (stack: readonly GateExpert[]): string => stack.map(({ expert }) => expert.name).join(', ');
    throw new FailureError({
      kind: 'bad-request',
      message: `Stacks that share a gate need one expert for each role; ${names(first!)} are ${first!.length}, ${names(odd)} are ${odd.length}.`,
    });
  }
  const fullest = first!.map((_, role) => ({
    unet: fullestLayers(stacks.map((stack) => stack[role]!.expert.layers.unet)),
    text_encoder: fullestLayers(stacks.map((stack) => stack[role]!.expert.layers.text_encoder)),
  }));
  return stacks.map((stack) =>
    stack.map((one, role) => {
      const filled = (network: ExpertNetwork): ReadonlyMap<string, LowRank> =>
        new Map(
          [...fullest[role]![network]].map(([name, like]) => [
            name,
            atRankOf(like, one.expert.layers[network].get(name)),
          ]),
        );
      const layers = { unet: filled('unet'), text_encoder: filled('text_encoder') };
      return { ...one, expert: { ...one.expert, layers } };
    }),
  );
}

/** Each layer that any of these experts targets, from the one where its rank is largest. */
function fullestLayers(experts: readonly ReadonlyMap<string, LowRank>[]): ReadonlyMap<string, LowRank> {
  const found = new Map<string, LowRank>();
  for (const [name, layer] of experts.flatMap((layers) => [...layers])) {
    const known = found.get(name);
    if (known === undefined || rankOf(known) < rankOf(layer)) found.set(name, layer);
  }
  return found;
}

/** The end of every name that the paper's form is fed under. */
const foldedEnding = gateInput.folded('');

/** T of a group's first reader in the paper's form: pixels of its level, or tokens of the text. */
function tokensOf(model: LoadedModel, image: TrainingImage, spec: GateSpec): (group: GateGroup) => number {
  if (spec.form === 'pooled') return () => 0;
  const [, , height, width] = image.latents[0]!.shape as [number, number, number, number];
  const { maxPositionEmbeddings } = model.checkpoint.textEncoder.config;
  const levels = model.checkpoint.unet.config.blockOutChannels.length;
  return ({ readers }) => {
    const { network, name } = readers[0]!;
    if (network === 'text_encoder' || /\.attn2\.to_[kv]$/.test(name)) return maxPositionEmbeddings;
    if (/time_emb/.test(name)) return 1;
    const down = /^down_blocks\.(\d+)/.exec(name)?.[1];
    const up = /^up_blocks\.(\d+)/.exec(name)?.[1];
    let level = levels - 1;
    if (down !== undefined) level = Number(down);
    else if (up !== undefined) level = levels - 1 - Number(up);
    else if (name.startsWith('conv_')) level = 0;
    // A downsampler's output is that of the next level, an upsampler's of the one above.
    if (name.includes('downsamplers')) level++;
    if (name.includes('upsamplers')) level--;
    const halved = (size: number): number =>
      Array.from({ length: level }).reduce<number>((s) => Math.ceil(s / 2), size);
    return halved(height) * halved(width);
  };
}
