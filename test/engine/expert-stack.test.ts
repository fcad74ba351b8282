// From files on disk to pictures, through the engine's own handlers: stacks, orders, words, masks, gates, and what is refused.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MixRequest } from '../../src-main/contract/experts.ts';
import type { GenerateEvent, GenerateRequest, GenerateResult } from '../../src-main/contract/generation.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { writeGateFile } from '../../src-main/engine/gate-file.ts';
import { createHandlers } from '../../src-main/engine/handlers.ts';
import { writeLora } from '../../src-main/formats/lora-write.ts';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import { decodePicture } from '../../src-main/formats/png.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { fileSha256 } from '../../src-main/engine/file-hashes.ts';
import { groupsOf, zeroParameters } from '../../src-main/mole/trained-gate.ts';
import { textEncoderModules, unetModules } from '../../src-main/networks/modules.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { drawExpert } from '../support/draw-expert.ts';

const bundled = resolve(import.meta.dirname, '../../models/atelier-mini');
const handlers = createHandlers();
let folder: string;
let files: readonly string[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-stack-'));
  const { unet, textEncoder } = await openCheckpoint(bundled);
  const modules = [
    ...unetModules(unet.config).filter(({ name }) => name.includes('attn')),
    ...textEncoderModules(textEncoder.config).filter(({ name }) => name.includes('attn')),
  ];
  const written = [];
  for (const seed of [1, 2, 3]) {
    const { layers } = drawExpert(seed, modules, { rank: 2, strength: 0.3 });
    const list = (['unet', 'text_encoder'] as const).flatMap((network) =>
      [...layers[network].values()].map(({ module, down, up }) => ({ network, name: module.name, down, up })),
    );
    const metadata = { 'modelspec.trigger_phrase': `word${seed}` };
    written.push(await writeLora(join(folder, `expert-${seed}.safetensors`), list, metadata));
  }
  files = written;
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function draw(mix: MixRequest | undefined, wish: Partial<GenerateRequest> = {}) {
  const events: GenerateEvent[] = [];
  const request = {
    model: bundled,
    prompt: 'a red apple, noto style',
    seed: 1,
    steps: 3,
    cfgScale: 4,
    device: 'cpu',
    ...(mix === undefined ? {} : { mix }),
    output: { folder },
    ...wish,
  };
  const context = { signal: new AbortController().signal, emit: (event: GenerateEvent) => void events.push(event) };
  const result: GenerateResult = await handlers.generate(request, context);
  const { path } = result.pictures[0]!;
  return { path, events, warnings: result.warnings, rgb: (await decodePicture(path)).rgb };
}
const rgb = async (...args: Parameters<typeof draw>): Promise<Uint8Array> => (await draw(...args)).rgb;
const stack = (...weights: readonly number[]) => weights.map((weight, i) => ({ path: files[i]!, weight }));

/** A random gate over the three files, as train-gate would write it. */
async function gateFile(name: string, seed: number): Promise<string> {
  const { unet } = await openCheckpoint(bundled);
  const modules = unetModules(unet.config);
  const layers = [1, 2, 3].map(
    (s) =>
      drawExpert(
        s,
        modules.filter((module) => module.name.includes('attn')),
      ).layers.unet,
  );
  const spec = { granularity: 'block', form: 'pooled', amplitude: 'convex', timestep: false } as const;
  const random = new TorchGenerator(seed);
  const parameters = zeroParameters(groupsOf(modules, layers, spec), spec, 3).map((group) => ({
    ...group,
    weight: random.randn(group.weight.shape),
  }));
  const experts = await Promise.all(
    files.map(async (file, i) => ({ name: `expert-${i + 1}`, sha256: await fileSha256(file) })),
  );
  return writeGateFile(join(folder, name), { spec, experts, networks: { unet: parameters } });
}

describe('a stack of files', () => {
  it('in another order is the same picture to the last bit, its masks and weights too', async () => {
    const [a, b, c] = [0.5, -0.8, 1.2].map((weight, i) => ({ path: files[i]!, weight }));
    const first = await rgb({ experts: [a!, b!, c!], masks: { MID: [true, false, true] } });
    const second = await rgb({ experts: [c!, a!, b!], masks: { MID: [true, true, false] } });
    expect(second).toEqual(first);
    expect(first).not.toEqual(await rgb({ experts: [a!, b!, c!] }));
  });

  it('speaks by tags of the prompt as by name', async () => {
    const named = await rgb({ experts: [{ path: files[0]!, weight: 0.7, textWeight: 0.2 }] });
    const tagged = await rgb({ loraFolders: [folder] }, { prompt: 'a red apple, noto style<lora:expert-1:0.2:0.7>' });
    expect(tagged).toEqual(named);
    const { warnings } = await draw({ loraFolders: [folder] }, { prompt: 'a red apple <lora:nobody:1>' });
    expect(warnings.join(' ')).toMatch(/<lora:nobody:1> is left out/);
  });

  it('is told in the picture by name and hash, never by path', async () => {
    const { path } = await draw({ experts: stack(0.5, 0.25), mode: 'normalised' });
    const found = await readMetadata(path);
    if (found.kind !== 'mole') throw new Error(`Expected our own metadata, got ${found.kind}.`);
    expect(found.mole).toMatchObject({ mix: { mode: 'normalised', experts: [{ weight: 0.5 }, { weight: 0.25 }] } });
    expect(found.parameters!.loraHashes!.map(({ name }) => name).sort()).toEqual(['expert-1', 'expert-2']);
    expect(readFileSync(path).includes(folder)).toBe(false);
  });

  it.each(['sum', 'normalised', 'manual', 'switch', 'composite', 'np', 'ssr'] as const)(
    'draws a picture of its own in mode %s',
    async (mode) => {
      const picture = await rgb({ experts: stack(1, 1, 1), mode });
      expect(picture).not.toEqual(await rgb(undefined));
      expect(await rgb({ experts: stack(1, 1, 1), mode })).toEqual(picture);
    },
  );

  it('refuses weights that cannot be read, a gateless mode mole, and files of another kind, in words', async () => {
    const failure = (mix: MixRequest) =>
      draw(mix).then(
        () => undefined,
        (error: unknown) => String(error),
      );
    expect(await failure({ experts: [{ path: files[0]!, weight: '0.5@' }] })).toMatch(/expert-1: .*0\.5@/);
    expect(await failure({ experts: [{ path: files[0]!, blocks: '1,2,3' }] })).toMatch(/expert-1: /);
    expect(await failure({ experts: stack(1, 1), mode: 'mole' })).toMatch(/needs a trained gate/);
    expect(await failure({ experts: [{ path: join(bundled, 'unet/diffusion_pytorch_model.safetensors') }] })).toMatch(
      /expected a LoRA/,
    );
    expect(await failure({ experts: [{ path: join(folder, 'none.safetensors') }] })).toMatch(/no such file/);
    expect(await failure({ experts: stack(1), gate: files[0]! })).toMatch(/no gate file/);
    expect(await failure({ experts: stack(1, 1), mask: [true] })).toMatch(/2 experts/);
  });
});

describe('a gate file', () => {
  it('mixes its experts in any order, names missing and unknown ones, and is a mode of its own', async () => {
    const gate = await gateFile('g.mole.safetensors', 7);
    const all = stack(1, 1, 1);
    const { rgb: picture, events } = await draw({ experts: all, gate });
    expect(events.find((event) => event.kind === 'mixture')).toMatchObject({ mode: 'mole' });
    expect(await rgb({ experts: [all[2]!, all[0]!, all[1]!], gate })).toEqual(picture);
    expect(picture).not.toEqual(await rgb({ experts: all, mode: 'normalised' }));
    await expect(draw({ experts: all.slice(0, 2), gate })).rejects.toThrow(/Missing: expert-3/);
    await expect(draw({ experts: [...all, all[0]!], gate })).rejects.toThrow(/twice/);
  });

  it('is read out by the network command: gates per group and expert, with their names', async () => {
    const gate = await gateFile('h.mole.safetensors', 8);
    const random = new TorchGenerator(1);
    const input = join(folder, 'in.safetensors');
    await writeSafetensors(input, {
      sample: random.randn([1, 4, 16, 16]),
      timestep: random.rand([1]),
      encoder_hidden_states: random.randn([1, 77, 128]),
    });
    const [output, gatesOut] = [join(folder, 'out.safetensors'), join(folder, 'gates.safetensors')];
    const params = {
      network: 'unet',
      model: bundled,
      input,
      output,
      gatesOut,
      device: 'cpu',
      mix: { experts: stack(1, 1, 1), gate },
    };
    await handlers.network(params, { signal: new AbortController().signal, emit: () => undefined });
    const { tensors, metadata } = await readSafetensorsHeader(gatesOut);
    const gates = await readTensor(tensors.get('gates')!);
    const groups = JSON.parse(metadata['groups']!) as { row: string }[];
    expect(gates.shape).toEqual([1, groups.length, 3]);
    expect(groups.map(({ row }) => row)).toContain('MID');
    expect(JSON.parse(metadata['experts']!)).toEqual(['expert-1', 'expert-2', 'expert-3']);
  });
});

describe('a learned word', () => {
  it('is a token of the prompt: it changes pictures that name it and no others', async () => {
    const embedding = await writeSafetensors(join(folder, 'zorb.safetensors'), {
      emb_params: new TorchGenerator(9).randn([2, 128]),
    });
    const mix = { embeddings: [embedding] };
    const prompt = 'a zorb apple, noto style';
    expect(await rgb(mix, { prompt })).not.toEqual(await rgb(undefined, { prompt }));
    expect(await rgb(mix)).toEqual(await rgb(undefined));
  });
});
