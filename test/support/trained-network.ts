// The tiny networks under experts and gates, with a loss and its gradient, and the feeds of test/golden/autodiff_networks.py.
import { readFileSync } from 'node:fs';
import { gradientOutput, withGradient } from '../../src-main/autodiff/gradient.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { bindSizes } from '../../src-main/graph/passes/bind.ts';
import { factorFeeds, foldPaperGate, type Layers } from '../../src-main/mole/expert-feeds.ts';
import { expertInput, expertLayers } from '../../src-main/mole/expert-layers.ts';
import { gateInput, type GateSpec } from '../../src-main/mole/gate.ts';
import { gateGroups, type GateGroup } from '../../src-main/mole/groups.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import type { AttentionForm } from '../../src-main/networks/layers.ts';
import { textEncoderModules, unetModules, type NetworkModule } from '../../src-main/networks/modules.ts';
import { parseClipTextConfig, parseUNetConfig } from '../../src-main/networks/sd-configs.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { drawExperts, drawGate, drawScalars, experts } from './mole-case.ts';

export type TinyModel = 'tiny-sd1' | 'tiny-sd2';

export interface MixtureCase extends GateSpec {
  readonly network: 'unet' | 'text_encoder';
  readonly weights: readonly number[];
  readonly mask: readonly number[];
}

/** A gated network of fixed sizes with everything it is fed. */
export interface TinyMixture {
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly output: 'out_sample' | 'last_hidden_state';
  readonly layers: Layers;
  readonly groups: readonly GateGroup[];
  /** Names of the inputs that hold factors, and those that hold gate parameters. */
  readonly factors: readonly string[];
  readonly gates: readonly string[];
}

const data = new URL('../golden/data/', import.meta.url);
const json = (path: string): unknown => JSON.parse(readFileSync(new URL(path, data), 'utf8'));
const pathOf = (path: string): string => new URL(`networks/${path}`, data).pathname;

/** `modules` lists the targeted layers in the witness's order, which decides the seeds. */
export async function tinyMixture(
  model: TinyModel,
  wanted: MixtureCase,
  modules: readonly string[],
  attention: AttentionForm = 'fused',
): Promise<TinyMixture> {
  const isUnet = wanted.network === 'unet';
  const config = {
    unet: parseUNetConfig(json(`networks/${model}/unet/config.json`), 'config.json'),
    text: parseClipTextConfig(json(`networks/${model}/text_encoder/config.json`), 'config.json'),
  };
  const all = isUnet ? unetModules(config.unet) : textEncoderModules(config.text);
  const targeted = modules.map((name): NetworkModule => all.find((module) => module.name === name)!);
  const { granularity, form, amplitude, timestep } = wanted;
  const spec: GateSpec = { granularity, form, amplitude, timestep };
  const groups = gateGroups(targeted, granularity);
  const layers = drawExperts(targeted);
  const factory = expertLayers({
    modules: new Map(targeted.map((module) => [module.name, module])),
    rows: 1,
    rowOf: () => 0,
    gate: { spec, groups },
  });
  const file = isUnet ? 'unet/diffusion_pytorch_model.safetensors' : 'text_encoder/model.safetensors';
  const { tensors } = await readSafetensorsHeader(pathOf(`${model}/${file}`));
  const ref = (name: string): TensorRef => (tensors.get(name) ?? tensors.get(name.replace(/^text_model\./, '')))!;
  const symbolic = isUnet
    ? unet(config.unet, { ref, height: 16, width: 16, textTokens: 77, attention, layers: factory })
    : clipText(config.text, { ref, layers: factory });

  const known = await readSafetensorsHeader(pathOf(`${model}/expected.safetensors`));
  const inputs: Record<string, Tensor> = {};
  for (const { name } of symbolic.inputs) {
    const tensor = known.tensors.get(name);
    if (tensor !== undefined) inputs[name] = await readTensor(tensor);
  }
  const factors = factorFeeds(targeted, layers);
  const sizes: Record<string, number> = { B: 2, N: experts };
  for (const { name, shape } of symbolic.inputs) {
    const symbol = shape[1];
    if (name.endsWith('.lora_owner') && typeof symbol === 'string') sizes[symbol] = factors[name]!.shape[1]!;
  }
  const graph = bindSizes(symbolic, sizes);
  const gates = gateFeeds(groups, spec, layers, graph);
  const names = graph.inputs.map(({ name }) => name);
  return {
    graph,
    feeds: {
      ...inputs,
      ...factors,
      ...gates,
      [expertInput.weights]: row(wanted.weights),
      [expertInput.masks]: row(wanted.mask),
    },
    output: isUnet ? 'out_sample' : 'last_hidden_state',
    layers,
    groups,
    factors: names.filter((name) => /\.lora_(?:down|up)$/.test(name)),
    gates: names.filter((name) => name in gates),
  };
}

/** mean((output - target)^2), the target drawn by the witness's seed, as output `loss`; and the target as a feed. */
export function withLoss(
  graph: Graph,
  name: string,
): { readonly graph: Graph; readonly feeds: Record<string, Tensor> } {
  const b = GraphBuilder.extend(graph);
  const output = graph.outputs.find((value) => value.name === name)!;
  const shape = output.shape.map(Number);
  const error = b.Sub(output, b.input('target', shape));
  b.output(
    'loss',
    b.ReduceMean(
      b.Mul(error, error),
      shape.map((_, axis) => axis),
      false,
    ),
  );
  return { graph: b.build(), feeds: { target: new TorchGenerator(9000).randn(shape) } };
}

/** The graph with gradients of `loss`. */
export const lossGradient = (graph: Graph, withRespectTo: readonly string[]): Graph =>
  withGradient(graph, { of: [{ output: 'loss' }], withRespectTo });

/**
 * Inner products of dL/de with directions drawn by the witness's seeds, through what the paper form is fed: folding is linear, so
 * <dL/de, v> = <dL/d folded, fold(v)>.
 */
export function paperProjections(
  { groups, layers, graph }: TinyMixture,
  index: number,
  gradients: Readonly<Record<string, FloatTensor>>,
  count: number,
): Float32Array {
  const group = groups[index]!;
  const tokens = tokensOf(graph, group, layers);
  const shape = [experts, experts, tokens, group.width];
  return Float32Array.from({ length: count }, (_, j) => {
    const { data: v } = new TorchGenerator(8000 + 100 * index + j).randn([experts, experts * tokens * group.width]);
    let sum = 0;
    for (const [name, folded] of Object.entries(foldPaperGate(group, floatTensor(shape, v), layers))) {
      const grad = gradients[gradientOutput(name)]!.data;
      folded.data.forEach((value, i) => (sum += value * grad[i]!));
    }
    return sum;
  });
}

function gateFeeds(
  groups: readonly GateGroup[],
  spec: GateSpec,
  layers: Layers,
  graph: Graph,
): Record<string, FloatTensor> {
  const { [gateInput.logGain]: gain, ...feeds } = drawScalars(groups, spec);
  if (spec.amplitude === 'free') feeds[gateInput.logGain] = gain!;
  groups.forEach((group, k) => {
    if (spec.form === 'paper') {
      const tokens = tokensOf(graph, group, layers);
      const e = drawGate(k, experts * tokens * group.width);
      Object.assign(feeds, foldPaperGate(group, floatTensor([experts, experts, tokens, group.width], e.data), layers));
      return;
    }
    const length = experts * group.width;
    const e = drawGate(k, length).data;
    const transposed = Float32Array.from(e, (_, at) => e[(at % experts) * length + Math.floor(at / experts)]!);
    feeds[gateInput.weight(group.name)] = floatTensor([length, experts], transposed);
  });
  return feeds;
}

/** T of the paper form: rows of the folded input over the ranks of its reader. */
function tokensOf(graph: Graph, group: GateGroup, layers: Layers): number {
  const { name } = group.readers[0]!;
  const rows = graph.inputs.find((input) => input.name === gateInput.folded(name))!.shape[0] as number;
  return rows / layers.reduce((sum, expert) => sum + (expert.get(name)?.down.shape[0] ?? 0), 0);
}

const row = (values: readonly number[]): FloatTensor => floatTensor([1, values.length], Float32Array.from(values));
