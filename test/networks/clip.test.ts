// CLIP's image and text half against transformers on the same random weights, computed by test/golden/clip_vision.py, and what a
// config.json of CLIP may say.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { parseClipConfig } from '../../src-main/networks/clip-configs.ts';
import { clipTextEmbeds, endOfText } from '../../src-main/networks/clip-text-embeds.ts';
import { clipVision } from '../../src-main/networks/clip-vision.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { intTensor, type FloatTensor, type IntTensor } from '../../src-main/tensor/tensor.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { networkTolerance } from '../support/tolerances.ts';

const golden = (name: string): string => fileURLToPath(new URL(`../golden/data/clip-vision/${name}`, import.meta.url));
const json = JSON.parse(readFileSync(golden('config.json'), 'utf8')) as Readonly<Record<string, unknown>>;
const config = parseClipConfig(json, 'config.json');
const { tensors } = await readSafetensorsHeader(golden('model.safetensors'));
const options = { ref: (name: string) => tensors.get(name)! };
const witness = readGolden('clip-vision/expected.safetensors');

let session: Session | undefined;
afterEach(() => session?.release());

describe('CLIP with the weights of transformers', () => {
  it.each(['fused', 'plain'] as const)('embeds pictures alike, attention %s', async (attention) => {
    session = await Session.open(clipVision(config, { ...options, attention }), { provider: 'cpu', threads: 1 });
    const { image_embeds: found } = await session.run({ image: witness('pixels') });
    const expected = witness('image_embeds');
    expect(found!.shape).toEqual(expected.shape);
    expect(relativeError((found as FloatTensor).data, expected.data)).toBeLessThan(networkTolerance.clip);
  });

  it.each([
    ['at the largest id where the config says 2', 'input_ids', 'text_embeds', 2],
    ['at the first end mark else', 'later_ids', 'later_text_embeds', 509],
  ] as const)('embeds texts alike, read %s', async (_, ids, embeds, eosTokenId) => {
    session = await Session.open(clipTextEmbeds(config, options), { provider: 'cpu', threads: 1 });
    const { tensors: all } = await readSafetensorsHeader(golden('expected.safetensors'));
    const input_ids = (await readTensor(all.get(ids)!)) as IntTensor;
    const { text_embeds: found } = await session.run({ input_ids, end: endOfText(input_ids, eosTokenId) });
    expect(relativeError((found as FloatTensor).data, witness(embeds).data)).toBeLessThan(networkTolerance.clip);
  });

  it('reads a text without an end mark at its first token, as transformers does', () => {
    expect([...endOfText(intTensor([1, 3], [5, 6, 7]), 9).data]).toEqual([1, 0, 0]);
  });
});

describe("CLIP's config", () => {
  it('is read as it is written, and absent fields as transformers fills them', () => {
    expect(config).toMatchObject({ eosTokenId: 2, projectionDim: 24, vision: { imageSize: 24, patchSize: 8 } });
    expect(parseClipConfig({ model_type: 'clip' }, 'config.json')).toMatchObject({
      eosTokenId: 49407,
      projectionDim: 512,
      text: { hiddenSize: 512, numHiddenLayers: 12 },
      vision: { hiddenSize: 768, imageSize: 224, patchSize: 32, hiddenAct: 'quick_gelu' },
    });
  });

  it('lets the fields that older files repeat win', () => {
    const older = { ...json, vision_config_dict: { ...(json['vision_config'] as object), patch_size: 4 } };
    expect(parseClipConfig(older, 'config.json').vision.patchSize).toBe(4);
  });

  it.each([
    [{ model_type: 'clip_text_model' }, /text half of CLIP alone/],
    [{ model_type: 'clip_vision_model' }, /image half of CLIP alone/],
    [{ model_type: 'siglip' }, /another kind of model \("siglip"\)/],
    [{}, /does not say what it is/],
    [{ model_type: 'clip', vision_config: { hidden_act: 'relu' } }, /"hidden_act" is "relu"/],
    [{ model_type: 'clip', vision_config: { image_size: 30, patch_size: 8 } }, /does not divide/],
    [{ model_type: 'clip', vision_config: 7 }, /expected a JSON object/],
    [[], /expected a JSON object/],
  ])('%j is refused in words', (wrong, message) => {
    expect(() => parseClipConfig(wrong, 'config.json')).toThrow(message);
  });
});
