// Ours: one measurement in a fresh process, as one line of JSON. Usage: measure.js unet|unet16|vae|text FOLDER ROUNDS THREADS
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { vaeDecoder } from '../../src-main/networks/autoencoder.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import { SD15 } from '../../src-main/networks/sd-configs.ts';
import { transformersClipNaming, weightSource } from '../../src-main/networks/weight-names.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { elementCount } from '../../src-main/tensor/shape.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, intTensor, type Tensor } from '../../src-main/tensor/tensor.ts';

const [what, folder, rounds, threads] = process.argv.slice(2) as [string, string, string, string];
const size = 64;

async function graphOf(): Promise<{ readonly graph: Graph; readonly feeds: Readonly<Record<string, Tensor>> }> {
  const files: Readonly<Record<string, string>> = {
    unet: 'unet/diffusion_pytorch_model.safetensors',
    unet16: 'unet16/diffusion_pytorch_model.safetensors',
    vae: 'vae/diffusion_pytorch_model.safetensors',
    text: 'text_encoder/model.safetensors',
  };
  const file = join(folder, files[what]!);
  const { tensors } = await readSafetensorsHeader(file);
  const source = weightSource(what, file, tensors, transformersClipNaming());
  const ref = (name: string): TensorRef => source.ref(name);
  const random = new TorchGenerator(0);
  const shape = { height: size, width: size, attention: 'fused' } as const;
  if (what === 'text') {
    return {
      graph: clipText(SD15.text, { ref }),
      feeds: { input_ids: intTensor([1, 77], new Array<number>(77).fill(49407)) },
    };
  }
  const latent = random.randn([1, 4, size, size]);
  if (what === 'vae') return { graph: vaeDecoder(SD15.vae, { ref, ...shape }), feeds: { latent } };
  return {
    graph: unet(SD15.unet, { ref, ...shape, textTokens: 77 }),
    feeds: {
      sample: latent,
      timestep: floatTensor([1], Float32Array.of(500)),
      encoder_hidden_states: random.randn([1, 77, 768]),
    },
  };
}

/** Bytes of one line of /proc/self/status; undefined elsewhere than on Linux. */
function status(field: string): number | undefined {
  try {
    const line = new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'));
    return line === null ? undefined : Number(line[1]) * 1024;
  } catch {
    return undefined;
  }
}

const start = performance.now();
const { graph, feeds } = await graphOf();
const session = await Session.open(graph, { provider: 'cpu', threads: Number(threads) });
const openMs = performance.now() - start;
const times: number[] = [];
for (let i = 0; i < Number(rounds); i++) {
  const begin = performance.now();
  await session.run(feeds);
  times.push(performance.now() - begin);
}
const weights = graph.initializers.reduce((sum, { value }) => sum + 4 * elementCount(value.shape.map(Number)), 0);
console.log(
  JSON.stringify({
    openMs,
    firstMs: openMs + times[0]!,
    runsMs: times.length > 1 ? times.slice(1) : times,
    peakBytes: status('VmHWM') ?? process.resourceUsage().maxRSS * 1024,
    anonymousBytes: status('RssAnon'),
    mappedBytes: status('RssFile'),
    weightBytes: weights,
  }),
);
