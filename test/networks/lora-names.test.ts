// Names of LoRA files of every family against the modules of a model. Witnesses: files written by diffusers and PEFT or in the
// names that their loaders and converters understand (test/golden/experts.py), real files, and diffusers' module traversal.
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import type { AdapterContents } from '../../src-main/networks/adapter.ts';
import { textEncoderOrder, unetOrders } from '../../src-main/networks/cloneofsimo.ts';
import { readAdapter } from '../../src-main/networks/lora-names.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { goldenExpert, refOf, sd15Target, targetOf, tinyConfigs } from '../support/adapter-case.ts';

const tiny = targetOf(tinyConfigs['tiny-sd1']);

async function open(name: string, target = tiny): Promise<AdapterContents> {
  const { tensors, metadata } = await readSafetensorsHeader(goldenExpert(name));
  return readAdapter(tensors, metadata, target);
}

const read = (
  shapes: Readonly<Record<string, readonly number[]>>,
  metadata: Readonly<Record<string, string>> = {},
  config?: unknown,
): AdapterContents =>
  readAdapter(new Map(Object.entries(shapes).map(([key, shape]) => [key, refOf(shape)])), metadata, tiny, config);

const namesOf = ({ modules }: AdapterContents): string[] => modules.map(({ module }) => module.name);

const unit = 'down_blocks.0.attentions.0.transformer_blocks.0';
const key = `lora_unet_${unit.replaceAll('.', '_')}_attn1_to_q`;
/** A whole LoRA of one layer, 16 wide. */
const one = (layer: string): Readonly<Record<string, readonly number[]>> => ({
  [`${layer}.lora_down.weight`]: [2, 16],
  [`${layer}.lora_up.weight`]: [16, 2],
});

describe('one LoRA in the names of each family changes the same modules', () => {
  it.each([
    ['kohya-ldm', 'kohya'],
    ['lora-down', 'diffusers (lora_linear_layer)'],
    ['peft', 'diffusers (PEFT)'],
    ['peft-default', 'diffusers (PEFT)'],
  ])('%s, all modules', async (name, family) => {
    const found = await open(`tiny-sd1/${name}.safetensors`);
    expect(namesOf(found)).toEqual(namesOf(await open('tiny-sd1/kohya-diffusers.safetensors')));
    expect(found).toMatchObject({ family, unmatched: [], misshapen: [], refused: [], warnings: [] });
  });

  it.each([
    ['simpletuner', 'SimpleTuner'],
    ['generic', 'generic'],
    ['peft-folder/adapter_model', 'PEFT'],
  ])('%s, the UNet', async (name, family) => {
    const found = await open(`tiny-sd1/${name}.safetensors`);
    const { modules } = await open('tiny-sd1/kohya-diffusers.safetensors');
    const inUNet = modules.filter(({ module }) => module.network === 'unet');
    expect(namesOf(found)).toEqual(inUNet.map(({ module }) => module.name));
    expect(found).toMatchObject({ family, unmatched: [], misshapen: [], refused: [] });
  });

  it.each(['processor', 'processor-prefixed'])('%s, attention', async (name) => {
    const found = await open(`tiny-sd1/${name}.safetensors`);
    const { modules } = await open('tiny-sd1/kohya-diffusers.safetensors');
    const attention = modules.filter(({ module }) => /attn/.test(module.name));
    expect(namesOf(found)).toEqual(attention.map(({ module }) => module.name));
    expect(found).toMatchObject({ family: 'diffusers (processor)', unmatched: [], misshapen: [] });
  });

  it('convolutions and time embeddings in three families', async () => {
    const found = await open('tiny-sd1/conv-kohya.safetensors');
    expect(found.modules).toHaveLength(9);
    for (const other of ['conv-ldm', 'conv-peft']) {
      expect(namesOf(await open(`tiny-sd1/${other}.safetensors`))).toEqual(namesOf(found));
    }
  });

  it("SD 2's linear projections and other block counts in both namings", async () => {
    const target = targetOf(tinyConfigs['tiny-sd2']);
    const found = await open('tiny-sd2/kohya-ldm.safetensors', target);
    expect(found.modules).toHaveLength(33);
    expect(namesOf(found)).toEqual(namesOf(await open('tiny-sd2/kohya-diffusers.safetensors', target)));
    expect(found).toMatchObject({ unmatched: [], misshapen: [] });
  });

  it.each(['tucker', 'loha', 'lokr', 'full'])('%s', async (name) => {
    const found = await open(`tiny-sd1/${name}.safetensors`);
    expect(found.modules.map(({ algorithm }) => algorithm)).toEqual(found.modules.map(() => name));
    expect(found.modules.length).toBeGreaterThan(1);
    expect(found).toMatchObject({ family: 'kohya', unmatched: [], misshapen: [], refused: [] });
  });

  it.each([
    ['every module of the UNet', 'unet'],
    ['every module of the text encoder', 'text_encoder'],
  ] as const)('%s, under every name that a family has for it, is that module', (_, network) => {
    const all = network === 'unet' ? sd15Target.unet : sd15Target.textEncoder;
    for (const prefix of network === 'unet' ? ['lora_unet_', 'lycoris_'] : ['lora_te_', 'lora_te1_']) {
      const tensors = new Map<string, TensorRef>();
      for (const { name, inFeatures, outFeatures, kernel } of all) {
        const layer = prefix + name.replaceAll('.', '_');
        tensors.set(`${layer}.lora_up.weight`, refOf([outFeatures, 4, 1, 1]));
        tensors.set(`${layer}.lora_down.weight`, refOf([4, inFeatures, kernel, kernel]));
      }
      const found = readAdapter(tensors, {}, sd15Target);
      expect(namesOf(found)).toEqual(all.map(({ name }) => name));
      expect(found.unmatched).toEqual([]);
    }
  });
});

describe('numbered layers (cloneofsimo)', () => {
  const orders = JSON.parse(readFileSync(goldenExpert('orders.json'), 'utf8')) as Record<string, string[]>;

  it("are in the order of diffusers' and transformers' own module traversal", () => {
    const classes = new Set(['CrossAttention', 'Attention', 'GEGLU']);
    const [today, old] = unetOrders(sd15Target.unet, classes);
    expect(today!.map(({ name }) => name)).toEqual(orders['today']);
    expect(old!.map(({ name }) => name)).toEqual(orders['diffusers 0.11']);
    const text = textEncoderOrder(sd15Target.textEncoder, new Set(['CLIPAttention']));
    expect(text.map(({ name }) => name)).toEqual(orders['text encoder']);
  });

  it('bring their word along', async () => {
    const found = await open('tiny-sd1/cloneofsimo.safetensors');
    expect(found.modules).toHaveLength(7 * 9 + 3 * 4);
    expect([...found.embeddings.keys()]).toEqual(['<s1>']);
    expect(found).toMatchObject({ family: 'cloneofsimo', unmatched: [], misshapen: [], refused: [] });
  });

  async function numbered(
    change: (tensors: Map<string, TensorRef>, metadata: Record<string, string>) => void,
  ): Promise<AdapterContents> {
    const { tensors, metadata } = await readSafetensorsHeader(goldenExpert('tiny-sd1/cloneofsimo.safetensors'));
    const [changed, texts] = [new Map(tensors), { ...metadata }];
    change(changed, texts);
    return readAdapter(changed, texts, tiny);
  }

  it("today's order of a block is told from the old one by its shapes", async () => {
    const [today, old] = unetOrders(tiny.unet, new Set(['Attention', 'GEGLU']));
    const found = await numbered((tensors) => {
      const refs = old!.map((_, i) => [tensors.get(`unet:${i}:up`)!, tensors.get(`unet:${i}:down`)!] as const);
      for (const [i, module] of today!.entries()) {
        const [up, down] = refs[old!.indexOf(module)]!;
        tensors.set(`unet:${i}:up`, up);
        tensors.set(`unet:${i}:down`, down);
      }
    });
    const ups = new Map(found.modules.map(({ module, tensors }) => [module.name, tensors['up']]));
    const before = await open('tiny-sd1/cloneofsimo.safetensors');
    for (const { module, tensors } of before.modules) expect(ups.get(module.name)).toEqual(tensors['up']);
  });

  it.each<[string, (tensors: Map<string, TensorRef>, metadata: Record<string, string>) => void, RegExp]>([
    ['a wrong shape', (t) => t.set('unet:20:up', refOf([48, 2])), /layer 20 would be .*up is \[48, 2\]/],
    ['a gap', (t) => t.delete('unet:3:up'), /UNet have a gap at 3/],
    [
      'fewer layers',
      (t) => (t.delete('unet:62:up'), t.delete('unet:62:down')),
      /numbers 62 layers of its UNet.*has 63/,
    ],
    ['an unknown class', (_, m) => (m['unet'] = '["Attention", "Mamba"]'), /"Mamba", which is not known here/],
    [
      'classes that are none',
      (_, m) => (m['text_encoder'] = '{"a":'),
      /text encoder layers are numbered by cannot be read/,
    ],
    ['a number beyond all', (t) => t.set('unet:999999:up', refOf([16, 2])), /gap/],
  ])('are refused whole with %s', async (_, change, message) => {
    const found = await numbered(change);
    expect(found.modules).toEqual([]);
    expect(found.refused).toHaveLength(1);
    expect(found.refused[0]!.message).toMatch(message);
  });
});

describe('what cannot be used is told', () => {
  it.each<[string, Readonly<Record<string, readonly number[]>>]>([
    ['DoRA', { ...one(key), [`${key}.dora_scale`]: [16, 1] }],
    [
      'DoRA',
      { [`unet.${unit}.attn1.to_q.lora_A.weight`]: [2, 16], [`unet.${unit}.attn1.to_q.lora_magnitude_vector`]: [16] },
    ],
    ['OFT', { [`${key}.oft_blocks`]: [4, 4, 4], [`${key}.alpha`]: [] }],
    ['BOFT', { [`${key}.oft_blocks`]: [2, 4, 4, 4] }],
    ['IA3', { [`${key}.weight`]: [16], [`${key}.on_input`]: [1] }],
    ['GLoRA', { [`${key}.a1.weight`]: [16, 2], [`${key}.a2.weight`]: [2, 16], [`${key}.b1.weight`]: [16, 2] }],
    ['norm', { [`lora_unet_conv_norm_out.w_norm`]: [16], [`lora_unet_conv_norm_out.b_norm`]: [16] }],
  ])('%s by its name', (kind, shapes) => {
    const found = read(shapes);
    expect(found.refused).toMatchObject([{ kind, count: 1 }]);
    expect(found.refused[0]!.message).toMatch(/^1 module is \w+, which is not supported yet/);
    expect(found.modules).toEqual([]);
  });

  it('names that no module has, and tensors of no known kind', () => {
    const strange = {
      ...one('lora_unet_down_blocks_9_attentions_0_proj_in'),
      [`${key}.diff_b`]: [16],
      'lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha': [],
      [`unet.${unit}.attn1.to_q.lora_B.bias`]: [16],
      whatever: [3],
    };
    const found = read({ ...one(key), ...strange });
    expect(namesOf(found)).toEqual([`${unit}.attn1.to_q`]);
    expect([...found.unmatched].sort()).toEqual(Object.keys(strange).sort());
  });

  it.each<[string, Readonly<Record<string, readonly number[]>>, RegExp]>([
    ['half a pair', { [`${key}.lora_down.weight`]: [2, 16] }, /it lacks up/],
    ['another width', { ...one(key), [`${key}.lora_down.weight`]: [2, 320] }, /down is \[2, 320\], expected \[r, 16\]/],
    ['two ranks', { ...one(key), [`${key}.lora_up.weight`]: [16, 3] }, /up is \[16, 3\], expected \[16, 2\]/],
    ['rank 0', { [`${key}.lora_down.weight`]: [0, 16], [`${key}.lora_up.weight`]: [16, 0] }, /down is \[0, 16\] of/],
    ['alphas', { ...one(key), [`${key}.alpha`]: [16] }, /alpha is \[16\], expected one number/],
    [
      'a LoHa of two widths',
      {
        [`${key}.hada_w1_a`]: [16, 2],
        [`${key}.hada_w1_b`]: [2, 16],
        [`${key}.hada_w2_a`]: [16, 2],
        [`${key}.hada_w2_b`]: [2, 8],
      },
      /w2_b is \[2, 8\]/,
    ],
    [
      'a LoKr that divides nothing',
      { [`${key}.lokr_w1`]: [3, 3], [`${key}.lokr_w2`]: [5, 5] },
      /does not divide \[16, 16\]/,
    ],
    [
      'a second name for one module',
      { ...one(key), ...one('lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q') },
      /is there already as/,
    ],
  ])('%s', (_, shapes, message) => {
    expect(read(shapes).misshapen).toEqual([expect.stringMatching(message)]);
  });

  it('linear factors fit a 1x1 convolution, and the reverse', () => {
    const found = read({
      'lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight': [2, 16],
      'lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight': [16, 2],
      [`${key}.lora_down.weight`]: [2, 16, 1, 1],
      [`${key}.lora_up.weight`]: [16, 2, 1, 1],
    });
    expect(found.modules.map(({ module }) => module.kind)).toEqual(['conv', 'linear']);
    expect(found.misshapen).toEqual([]);
  });

  it('whole numbers are no weights', () => {
    const tensors = new Map([
      [`${key}.lora_down.weight`, refOf([2, 16], 'int8')],
      [`${key}.lora_up.weight`, refOf([16, 2])],
    ]);
    expect(readAdapter(tensors, {}, tiny).misshapen).toEqual([expect.stringMatching(/down is \[2, 16\] of int8/)]);
  });
});

describe('PEFT configs', () => {
  const layer = `base_model.model.${unit}.attn1.to_q`;
  const shapes = { [`${layer}.lora_A.weight`]: [2, 16], [`${layer}.lora_B.weight`]: [16, 2] };
  const scale = (config: unknown): unknown => {
    const [{ alpha, rsLora } = { alpha: 'none' }] = read(shapes, {}, config).modules;
    return [alpha, rsLora];
  };

  it('give alpha, by pattern where one ends the path', () => {
    expect(scale({ r: 2, lora_alpha: 8 })).toEqual([8, undefined]);
    expect(scale({ r: 2, lora_alpha: 8, use_rslora: true })).toEqual([8, true]);
    expect(scale({ lora_alpha: 8, alpha_pattern: { to_k: 3, to_q: 4 } })).toEqual([4, undefined]);
    expect(scale({ lora_alpha: 8, alpha_pattern: { '^to_q': 4, o_q: 5 } })).toEqual([8, undefined]);
    expect(scale({ lora_alpha: 8, alpha_pattern: { [`^${unit.replaceAll('.', '\\.')}.attn1.to_q$`]: 4 } })).toEqual([
      4,
      undefined,
    ]);
  });

  it.each([[undefined], [null], [[]], ['r'], [{ lora_alpha: '8' }], [{ lora_alpha: Infinity, r: {} }], [{ r: 2 }]])(
    '%j says nothing of scale',
    (config) => {
      expect(scale(config)).toEqual([undefined, undefined]);
    },
  );

  it('patterns that are real regular expressions are told and not run', () => {
    const { warnings, modules } = read(shapes, {}, { lora_alpha: 8, alpha_pattern: { '(a+)+$': 1, '.*to_q': 2 } });
    expect(warnings).toEqual(['2 patterns of its PEFT config were not understood and do not count.']);
    expect(modules[0]!.alpha).toBe(8);
  });

  it.each(['{', '[]', '"x"', 'x'.repeat(3_000_000), '['.repeat(200_000)])(
    'metadata that is no config is a warning',
    (text) => {
      const found = read(
        { [`unet.${unit}.attn1.to_q.lora_A.weight`]: [2, 16], [`unet.${unit}.attn1.to_q.lora_B.weight`]: [16, 2] },
        { lora_adapter_metadata: text },
      );
      expect(found.modules).toHaveLength(1);
      expect(found.warnings).toEqual([expect.stringMatching(/lora_adapter_metadata/)]);
    },
  );
});

describe('damaged and hostile files', () => {
  it('names that objects have by themselves, empty names and endless names are unmatched', () => {
    const names = [
      '__proto__.alpha',
      'constructor.lora_A.weight',
      'toString.lora_up.weight',
      '',
      '.alpha',
      '.lora_A.weight',
    ];
    const long = `${'.lora_A'.repeat(100_000)}.weight`;
    const found = read(Object.fromEntries([...names, long].map((name) => [name, [2, 2]])));
    expect(found.modules).toEqual([]);
    expect(found.unmatched).toHaveLength(names.length + 1);
    expect(found.family).not.toMatch(/proto/);
  });

  it('200 000 strange layers are listed, none is dropped', () => {
    const tensors = new Map(
      Array.from({ length: 200_000 }, (_, i) => [`lora_unet_x_${i}.lora_up.weight`, refOf([4, 4])]),
    );
    expect(readAdapter(tensors, {}, tiny).unmatched).toHaveLength(200_000);
  });

  it('no damage to names, shapes or types throws, and what is matched fits its module', async () => {
    const random = new TorchGenerator(5);
    const draw = (below: number): number => random.randint(0, below, 1)[0]!;
    const sources = ['kohya-ldm', 'peft', 'loha', 'lokr', 'tucker', 'cloneofsimo', 'processor'];
    for (let round = 0; round < 300; round++) {
      const { tensors, metadata } = await readSafetensorsHeader(
        goldenExpert(`tiny-sd1/${sources[round % sources.length]!}.safetensors`),
      );
      const damaged = new Map<string, TensorRef>();
      for (const [name, ref] of tensors) {
        const [at, how] = [draw(name.length), draw(30)];
        const shape = [...ref.shape];
        if (how === 1) continue;
        if (how === 2) shape[draw(Math.max(1, shape.length))] = [0, 1, 3, 2 ** 40][draw(4)]!;
        if (how === 3) shape.push(draw(3));
        if (how === 4) shape.reverse();
        const changed = how === 5 ? name.slice(0, at) : how === 6 ? `${name.slice(0, at)}._${name.slice(at)}` : name;
        damaged.set(changed, { ...ref, shape, dtype: how === 7 ? 'bool' : ref.dtype });
      }
      const found = readAdapter(damaged, metadata, tiny);
      for (const { module, tensors: factors, algorithm } of found.modules) {
        if (algorithm !== 'lora') continue;
        const { up, down } = factors;
        expect(up!.shape[0]).toBe(module.outFeatures);
        expect(down!.shape.reduce((a, b) => a * b)).toBe(up!.shape[1]! * module.inFeatures * module.kernel ** 2);
      }
    }
  });
});

const loras = resolve(import.meta.dirname, '../../../shared/data/loras');
const present = existsSync(loras);
if (!present) console.log('names in real LoRAs: skipped, no LoRA files beside the repository');

describe.skipIf(!present)('real files', () => {
  it('numbered layers: all 144 of the UNet and 48 of the text encoder', async () => {
    const { tensors, metadata } = await readSafetensorsHeader(resolve(loras, 'analog_svd_rank4.safetensors'));
    const found = readAdapter(tensors, metadata, sd15Target);
    expect(found.modules).toHaveLength(192);
    expect(found).toMatchObject({ family: 'cloneofsimo', unmatched: [], refused: [], misshapen: [] });
    const orders = JSON.parse(readFileSync(goldenExpert('orders.json'), 'utf8')) as Record<string, string[]>;
    const byName = new Map(found.modules.map(({ module, layer }) => [layer, module.name]));
    expect(orders['diffusers 0.11']!.map((_, i) => byName.get(`unet:${i}`))).toEqual(orders['diffusers 0.11']);
  });

  it('attention processors: all 256 tensors', async () => {
    const { tensors, metadata } = await readSafetensorsHeader(
      resolve(loras, 'diffusers-old-processor_weapons_MIT.safetensors'),
    );
    const found = readAdapter(tensors, metadata, sd15Target);
    expect(found.modules).toHaveLength(128);
    expect(found).toMatchObject({ family: 'diffusers (processor)', unmatched: [], refused: [], misshapen: [] });
  });
});
