// Low-rank factors of every kind of adapter against dense deltas: products written out in float64, and PEFT's own LoHa and
// LoKr functions (test/golden/experts.py). Truncations against the singular values of the dense delta.
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import { factorsOf, type FactorOptions } from '../../src-main/mole/factors.ts';
import type { AdapterModule } from '../../src-main/networks/adapter.ts';
import { readAdapter } from '../../src-main/networks/lora-names.ts';
import type { NetworkModule } from '../../src-main/networks/modules.ts';
import { svd } from '../../src-main/tensor/linear-algebra.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import {
  denseDelta,
  goldenExpert,
  readAll,
  readFloats,
  refOf,
  sd15Target,
  targetOf,
  tinyConfigs,
} from '../support/adapter-case.ts';
import { relativeError } from '../support/read-golden.ts';
import { adapterTolerance } from '../support/tolerances.ts';

const tiny = targetOf(tinyConfigs['tiny-sd1']);

async function load(name: string, options?: FactorOptions): Promise<ReadonlyMap<string, LowRank>> {
  const { tensors, metadata } = await readSafetensorsHeader(goldenExpert(`tiny-sd1/${name}.safetensors`));
  const folder = name.startsWith('peft-folder');
  const config = folder
    ? (JSON.parse(readFileSync(goldenExpert('tiny-sd1/peft-folder/adapter_config.json'), 'utf8')) as unknown)
    : undefined;
  const layers = new Map<string, LowRank>();
  for (const entry of readAdapter(tensors, metadata, tiny, config).modules) {
    layers.set(entry.module.name, await factorsOf(entry, readFloats, options));
  }
  return layers;
}

describe('each family carries the same delta', () => {
  it.each([
    'kohya-diffusers',
    'kohya-ldm',
    'simpletuner',
    'generic',
    'processor',
    'processor-prefixed',
    'lora-down',
    'peft',
    'peft-default',
    'peft-folder/adapter_model',
    'cloneofsimo',
  ])('%s: alpha / rank of kohya, ranks and alphas by pattern, rsLoRA, scales inside the factors', async (name) => {
    // The delta written out from kohya's file: alpha / rank up down.
    const plain = await readAll(goldenExpert('tiny-sd1/kohya-diffusers.safetensors'));
    const layers = await load(name);
    let compared = 0;
    for (const { name: path, network } of [...tiny.unet, ...tiny.textEncoder]) {
      const key = `${network === 'unet' ? 'lora_unet_' : 'lora_te_'}${path.replaceAll('.', '_')}`;
      const layer = layers.get(path);
      const [down, up] = [plain.get(`${key}.lora_down.weight`), plain.get(`${key}.lora_up.weight`)];
      if (layer === undefined || down === undefined || up === undefined) continue;
      const rank = down.shape[0]!;
      const alpha = plain.get(`${key}.alpha`)!.data[0]!;
      const delta = denseDelta({ up: floatTensor([up.shape[0]!, rank], up.data), down }).map((x) => (x * alpha) / rank);
      expect(relativeError(denseDelta(layer), delta)).toBeLessThan(adapterTolerance.float32);
      expect(layer.residualEnergy).toBe(0);
      compared += 1;
    }
    expect(compared).toBeGreaterThan(19);
  });

  it.each(['conv-kohya', 'conv-ldm', 'conv-peft'])('%s: convolutions keep their kernel', async (name) => {
    const plain = await readAll(goldenExpert('tiny-sd1/conv-peft.safetensors'));
    const layers = await load(name);
    expect(layers.size).toBe(9);
    for (const [path, layer] of layers) {
      const down = plain.get(`unet.${path}.lora_A.weight`)!;
      const up = plain.get(`unet.${path}.lora_B.weight`)!;
      expect(layer.down.shape).toEqual(down.shape);
      const delta = denseDelta({ up: floatTensor([up.shape[0]!, up.shape[1]!], up.data), down });
      expect(relativeError(denseDelta(layer), delta)).toBeLessThan(adapterTolerance.float32);
    }
  });

  it.each(['tucker', 'loha', 'lokr', 'full'])(
    "%s: the delta of PEFT's own functions, exact as low rank",
    async (name) => {
      const deltas = await readAll(goldenExpert('tiny-sd1/deltas.safetensors'));
      const own = await readAll(goldenExpert('tiny-sd1/full.safetensors'));
      const layers = await load(name);
      for (const [path, layer] of layers) {
        const te = path.startsWith('text_model.') ? 'lora_te_' : 'lora_unet_';
        const delta =
          name === 'full' ? own.get(`${te}${path.replaceAll('.', '_')}.diff`) : deltas.get(`${name}:${path}`);
        expect(relativeError(denseDelta(layer), delta!.data)).toBeLessThan(adapterTolerance.float32);
        expect(layer.residualEnergy).toBe(0);
        const { outFeatures, inFeatures, kernel } = layer.module;
        expect(layer.up.shape[1]).toBeLessThanOrEqual(Math.min(outFeatures, inFeatures * kernel ** 2));
      }
    },
  );
});

const linear: NetworkModule = {
  network: 'unet',
  name: 'test',
  kind: 'linear',
  inFeatures: 24,
  outFeatures: 32,
  kernel: 1,
  stride: 1,
  padding: 0,
};

/** An entry whose tensors are given by role. */
function entryOf(
  algorithm: AdapterModule['algorithm'],
  parts: Readonly<Record<string, FloatTensor>>,
  more: Partial<AdapterModule> = {},
): { readonly entry: AdapterModule; readonly read: (ref: TensorRef) => Promise<FloatTensor> } {
  const held = new Map<TensorRef, FloatTensor>();
  const hold = (tensor: FloatTensor): TensorRef => {
    const ref = refOf(tensor.shape, 'float32');
    held.set(ref, tensor);
    return ref;
  };
  const tensors = Object.fromEntries(Object.entries(parts).map(([role, tensor]) => [role, hold(tensor)]));
  return {
    entry: { module: linear, layer: 'test', algorithm, tensors, rank: 2, ...more },
    read: (ref) => Promise.resolve(held.get(ref)!),
  };
}

const random = new TorchGenerator(3);

describe('scale', () => {
  const parts = { down: random.randn([2, 24]), up: random.randn([32, 2]) };

  it.each<[string, Partial<AdapterModule>, number]>([
    ['no alpha', {}, 1],
    ['alpha 0', { alpha: 0 }, 1],
    ['alpha None', { alpha: NaN }, 1],
    ['alpha = rank', { alpha: 2 }, 1],
    ['alpha 1 of rank 2', { alpha: 1 }, 0.5],
    ['a negative alpha', { alpha: -4 }, -2],
    ['rsLoRA', { alpha: 3, rsLora: true }, 3 / Math.SQRT2],
    ['a scale beside alpha', { alpha: 1, scale: 0.25 }, 0.25],
    ['a scale of 0', { scale: 0 }, 0],
  ])('%s', async (_, more, scale) => {
    const { entry, read } = entryOf('lora', parts, more);
    const { up, down } = await factorsOf(entry, read);
    expect(up.data).toEqual(parts.up.data.map((value) => value * scale));
    expect(down.data).toEqual(parts.down.data);
  });

  it.each([[Infinity], [NaN]])('%s among the weights is refused with the name of the layer', async (value) => {
    const up = floatTensor(parts.up.shape, parts.up.data.with(5, value));
    const { entry, read } = entryOf('lora', { ...parts, up });
    await expect(factorsOf(entry, read)).rejects.toThrow(/up of "test" \(test\) holds numbers that are not finite/);
  });

  it('an infinite alpha is refused', async () => {
    const { entry, read } = entryOf('lora', parts, { alpha: Infinity });
    await expect(factorsOf(entry, read)).rejects.toThrow(/alpha of "test"/);
  });
});

describe('truncation keeps the best approximation and says what it left out', () => {
  const w2 = random.randn([8, 6]);
  const w1 = random.randn([4, 4]);
  const cases: readonly (readonly [string, AdapterModule['algorithm'], Readonly<Record<string, FloatTensor>>])[] = [
    [
      'LoHa',
      'loha',
      {
        w1_a: random.randn([32, 4]),
        w1_b: random.randn([4, 24]),
        w2_a: random.randn([32, 4]),
        w2_b: random.randn([4, 24]),
      },
    ],
    ['LoKr', 'lokr', { w1, w2 }],
    [
      'LoKr in factors',
      'lokr',
      {
        w1_a: random.randn([4, 3]),
        w1_b: random.randn([3, 4]),
        w2_a: random.randn([8, 4]),
        w2_b: random.randn([4, 6]),
      },
    ],
    ['a full delta', 'full', { diff: random.randn([32, 24]) }],
  ];

  it.each(cases)('%s', async (_, algorithm, parts) => {
    const { entry, read } = entryOf(algorithm, parts, { alpha: 1 });
    const whole = await factorsOf(entry, read);
    expect(whole.residualEnergy).toBe(0);
    const cut = await factorsOf(entry, read, { mostRank: 5 });
    expect(cut.up.shape).toEqual([32, 5]);
    const delta = denseDelta(whole);
    const { s } = svd(floatTensor([32, 24], Float32Array.from(delta)));
    const energy = s.reduce((sum, value) => sum + value * value, 0);
    const best = s.subarray(5).reduce((sum, value) => sum + value * value, 0) / energy;
    expect(cut.residualEnergy).toBeCloseTo(best, 3);
    expect(relativeError(denseDelta(cut), delta) ** 2).toBeCloseTo(cut.residualEnergy, 5);
  });

  it.each(cases.slice(0, 2))('numbers beyond float32 are refused in words: %s', async (_, algorithm, parts) => {
    const huge = Object.entries(parts).map(([role, { shape, data }]) => [
      role,
      floatTensor(
        shape,
        data.map((value) => value * 1e37),
      ),
    ]);
    const { entry, read } = entryOf(algorithm, Object.fromEntries(huge) as Record<string, FloatTensor>);
    await expect(factorsOf(entry, read, { mostRank: 5 })).rejects.toThrow(/are too large to multiply/);
  });

  it('a LoRA is never cut', async () => {
    const { entry, read } = entryOf('lora', { down: random.randn([9, 24]), up: random.randn([32, 9]) });
    expect((await factorsOf(entry, read, { mostRank: 5 })).up.shape).toEqual([32, 9]);
  });
});

const loras = resolve(import.meta.dirname, '../../../shared/data/loras');
const present = existsSync(loras);
if (!present) console.log('factors of real LoRAs: skipped, no LoRA files beside the repository');

it.skipIf(!present).each(['analog_svd_rank4', 'diffusers-old-processor_weapons_MIT'])(
  'the real file %s is read whole at scale 1',
  async (name) => {
    const { tensors, metadata } = await readSafetensorsHeader(resolve(loras, `${name}.safetensors`));
    const { modules } = readAdapter(tensors, metadata, sd15Target);
    for (const entry of [modules[0]!, modules[77]!, modules.at(-1)!]) {
      const { up, down } = await factorsOf(entry, readFloats);
      expect(up).toEqual(await readFloats(entry.tensors['up']!));
      expect(down).toEqual(await readFloats(entry.tensors['down']!));
    }
  },
);
