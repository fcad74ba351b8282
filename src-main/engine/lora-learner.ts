// What learns in LoRA training: down- and up-projections of the targeted layers, between the optimiser's arrays, the graph's inputs
// and the file. Starts as Hu et al. 2021 (arXiv:2106.09685, section 4.1) and kohya's trainer do: down uniform within 1 / sqrt(in),
// up zero, so that the first picture is the base model's.
import type { LoraLayer } from '../formats/lora-write.ts';
import { expertInput } from '../mole/expert-layers.ts';
import type { Expert, LowRank } from '../mole/expert.ts';
import type { ExpertNetwork, NetworkModule } from '../networks/modules.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { transpose } from '../tensor/linear-algebra.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { Arrays } from '../training/optimizer.ts';
import type { LoadedModel } from './loaded-model.ts';
import { Mixture, plainEntry } from './mixture.ts';
import type { TrainedNetwork } from './training-session.ts';

/** Layers of the UNet by the name of a target set. */
const targets = {
  /** Query, key, value and output of both attentions. */
  attention: /\.attn[12]\./,
  /** Everything in the transformers: what kohya trains by default. */
  transformer: /\.attentions\./,
  /** Convolutions and the time embedding's projections too (LoCon). */
  all: /\.attentions\.|\.resnets\.|samplers\./,
} as const;

export interface LoraShape {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: keyof typeof targets;
  readonly textEncoder: boolean;
  readonly seed: number;
}

export class LoraLearner {
  readonly #model: LoadedModel;
  readonly #shape: LoraShape;
  readonly #modules: readonly NetworkModule[];

  constructor(model: LoadedModel, shape: LoraShape) {
    this.#model = model;
    this.#shape = shape;
    this.#modules = [
      ...model.unetModules.filter(({ name }) => targets[shape.targets].test(name)),
      ...(shape.textEncoder ? model.textModules : []),
    ];
  }

  get parameterCount(): number {
    return this.#modules.reduce((sum, module) => sum + this.#shape.rank * (fanIn(module) + module.outFeatures), 0);
  }

  /** In the layout of the graph's inputs: down [in, r] or [r, in, k, k], up [r, out] or [out, r, 1, 1]. */
  start(): Arrays {
    const random = new TorchGenerator(this.#shape.seed);
    const arrays: Record<string, Float32Array> = {};
    for (const module of this.#modules) {
      const bound = 1 / Math.sqrt(fanIn(module));
      const drawn = random.rand([this.#shape.rank * fanIn(module)]).data;
      arrays[key(module, 'down')] = drawn.map((value) => (2 * value - 1) * bound);
      arrays[key(module, 'up')] = new Float32Array(module.outFeatures * this.#shape.rank);
    }
    return arrays;
  }

  networks(): { readonly unet: TrainedNetwork; readonly text: TrainedNetwork | undefined } {
    const { rank, alpha } = this.#shape;
    const expert = this.expert(this.start());
    const mixture = new Mixture([plainEntry(expert, alpha / rank)], { mode: 'sum' });
    const part = (network: ExpertNetwork, modules: readonly NetworkModule[]): TrainedNetwork => {
      const rows = this.#model.rows(network);
      const { graph, fixed } = mixture.network(network, modules, rows);
      const own = this.#modules.filter((module) => module.network === network);
      const learnt = own.flatMap(({ name }) => [expertInput.down(name), expertInput.up(name)]);
      return {
        graph: { ...graph, modules: new Map(own.map((module) => [module.name, module])) },
        fixed: [Object.fromEntries(Object.entries(fixed).filter(([name]) => !learnt.includes(name)))],
        strengths: mixture.weights(network, rows, 0, 1),
        trainables: learnt,
      };
    };
    return {
      unet: part('unet', this.#model.unetModules),
      text: this.#shape.textEncoder ? part('text_encoder', this.#model.textModules) : undefined,
    };
  }

  feeds(parameters: Arrays): Readonly<Record<ExpertNetwork, Readonly<Record<string, FloatTensor>>>> {
    const { rank } = this.#shape;
    const feeds: Record<ExpertNetwork, Record<string, FloatTensor>> = { unet: {}, text_encoder: {} };
    for (const module of this.#modules) {
      const { name, kind, inFeatures, outFeatures, kernel, network } = module;
      const conv = kind === 'conv';
      const [down, up] = [parameters[key(module, 'down')]!, parameters[key(module, 'up')]!];
      feeds[network][expertInput.down(name)] = floatTensor(
        conv ? [rank, inFeatures, kernel, kernel] : [inFeatures, rank],
        down,
      );
      feeds[network][expertInput.up(name)] = floatTensor(conv ? [outFeatures, rank, 1, 1] : [rank, outFeatures], up);
    }
    return feeds;
  }

  /** The layers that `parameters` are, as the file holds them: down [r, in (k, k)], up [out, r], and alpha. */
  layers(parameters: Arrays): readonly LoraLayer[] {
    const { rank, alpha } = this.#shape;
    return this.#modules.map((module) => {
      const { name, network, kind, inFeatures, outFeatures, kernel } = module;
      const [down, up] = [parameters[key(module, 'down')]!, parameters[key(module, 'up')]!];
      const conv = kind === 'conv';
      return {
        network,
        name,
        down: conv
          ? floatTensor([rank, inFeatures, kernel, kernel], down)
          : transpose(floatTensor([inFeatures, rank], down)),
        up: conv ? floatTensor([outFeatures, rank], up) : transpose(floatTensor([rank, outFeatures], up)),
        alpha,
      };
    });
  }

  /** The same as an expert, alpha / rank left out: it is its strength. */
  expert(parameters: Arrays): Expert {
    const layers = { unet: new Map<string, LowRank>(), text_encoder: new Map<string, LowRank>() };
    const modules = new Map(this.#modules.map((module) => [`${module.network} ${module.name}`, module]));
    for (const { network, name, down, up } of this.layers(parameters)) {
      layers[network].set(name, { module: modules.get(`${network} ${name}`)!, down, up, residualEnergy: 0 });
    }
    return { name: 'in training', sha256: ''.padStart(64, '0'), layers };
  }
}

const fanIn = ({ inFeatures, kernel }: NetworkModule): number => inFeatures * kernel * kernel;

const key = ({ network, name }: NetworkModule, part: 'down' | 'up'): string => `${network}/${expertInput[part](name)}`;
