// Child of webgpu.test.ts: runs one task on the WebGPU provider and prints its errors as JSON.
// A network's task is its name, with the folder of its golden data.
// `strict` opens a graph only when the device takes every operator; the text encoder's int64 ids may stay on the CPU.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { factorFeeds } from '../../src-main/mole/expert-feeds.ts';
import { expertInput, expertLayers } from '../../src-main/mole/expert-layers.ts';
import type { GateSpec } from '../../src-main/mole/gate.ts';
import { gateFeeds, groupsOf, zeroParameters } from '../../src-main/mole/trained-gate.ts';
import { vaeDecoder, vaeEncoder } from '../../src-main/networks/autoencoder.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import type { UNetConfig } from '../../src-main/networks/configs.ts';
import { unetModules } from '../../src-main/networks/modules.ts';
import { parseAutoencoderConfig, parseClipTextConfig, parseUNetConfig } from '../../src-main/networks/sd-configs.ts';
import { unet, type UNetOptions } from '../../src-main/networks/unet.ts';
import { fusedAttentionCase, operatorCase, type SelfTestCase } from '../../src-main/runtime/self-test-cases.ts';
import { relativeToPeak, selfTestLimits } from '../../src-main/runtime/self-test.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { drawExperts, experts } from '../support/mole-case.ts';

type Feeds = Readonly<Record<string, Tensor>>;

async function run(graph: Graph, feeds: Feeds, provider: 'cpu' | 'webgpu', strict: boolean): Promise<Feeds> {
  const session = await Session.open(graph, { provider, strict: strict && provider === 'webgpu' });
  try {
    return await session.run(feeds);
  } finally {
    await session.release(); // an open session can crash a driver at exit
  }
}

/** Largest error of any output against the CPU, and against float64 where there is a reference. */
async function compare(graph: Graph, feeds: Feeds, strict: boolean, expected: SelfTestCase['expected'] = {}) {
  const [device, cpu] = [await run(graph, feeds, 'webgpu', strict), await run(graph, feeds, 'cpu', false)];
  const errors = graph.outputs.map(({ name }) => {
    const got = device[name]!.data as Float32Array;
    const own = expected[name];
    return Math.max(
      relativeToPeak(got, cpu[name]!.data as Float32Array),
      own === undefined ? 0 : relativeToPeak(got, own),
    );
  });
  return Math.max(...errors);
}

/** null where the driver has no half precision (SwiftShader), in which a token table may be stored. */
async function unlessHalf(error: Promise<number>): Promise<number | null> {
  try {
    return await error;
  } catch (failure) {
    if (failure instanceof Error && failure.message.includes('requires f16')) return null;
    throw failure;
  }
}

async function networks(): Promise<Record<string, number | null>> {
  const folder = process.argv[3]!;
  const config = (path: string): unknown => JSON.parse(readFileSync(join(folder, path), 'utf8'));
  const header = async (path: string) => (await readSafetensorsHeader(join(folder, path))).tensors;
  const weights = async (path: string): Promise<(name: string) => TensorRef> => {
    const tensors = await header(path);
    return (name) => tensors.get(name) ?? tensors.get(name.replace(/^text_model\./, ''))!;
  };
  const golden = await header('expected.safetensors');
  const feed = async (...names: readonly string[]): Promise<Feeds> =>
    Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await readTensor(golden.get(name)!)] as const)),
    );
  const attention = 'plain';

  const inputs = await feed('sample', 'timestep', 'encoder_hidden_states');
  const [height, width] = inputs['sample']!.shape.slice(2) as [number, number];
  const unetOptions = {
    ref: await weights('unet/diffusion_pytorch_model.safetensors'),
    height,
    width,
    textTokens: 77,
    attention,
  } as const;
  const vae = parseAutoencoderConfig(config('vae/config.json'), 'config.json');
  const vaeOptions = {
    ref: await weights('vae/diffusion_pytorch_model.safetensors'),
    height: 8,
    width: 12,
    attention,
  } as const;
  const text = parseClipTextConfig(config('text_encoder/config.json'), 'config.json');
  const textOptions = { ref: await weights('text_encoder/model.safetensors'), skipLayers: 0 };
  return {
    unet: await compare(unet(parseUNetConfig(config('unet/config.json'), 'config.json'), unetOptions), inputs, true),
    experts: await gatedExperts(unetOptions, parseUNetConfig(config('unet/config.json'), 'config.json'), inputs),
    decoder: await compare(vaeDecoder(vae, vaeOptions), await feed('latent'), true),
    encoder: await compare(vaeEncoder(vae, vaeOptions), { sample: (await feed('image'))['image']! }, true),
    text: await unlessHalf(compare(clipText(text, textOptions), await feed('input_ids'), false)),
  };
}

/**
 * A UNet with three experts under gates, convolutions and layers without any rank among them, its factors held on the device over
 * two runs: the larger of both errors against the CPU.
 */
async function gatedExperts(options: UNetOptions, config: UNetConfig, inputs: Feeds): Promise<number> {
  const all = unetModules(config);
  const modules = all.filter(({ name }) => name.includes('.attentions.') || name.includes('.resnets.'));
  const layers = drawExperts(modules);
  const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'free', timestep: true };
  const groups = groupsOf(modules, layers, spec);
  const graph = unet(config, {
    ...options,
    layers: expertLayers({
      modules: new Map(all.map((module) => [module.name, module])),
      rows: 1,
      rowOf: () => 0,
      gate: { spec, groups },
    }),
  });
  const parameters = zeroParameters(groups, spec, experts).map((group, k) => {
    const weight = new TorchGenerator(k).randn(group.weight.shape);
    return { ...group, weight, logGain: 0.1 * (k % 3) };
  });
  const gate = { spec, experts: [], networks: { unet: parameters } };
  const fixed = { ...factorFeeds(all, layers), ...gateFeeds(gate, 'unet', groups, layers) };
  const row = (values: readonly number[]): Tensor => floatTensor([1, values.length], Float32Array.from(values));
  const runs = [
    { [expertInput.weights]: row([1, 1, 1]), [expertInput.masks]: row([1, 1, 1]) },
    { [expertInput.weights]: row([0.8, -0.5, 1]), [expertInput.masks]: row([1, 0, 1]) },
  ];
  const results: Float32Array[][] = [];
  for (const provider of ['webgpu', 'cpu'] as const) {
    const session = await Session.open(graph, { provider, strict: provider === 'webgpu' });
    const held = await session.hold(fixed);
    const outputs: Float32Array[] = [];
    for (const changing of runs) {
      outputs.push((await session.run({ ...inputs, ...changing }, held))['out_sample']!.data as Float32Array);
    }
    await held.release();
    await session.release();
    results.push(outputs);
  }
  return Math.max(...runs.map((_, i) => relativeToPeak(results[0]![i]!, results[1]![i]!)));
}

async function operators(): Promise<Record<string, number | null>> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-webgpu-'));
  const { graph, feeds, expected } = await operatorCase(folder);
  const error = await unlessHalf(compare(graph, feeds, false, expected));
  rmSync(folder, { recursive: true });
  return { error };
}

async function fused(): Promise<Record<string, number | null>> {
  const { graph, feeds, expected } = fusedAttentionCase();
  const error = await compare(graph, feeds, true, expected);
  return { fused: error, passes: error <= selfTestLimits.error ? 1 : 0 };
}

const task = process.argv[2]!;
const result = await (task === 'operators' ? operators() : task === 'fused' ? fused() : networks());
process.stdout.write(JSON.stringify(result), () => process.exit(0));
