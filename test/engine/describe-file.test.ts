// Report cards: every family, wrong bases, refused kinds, learned words, and metadata that wants to do harm. Files are those
// that diffusers, PEFT and the golden generator wrote, or true headers over a hole of zeros.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { FileReport } from '../../src-main/contract/files.ts';
import { describeFile } from '../../src-main/engine/describe-file.ts';
import { encodePicture } from '../../src-main/formats/png.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { textEncoderModules, unetModules, type NetworkModule } from '../../src-main/networks/modules.ts';
import { SD15 } from '../../src-main/networks/sd-configs.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';
import { writeSparse, type Shapes } from '../support/sparse-model.ts';

const root = mkdtempSync(join(tmpdir(), 'atelier-describe-'));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});
let count = 0;
const fresh = (name = 'ink.safetensors'): string => {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  return join(folder, name);
};
const sparse = (shapes: Shapes, metadata?: Readonly<Record<string, string>>): Promise<FileReport> =>
  describeFile(writeSparse(fresh(), shapes, metadata));

const golden = resolve(import.meta.dirname, '../golden/data');
const tiny = join(golden, 'networks/tiny-sd1');
const family = (name: string): string => join(golden, 'experts/tiny-sd1', name);

const modules = [...unetModules(SD15.unet), ...textEncoderModules(SD15.text)];
const kohyaKey = ({ network, name }: NetworkModule): string =>
  `lora_${network === 'unet' ? 'unet' : 'te'}_${name.replaceAll('.', '_')}`;
/** kohya's default: attention blocks and text encoder. */
const usual = modules.filter(({ network, name }) => network === 'text_encoder' || name.includes('.attentions.'));

function kohya(rank: number, targets = usual): Shapes {
  const shapes: Record<string, readonly number[]> = {};
  for (const module of targets) {
    const [key, kernel] = [kohyaKey(module), module.kind === 'conv' ? [module.kernel, module.kernel] : []];
    shapes[`${key}.lora_down.weight`] = [rank, module.inFeatures, ...kernel];
    shapes[`${key}.lora_up.weight`] = [module.outFeatures, rank, ...kernel.map(() => 1)];
    shapes[`${key}.alpha`] = [];
  }
  return shapes;
}

describe('the report card of a LoRA', () => {
  it("kohya's default: 264 layers, all matched, text encoder included; an alpha of 0 counts as the rank", async () => {
    const report = await sparse(kohya(16));
    expect(report).toMatchObject({ kind: 'lora', base: 'SD 1.x', family: 'kohya', problems: [] });
    expect(report.summary).toMatch(/^A LoRA for SD 1\.x: float16, rank 16, 792 tensors/);
    expect(report.adapter).toEqual({
      algorithms: ['LoRA'],
      ranks: [16, 16],
      alphas: [16, 16],
      modulesMatched: 264,
      modulesTotal: 264,
      unmatched: [],
      unmatchedTotal: 0,
      textEncoder: true,
      truncatedModules: 0,
      refusedKinds: [],
      triggerWords: [],
      training: [],
      sidecars: [],
      warnings: ['It does not say its trigger words, author or licence.'],
    });
  });

  it.each([
    ['kohya-diffusers.safetensors', 'kohya'],
    ['kohya-ldm.safetensors', 'kohya'],
    ['conv-kohya.safetensors', 'kohya'],
    ['peft.safetensors', 'diffusers (PEFT)'],
    ['processor.safetensors', 'diffusers (processor)'],
    ['lora-down.safetensors', 'diffusers (lora_linear_layer)'],
    ['generic.safetensors', 'generic'],
    ['simpletuner.safetensors', 'SimpleTuner'],
    ['cloneofsimo.safetensors', 'cloneofsimo'],
    ['peft-folder', 'PEFT'],
    ['loha.safetensors', 'kohya'],
    ['lokr.safetensors', 'kohya'],
    ['full.safetensors', 'kohya'],
    ['tucker.safetensors', 'kohya'],
  ])('%s fits the model that it was made for, whole', async (name, naming) => {
    const { adapter, problems, ...report } = await describeFile(family(name), { model: tiny });
    expect(report).toMatchObject({ kind: 'lora', family: naming });
    expect(problems).toEqual([]);
    expect(adapter!.modulesMatched).toBeGreaterThan(0);
    expect(adapter).toMatchObject({ modulesTotal: adapter!.modulesMatched, unmatchedTotal: 0, refusedKinds: [] });
  });

  it('algorithms are told apart', async () => {
    const of = async (name: string) =>
      (await describeFile(family(`${name}.safetensors`), { model: tiny })).adapter!.algorithms;
    expect(await of('loha')).toEqual(['LoHa']);
    expect(await of('lokr')).toEqual(['LoKr']);
    expect(await of('full')).toEqual(['full']);
    expect(await of('tucker')).toEqual(['LoCon (Tucker)']);
    expect(await of('conv-kohya')).toContain('LoCon');
  });

  it('deltas of full rank on large layers are counted as cut, small and low-rank ones not', async () => {
    const key = kohyaKey(usual[0]!);
    const { inFeatures, outFeatures } = usual[0]!;
    const cut = async (shapes: Shapes): Promise<number> => (await sparse(shapes)).adapter!.truncatedModules;
    expect(await cut({ [`${key}.diff`]: [outFeatures, inFeatures, 1, 1] })).toBe(1);
    const loha = (rank: number): Shapes =>
      Object.fromEntries(
        ['w1', 'w2'].flatMap((part) => [
          [`${key}.hada_${part}_a`, [outFeatures, rank]],
          [`${key}.hada_${part}_b`, [rank, inFeatures]],
        ]),
      );
    expect(await cut(loha(8))).toBe(0);
    expect(await cut(loha(9))).toBe(1);
  });

  it('a LoRA of a width of its own is compared with the model that is named, and refused by another', async () => {
    const report = await describeFile(family('loha.safetensors'));
    expect(report.base).toBe('a model of its own size (text 32 wide)');
    expect(report.problems.join()).toMatch(/name that model to compare/);
    const wrong = await sparse(kohya(4)).then(({ path }) => describeFile(path, { model: tiny }));
    expect(wrong.problems.join()).toMatch(/^It is for SD 1\.x \(.*768 wide\); "tiny-sd1" needs .*text 32 wide/);
  });

  it('names that belong to no layer are listed, 100 at most, and counted; the rest is used', async () => {
    const strange = Object.fromEntries(
      Array.from({ length: 150 }, (_, i) => [`lora_unet_nowhere_${i}.lora_down.weight`, [4, 320]]),
    );
    const { adapter, problems } = await sparse({ ...kohya(4), ...strange });
    expect(problems).toEqual([]);
    expect(adapter).toMatchObject({ modulesMatched: 264, modulesTotal: 414, unmatchedTotal: 150 });
    expect(adapter!.unmatched).toHaveLength(100);
  });
});

describe('what cannot be used is named', () => {
  it.each([
    ['SDXL', { 'lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_down.weight': [4, 2048] }],
    ['Flux', { 'transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight': [4, 3072] }],
    ['SD3', { 'lora_unet_joint_blocks_0_context_block_attn_qkv.lora_down.weight': [4, 1536] }],
  ])('a LoRA for %s', async (base, shapes) => {
    const report = await sparse(shapes);
    expect(report).toMatchObject({ kind: 'lora', base });
    expect(report.problems).toHaveLength(1);
    expect(report.problems[0]).toMatch(new RegExp(`^It is for ${base} .*this program runs LoRAs for SD 1.x and 2.x`));
  });

  const key = kohyaKey(usual[1]!);
  it.each<[string, Shapes]>([
    ['DoRA', { ...kohya(4, [usual[1]!]), [`${key}.dora_scale`]: [320, 1] }],
    ['OFT', { [`${key}.oft_blocks`]: [4, 80, 80] }],
    ['BOFT', { [`${key}.oft_blocks`]: [2, 4, 80, 80] }],
    ['IA3', { [`${key}.weight`]: [320, 1], [`${key}.on_input`]: [] }],
    ['GLoRA', Object.fromEntries(['a1', 'a2', 'b1', 'b2'].map((part) => [`${key}.${part}.weight`, [4, 320]]))],
  ])('%s', async (kind, shapes) => {
    const { adapter, problems, ...report } = await sparse(shapes);
    expect(report.kind).toBe('lora');
    expect(adapter).toMatchObject({ refusedKinds: [{ kind, count: 1 }], modulesMatched: 0, modulesTotal: 1 });
    expect(problems.join()).toContain(`1 module is ${kind}, which is not supported yet`);
  });

  it('a PEFT folder with pickled weights, or a damaged config', async () => {
    const folder = join(fresh(), '..');
    writeFileSync(join(folder, 'adapter_config.json'), '{}');
    writeFileSync(join(folder, 'adapter_model.bin'), 'PK');
    expect((await describeFile(folder)).problems.join()).toMatch(/pickled PyTorch file/);
    copyFileSync(family('peft-folder/adapter_model.safetensors'), join(folder, 'adapter_model.safetensors'));
    writeFileSync(join(folder, 'adapter_config.json'), '['.repeat(1000));
    expect((await describeFile(folder)).problems.join()).toMatch(/config cannot be read/);
  });
});

describe('what its metadata and sidecars add', () => {
  it('trigger words, author, training, picture, notes; a second opinion that differs is a warning', async () => {
    const path = writeSparse(fresh(), kohya(4), {
      ss_tag_frequency: '{"10_ohwx":{"cat":3}}',
      'modelspec.author': 'somebody',
      ss_epoch: '3',
      ss_base_model_version: 'sdxl_base_v1-0',
    });
    const picture = await encodePicture({ width: 8, height: 4, rgb: new Uint8Array(96) }, { format: 'png' }, undefined);
    writeFileSync(path.replace('.safetensors', '.preview.png'), picture);
    writeFileSync(path.replace('.safetensors', '.json'), '{"preferred weight": 0.7}');
    const { adapter, problems } = await describeFile(path);
    expect(problems).toEqual([]);
    expect(adapter).toMatchObject({
      triggerWords: ['ohwx', 'cat'],
      author: 'somebody',
      preferredWeight: 0.7,
      training: [['epochs', '3']],
      thumbnail: { where: 'file', format: 'png', width: 8, height: 4 },
    });
    expect(adapter!.sidecars).toHaveLength(2);
    expect(adapter!.warnings.join()).toMatch(/metadata says SDXL/);
  });

  it('hostile metadata: scripts, escapes, megabytes and depth stay text, and the card stays small', async () => {
    const evil = `<script>alert(1)</script>\u001b[2J\u202e${'x'.repeat(5_000_000)}`;
    const fields = ['modelspec.title', 'modelspec.author', 'modelspec.license', 'modelspec.description', 'ss_epoch'];
    const report = await sparse(kohya(4), {
      ...Object.fromEntries(fields.map((name) => [name, evil])),
      ss_tag_frequency: '{"a":'.repeat(100_000),
      ss_network_args: '['.repeat(100_000),
      lora_adapter_metadata: '['.repeat(100_000),
      'modelspec.thumbnail': 'A'.repeat(3_000_000),
      ssmd_cover_images: '['.repeat(3_000_000),
      __proto__: 'x',
      constructor: 'x',
    });
    expect(report).toMatchObject({ kind: 'lora', base: 'SD 1.x', problems: [] });
    expect(JSON.stringify(report.adapter).length).toBeLessThan(20_000);
    expect(report.adapter!.title).toContain('<script>alert(1)</script>\u001b');
    expect(report.metadata['ssmd_cover_images']).toBe('(pictures, 3000000 characters)');
    for (const value of Object.values(report.metadata)) expect(value.length).toBeLessThan(1_050_000);
  });

  it('hashes come when asked for, also of a PEFT folder', async () => {
    const file = family('loha.safetensors');
    expect((await describeFile(file)).hashes).toBeUndefined();
    const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect((await describeFile(file, { hashes: true })).hashes!.sha256).toBe(sha256(file));
    const folder = await describeFile(family('peft-folder'), { hashes: true });
    expect(folder.hashes!.sha256).toBe(sha256(family('peft-folder/adapter_model.safetensors')));
  });
});

describe('learned words', () => {
  it.each<[string, readonly number[], string]>([
    ['emb_params', [4, 768], 'SD 1.x'],
    ['<ink>', [768], 'SD 1.x'],
    ['emb_params', [2, 1024], 'SD 2.x'],
    ['emb_params', [2, 128], 'a model of its own size (text encoder 128 wide)'],
  ])('%s %j: vectors, width and base; the word is the name of the file', async (name, shape, base) => {
    const path = fresh('ink.safetensors');
    await writeSafetensors(path, { [name]: floatTensor(shape, new Float32Array(shape.reduce((a, b) => a * b))) });
    expect(await describeFile(path)).toMatchObject({
      kind: 'embedding',
      base,
      embeddings: [{ token: 'ink', vectors: shape.length === 1 ? 1 : shape[0], width: shape.at(-1) }],
      problems: [],
    });
  });

  it('for SDXL: two widths, and a problem', async () => {
    const report = await sparse({ clip_l: [3, 768], clip_g: [3, 1280] });
    expect(report).toMatchObject({ kind: 'embedding', base: 'SDXL', problems: ['It cannot be used here.'] });
    expect(report.embeddings!.map(({ width }) => width)).toEqual([768, 1280]);
  });

  it("a LoRA's own word is listed with it", async () => {
    const report = await describeFile(family('cloneofsimo.safetensors'), { model: tiny });
    expect(report.embeddings).toEqual([{ token: '<s1>', vectors: 1, width: 32 }]);
  });
});

const loras = resolve(import.meta.dirname, '../../../shared/data/loras');
const present = existsSync(loras);
if (!present) console.log('report cards of real LoRAs: skipped, no LoRA files beside the repository');

it.skipIf(!present).each([
  ['analog_svd_rank4', { modulesMatched: 192, modulesTotal: 192, textEncoder: true }],
  ['diffusers-old-processor_weapons_MIT', { modulesMatched: 128, modulesTotal: 128, textEncoder: false }],
])('a real file, %s: every layer matched', async (name, expected) => {
  const report = await describeFile(join(loras, `${name}.safetensors`));
  expect(report).toMatchObject({ kind: 'lora', base: 'SD 1.x', problems: [] });
  expect(report.adapter).toMatchObject({ ...expected, algorithms: ['LoRA'], ranks: [4, 4], unmatchedTotal: 0 });
});
