// Bake: a mixture as one plain LoRA that any tool loads. A learned gate depends on the picture, so its mean over the steps of
// some drawings stands for it; what that leaves out is measured and reported, not hidden.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { GenerateEvent, GenerateSettings } from '../contract/generation.ts';
import { kohyaBoolean, writeLora, type LoraLayer } from '../formats/lora-write.ts';
import { decodePicture } from '../formats/png.ts';
import { compress, type WeightedLayer } from '../mole/compress.ts';
import type { Expert, LowRank } from '../mole/expert.ts';
import { expertInput } from '../mole/expert-layers.ts';
import type { ExpertNetwork } from '../networks/modules.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { encodePrompts } from './encode-prompt.ts';
import type { JobContext } from './engine.ts';
import { generateImage } from './generate-image.ts';
import type { LoadedModel } from './loaded-model.ts';
import { Mixture, plainEntry } from './mixture.ts';

export interface BakeRequest {
  /** What is drawn to listen to the gates: settings of ordinary pictures, one after the other. */
  readonly drawings: readonly GenerateSettings[];
  /** Ranks of a baked layer at most; undefined keeps all, which is exact. */
  readonly rank?: number | undefined;
  readonly output: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface BakeReport {
  readonly path: string;
  readonly layers: number;
  /** Least and greatest rank of a layer. */
  readonly ranks: readonly [number, number];
  /** Mean coefficient of each expert over the layers it targets: strength times mean gate. */
  readonly coefficients: readonly number[];
  /** Share of the gated deltas' energy that the means leave out, because gates change with step, half and drawing. 0..1. */
  readonly gateResidual: number;
  /** Share of the baked deltas' energy that the cut to `rank` leaves out. 0..1. */
  readonly rankResidual: number;
  /** Mean difference, in steps of 0..255, between the drawings with the mixture and with the baked file. */
  readonly pictureDifference: number;
}

/** What a baked file says of itself: the base it is for, and the experts in it by name and hash. */
export function bakedMetadata(mixture: Mixture, model: LoadedModel, output: string): Readonly<Record<string, string>> {
  const { family } = model.checkpoint;
  const versions = { sd1: 'sd_v1', sd2: 'sd_v2', custom: undefined };
  const version = versions[family];
  const title = basename(output).replace(/\.safetensors$/i, '');
  return {
    ss_output_name: title,
    ss_sd_model_name: model.checkpoint.name,
    ...(version === undefined ? {} : { ss_base_model_version: version, ss_v2: kohyaBoolean(family === 'sd2') }),
    'modelspec.title': title,
    'mole.baked': JSON.stringify(mixture.record ?? {}),
  };
}

/** Draws `request.drawings` with the mixture, folds the mean gates, writes the LoRA, and draws once more to compare. */
export async function bake(
  request: BakeRequest,
  model: LoadedModel,
  mixture: Mixture,
  context: JobContext<GenerateEvent>,
  availableBytes: number,
): Promise<BakeReport> {
  const folder = await mkdtemp(join(tmpdir(), 'atelier-bake-'));
  try {
    const heard = new GateMeans();
    const drawAll = async (stack: Mixture, onEvent: (event: GenerateEvent) => void): Promise<string[]> => {
      const paths: string[] = [];
      for (const settings of request.drawings) {
        const job: JobContext<GenerateEvent> = {
          signal: context.signal,
          emit: (event) => {
            onEvent(event);
            if (event.kind === 'stage' || event.kind === 'step') context.emit(event);
          },
        };
        const quiet = { ...settings, output: { ...settings.output, folder } };
        paths.push(...(await generateImage(quiet, model, stack, job, availableBytes)).pictures.map(({ path }) => path));
      }
      return paths;
    };
    const mixed = await drawAll(mixture, (event) => {
      if (event.kind !== 'step') return;
      const { conditional, unconditional } = event.gates ?? {};
      for (const half of [conditional, unconditional]) if (half !== undefined) heard.add(half);
    });
    const coefficients = new Coefficients(model, mixture, request.drawings[0]!, heard);
    await coefficients.listenToText();
    const baked = coefficients.fold(request.rank);
    const path = await writeLora(request.output, baked.layers, request.metadata);
    const alone = await drawAll(new Mixture([plainEntry(baked.expert)], { mode: 'sum' }), () => undefined);
    const ranks = baked.layers.map(({ down }) => down.shape[0]!);
    return {
      path,
      layers: baked.layers.length,
      ranks: [Math.min(...ranks), Math.max(...ranks)],
      coefficients: baked.means,
      gateResidual: baked.gateResidual,
      rankResidual: baked.rankResidual,
      pictureDifference: await meanDifference(mixed, alone),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Running mean and mean square of gates [G][N] over steps, halves and drawings. */
class GateMeans {
  #count = 0;
  readonly #sums: number[][] = [];
  readonly #squares: number[][] = [];

  add(gates: readonly (readonly number[])[]): void {
    this.#count++;
    gates.forEach((values, g) => {
      const [sums, squares] = [(this.#sums[g] ??= []), (this.#squares[g] ??= [])];
      values.forEach((value, i) => {
        sums[i] = (sums[i] ?? 0) + value;
        squares[i] = (squares[i] ?? 0) + value * value;
      });
    });
  }

  mean(group: number, expert: number): number {
    return (this.#sums[group]?.[expert] ?? 0) / Math.max(1, this.#count);
  }

  /** E[g^2]; at least the square of the mean. */
  square(group: number, expert: number): number {
    return (this.#squares[group]?.[expert] ?? 0) / Math.max(1, this.#count);
  }
}

/** Strength times mean gate of each expert in each layer, and what the means leave out. */
class Coefficients {
  readonly #model: LoadedModel;
  readonly #mixture: Mixture;
  readonly #settings: GenerateSettings;
  readonly #heard: Readonly<Record<ExpertNetwork, GateMeans>>;

  constructor(model: LoadedModel, mixture: Mixture, settings: GenerateSettings, heard: GateMeans) {
    this.#model = model;
    this.#mixture = mixture;
    this.#settings = settings;
    this.#heard = { unet: heard, text_encoder: new GateMeans() };
  }

  /** The text encoder's gates, on the prompt of the first drawing. */
  async listenToText(): Promise<void> {
    this.#model.useMixture(this.#mixture);
    if (!this.#mixture.speaksInText) return;
    await encodePrompts(this.#model, { ...this.#settings, negativePrompt: '' });
    const gates = this.#model.textGates;
    if (gates !== undefined) this.#heard.text_encoder.add(rowsOf(gates));
  }

  fold(rank: number | undefined): {
    readonly layers: readonly LoraLayer[];
    readonly expert: Expert;
    readonly means: readonly number[];
    readonly gateResidual: number;
    readonly rankResidual: number;
  } {
    const { entries } = this.#mixture;
    const layers: LoraLayer[] = [];
    const folded = { unet: new Map<string, LowRank>(), text_encoder: new Map<string, LowRank>() };
    const sums = entries.map(() => ({ total: 0, count: 0 }));
    let [energy, gateLoss, rankEnergy, rankLoss] = [0, 0, 0, 0];
    for (const network of ['unet', 'text_encoder'] as const) {
      const groups = this.#model.gateGroups(network);
      const groupOf = new Map(groups.flatMap(({ members }, g) => members.map(({ name }) => [name, g] as const)));
      const rows = this.#model.rows(network);
      const strengths = this.#meanStrengths(network);
      const names = new Set(entries.flatMap(({ expert }) => [...expert.layers[network].keys()]));
      for (const name of names) {
        const row = rows.names.indexOf(rows.rowOf(name));
        const group = groupOf.get(name);
        const parts: WeightedLayer[] = [];
        entries.forEach(({ expert }, i) => {
          const layer = expert.layers[network].get(name);
          if (layer === undefined) return;
          const strength = strengths.data[row * entries.length + i]!;
          const gate = group === undefined ? 1 : this.#heard[network].mean(group, i);
          const square = group === undefined ? 1 : this.#heard[network].square(group, i);
          const size = energyOf(layer) * strength ** 2;
          energy += size * square;
          gateLoss += size * Math.max(0, square - gate * gate);
          parts.push({ layer, coefficient: strength * gate });
          sums[i]!.total += strength * gate;
          sums[i]!.count++;
        });
        const layer = compress(parts, rank);
        if (layer.down.shape[0] === 0) continue;
        const kept = energyOf(layer);
        rankEnergy += kept / Math.max(1e-12, 1 - layer.residualEnergy);
        rankLoss += (kept * layer.residualEnergy) / Math.max(1e-12, 1 - layer.residualEnergy);
        folded[network].set(name, layer);
        layers.push({ network, name, down: layer.down, up: layer.up });
      }
    }
    return {
      layers,
      expert: { name: 'baked', sha256: ''.padStart(64, '0'), layers: folded },
      means: sums.map(({ total, count }) => (count === 0 ? 0 : total / count)),
      gateResidual: energy === 0 ? 0 : gateLoss / energy,
      rankResidual: rankEnergy === 0 ? 0 : rankLoss / rankEnergy,
    };
  }

  /** Weights [rows, N] over the steps: the mean of what each step would feed. Experts in turn count by their turns. */
  #meanStrengths(network: ExpertNetwork): FloatTensor {
    const { steps } = this.#settings;
    const rows = this.#model.rows(network);
    const sum = new Float32Array(rows.names.length * this.#mixture.entries.length);
    for (let step = 0; step < steps; step++) {
      const passes = this.#mixture.passes(step);
      for (const alone of passes) {
        const { data } = this.#mixture.weights(network, rows, step, steps, alone)[expertInput.weights]!;
        for (let i = 0; i < sum.length; i++) sum[i]! += data[i]! / passes.length / steps;
      }
    }
    return floatTensor([rows.names.length, this.#mixture.entries.length], sum);
  }
}

/** |up down|^2, Frobenius, through the Gram matrices of both factors: sum over r, s of (up^T up)(down down^T). */
function energyOf({ up, down }: LowRank): number {
  const rank = down.shape[0]!;
  const width = down.data.length / Math.max(1, rank);
  const out = up.data.length / Math.max(1, rank);
  let energy = 0;
  for (let r = 0; r < rank; r++) {
    for (let s = 0; s < rank; s++) {
      let [left, right] = [0, 0];
      for (let o = 0; o < out; o++) left += up.data[o * rank + r]! * up.data[o * rank + s]!;
      for (let i = 0; i < width; i++) right += down.data[r * width + i]! * down.data[s * width + i]!;
      energy += left * right;
    }
  }
  return energy;
}

/** [1, G, N] as rows. */
function rowsOf({ shape, data }: FloatTensor): readonly (readonly number[])[] {
  const [, groups, experts] = shape as readonly [number, number, number];
  return Array.from({ length: groups }, (_, g) => [...data.subarray(g * experts, (g + 1) * experts)]);
}

async function meanDifference(a: readonly string[], b: readonly string[]): Promise<number> {
  let [sum, count] = [0, 0];
  for (const [i, path] of a.entries()) {
    const [left, right] = [(await decodePicture(path)).rgb, (await decodePicture(b[i]!)).rgb];
    for (let j = 0; j < left.length; j++) sum += Math.abs(left[j]! - right[j]!);
    count += left.length;
  }
  return count === 0 ? 0 : sum / count;
}
