// The clip loss against torch (test/golden/clip_vision.py): what CLIP sees of a picture, the loss of a prediction through the
// autoencoder and CLIP, and its gradient against torch autograd.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { gradientOutput, withGradient } from '../../src-main/autodiff/gradient.ts';
import { withRecomputation } from '../../src-main/autodiff/recompute.ts';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph } from '../../src-main/graph/ir.ts';
import { bindSizes } from '../../src-main/graph/passes/bind.ts';
import {
  clipJudge,
  clipNormalisation,
  clipReference,
  judgeNames,
  resizeMatrix,
  seenByClip,
  x0Factors,
  type ClipSight,
} from '../../src-main/mole/clip-loss.ts';
import { parseClipConfig } from '../../src-main/networks/clip-configs.ts';
import type { AttentionForm } from '../../src-main/networks/layers.ts';
import { parseAutoencoderConfig } from '../../src-main/networks/sd-configs.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { gradientTolerance, networkTolerance } from '../support/tolerances.ts';

const data = (name: string): string => fileURLToPath(new URL(`../golden/data/${name}`, import.meta.url));
const json = (name: string): unknown => JSON.parse(readFileSync(data(name), 'utf8'));
const witness = readGolden('clip-vision/expected.safetensors');

const refs = async (name: string) => {
  const { tensors } = await readSafetensorsHeader(data(name));
  return (key: string) => tensors.get(key)!;
};
const [vaeRef, clipRef] = await Promise.all([
  refs('networks/tiny-sd1/vae/diffusion_pytorch_model.safetensors'),
  refs('clip-vision/model.safetensors'),
]);
const sight = (attention: AttentionForm): ClipSight => ({
  vae: { config: parseAutoencoderConfig(json('networks/tiny-sd1/vae/config.json'), 'config.json'), ref: vaeRef },
  clip: {
    config: parseClipConfig(json('clip-vision/config.json'), 'config.json'),
    ref: clipRef,
    normalisation: clipNormalisation,
  },
  height: 8,
  width: 12,
  attention,
});

let session: Session | undefined;
afterEach(() => session?.release());
async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, FloatTensor>> {
  session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  return (await session.run(feeds)) as Record<string, FloatTensor>;
}

describe('what CLIP sees', () => {
  it.each(['32x48', '50x33', '16x20'])(
    'of a picture of %s is what torch makes of it with antialiasing',
    async (name) => {
      const image = witness(`image_${name}`);
      const b = new GraphBuilder('sight');
      b.output('seen', seenByClip(b, b.input('image', image.shape), 24, clipNormalisation));
      const { seen } = await run(b.build(), { image });
      expect(seen!.shape).toEqual([1, 3, 24, 24]);
      expect(relativeError(seen!.data, witness(`seen_${name}`).data)).toBeLessThan(networkTolerance.clip);
    },
  );

  it('of a picture of its own size is the picture', () => {
    expect([...resizeMatrix(3, 3)]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  });
});

describe('the clip loss', () => {
  it('embeds a reference picture through the autoencoder as torch does', async () => {
    const { image_embeds } = await run(clipReference(sight('fused')), { x0: witness('reference') });
    expect(relativeError(image_embeds!.data, witness('reference_embeds').data)).toBeLessThan(networkTolerance.clip);
  });

  it.each([
    ['epsilon', 'fused', 'kept'],
    ['epsilon', 'plain', 'kept'],
    ['v_prediction', 'fused', 'kept'],
    ['v_prediction', 'fused', 'computed twice'],
  ] as const)('and its gradient are those of torch autograd: %s, attention %s, activations %s', async (...wanted) => {
    const [kind, attention, activations] = wanted;
    const factors = Array.from(witness('alpha_bar').data, (alphaBar) => x0Factors(alphaBar, kind));
    const column = (numbers: readonly number[]) => floatTensor([2, 1, 1, 1], Float32Array.from(numbers));
    const feeds = {
      [judgeNames.prediction]: witness(`${kind}_prediction`),
      [judgeNames.sample]: witness('sample'),
      [judgeNames.sampleFactor]: column(factors.map(({ sample }) => sample)),
      [judgeNames.predictionFactor]: column(factors.map(({ prediction }) => prediction)),
      [judgeNames.text]: witness('text_embeds'),
      [judgeNames.reference]: witness('reference_embeds'),
    };
    const graph = bindSizes(clipJudge(sight(attention), { global: 1, local: 0.5 }), { B: 2 });
    const withRespectTo = [judgeNames.prediction];
    const gradientGraph = withGradient(graph, { of: [{ output: judgeNames.loss }], withRespectTo });
    const found = await run(activations === 'kept' ? gradientGraph : withRecomputation(gradientGraph), feeds);
    const losses = [judgeNames.loss, judgeNames.global, judgeNames.local].map((name) => found[name]!.data[0]!);
    expect(relativeError(losses, witness(`${kind}_losses`).data)).toBeLessThan(networkTolerance.clip);
    const gradient = found[gradientOutput(judgeNames.prediction)]!.data;
    expect(relativeError(gradient, witness(`${kind}_grad`).data)).toBeLessThan(gradientTolerance.network);
  });

  it.each(['epsilon', 'v_prediction'] as const)(
    'with captions told apart is cross entropy under CLIP’s scale: %s',
    async (kind) => {
      const factors = Array.from(witness('alpha_bar').data, (alphaBar) => x0Factors(alphaBar, kind));
      const column = (numbers: readonly number[]) => floatTensor([2, 1, 1, 1], Float32Array.from(numbers));
      const [own, later] = [witness('text_embeds'), witness('later_text_embeds')];
      const captions = floatTensor([4, own.shape[1]!], Float32Array.from([...own.data, ...later.data]));
      const feeds = {
        [judgeNames.prediction]: witness(`${kind}_prediction`),
        [judgeNames.sample]: witness('sample'),
        [judgeNames.sampleFactor]: column(factors.map(({ sample }) => sample)),
        [judgeNames.predictionFactor]: column(factors.map(({ prediction }) => prediction)),
        [judgeNames.text]: own,
        [judgeNames.reference]: witness('reference_embeds'),
        [judgeNames.captions]: captions,
        [judgeNames.own]: floatTensor([2, 4], Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0)),
      };
      const graph = bindSizes(clipJudge(sight('fused'), { global: 0, local: 0, contrast: 0.7 }), { B: 2, K: 4 });
      const withRespectTo = [judgeNames.prediction];
      const found = await run(withGradient(graph, { of: [{ output: judgeNames.loss }], withRespectTo }), feeds);
      const contrast = witness(`${kind}_contrast`).data[0]!;
      expect(relativeError(found[judgeNames.contrast]!.data, [contrast])).toBeLessThan(networkTolerance.clip);
      expect(relativeError(found[judgeNames.loss]!.data, [0.7 * contrast])).toBeLessThan(networkTolerance.clip);
      const gradient = found[gradientOutput(judgeNames.prediction)]!.data;
      expect(relativeError(gradient, witness(`${kind}_contrast_grad`).data)).toBeLessThan(gradientTolerance.network);
    },
  );
});
