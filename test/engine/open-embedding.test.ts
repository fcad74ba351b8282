// Textual-inversion files as A1111, diffusers and ComfyUI write them, and those that cannot be used.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { learnedWords, openEmbedding } from '../../src-main/engine/open-embedding.ts';
import { failureOf } from '../../src-main/engine/failure-of.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-embedding-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const draw = (...shape: number[]): FloatTensor => new TorchGenerator(1).randn(shape);
const write = (name: string, tensors: Record<string, FloatTensor>): Promise<string> =>
  writeSafetensors(join(folder, name), tensors, {}, { whenTaken: 'replace' });
async function refusal(path: string, width = 768): Promise<string> {
  const failure = await openEmbedding(path, width).then(() => expect.unreachable('it opened'), failureOf);
  expect(failure.kind).toBe('bad-file');
  return failure.message;
}

describe('an embedding file', () => {
  it.each<[string, string, number[], string[]]>([
    ['of A1111', 'emb_params', [3, 768], ['word']],
    ['of diffusers, under its word', '<cat-toy>', [2, 768], ['word', '<cat-toy>']],
    ['of diffusers, one vector', '<cat-toy>', [768], ['word', '<cat-toy>']],
    ['of ComfyUI', 'clip_l', [1, 768], ['word']],
    ['converted from a pickle', 'string_to_param.*', [2, 768], ['word']],
  ])('%s is read', async (_, key, shape, names) => {
    const vectors = draw(...shape);
    const embedding = await openEmbedding(await write('word.safetensors', { [key]: vectors }), 768);
    expect(embedding.names).toEqual(names);
    expect(embedding.vectors.shape).toEqual(shape.length === 1 ? [1, 768] : shape);
    expect(embedding.vectors.data).toEqual(vectors.data);
  });

  it('for another base model is refused by name', async () => {
    const sd2 = await write('sd2.safetensors', { emb_params: draw(1, 1024) });
    expect(await refusal(sd2)).toMatch(/1024 numbers \(SD 2\.x\).*needs 768 \(SD 1\.x\)/);
    const sd1 = await write('sd1.safetensors', { emb_params: draw(1, 768) });
    expect(await refusal(sd1, 1024)).toMatch(/768 numbers \(SD 1\.x\).*needs 1024 \(SD 2\.x\)/);
    const sdxl = await write('sdxl.safetensors', { clip_l: draw(1, 768), clip_g: draw(1, 1280) });
    expect(await refusal(sdxl)).toMatch(/is for SDXL.*width 768/);
  });

  it('that is pickled is not opened, and why is said', async () => {
    for (const name of ['word.pt', 'word.bin']) {
      writeFileSync(join(folder, name), Buffer.from([0x80, 2, 0x7d, 0x71, 0, ...Array<number>(64).fill(0)]));
      expect(await refusal(join(folder, name))).toMatch(/can run code when it is read; it is not opened\. Convert/);
    }
  });

  it('of another kind or damaged is refused in words', async () => {
    const lora = { 'lora_unet_a.lora_up.weight': draw(8, 2), 'lora_unet_a.lora_down.weight': draw(2, 8) };
    expect(await refusal(await write('lora.safetensors', lora))).toMatch(/no textual-inversion embedding.*2 tensors/);
    expect(await refusal(await write('conv.safetensors', { w: draw(1, 1, 768) }))).toMatch(/no textual-inversion/);
    expect(await refusal(await write('long.safetensors', { emb_params: draw(76, 8) }), 8)).toMatch(
      /76 vectors; from 1 to 75/,
    );
    const broken = floatTensor([1, 8], new Float32Array(8).fill(Number.NaN));
    expect(await refusal(await write('nan.safetensors', { emb_params: broken }), 8)).toMatch(/finite/);
    expect(await refusal(join(folder, 'none.safetensors'))).toMatch(/no such file/);
  });
});

describe('learned words', () => {
  it('count their ids on from the vocabulary, over rows of one table', () => {
    const [a, b] = [draw(2, 4), draw(1, 4)];
    const { words, table } = learnedWords(
      [
        { names: ['a', '<a>'], vectors: a },
        { names: ['b', 'a'], vectors: b },
      ],
      49408,
      4,
    );
    expect([...words]).toEqual([
      ['a', [49408, 49409]],
      ['<a>', [49408, 49409]],
      ['b', [49410]],
    ]);
    expect(table.shape).toEqual([3, 4]);
    expect([...table.data]).toEqual([...a.data, ...b.data]);
  });

  it('without embeddings are none, over one row that means nothing', () => {
    const { words, table } = learnedWords([], 49408, 4);
    expect(words.size).toBe(0);
    expect(table).toEqual(floatTensor([1, 4]));
  });
});
