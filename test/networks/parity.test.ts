// Every network against diffusers and transformers on the same random weights, computed by test/golden/networks.py.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { vaeDecoder, vaeEncoder } from '../../src-main/networks/autoencoder.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import { parseAutoencoderConfig, parseClipTextConfig, parseUNetConfig } from '../../src-main/networks/sd-configs.ts';
import { unet } from '../../src-main/networks/unet.ts';
import { Session } from '../../src-main/runtime/session.ts';
import type { FloatTensor, Tensor } from '../../src-main/tensor/tensor.ts';
import { relativeError } from '../support/read-golden.ts';
import { networkTolerance } from '../support/tolerances.ts';

const golden = resolve(import.meta.dirname, '../golden/data/networks');
const models = ['tiny-sd1', 'tiny-sd2'] as const;
const forms = ['fused', 'plain'] as const;

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return session.run(feeds);
}

async function weights(file: string): Promise<(name: string) => TensorRef> {
  const { tensors } = await readSafetensorsHeader(resolve(golden, file));
  return (name) => {
    const ref = tensors.get(name) ?? tensors.get(name.replace(/^text_model\./, ''));
    if (ref === undefined) throw new Error(`${file} has no ${name}.`);
    return ref;
  };
}

async function expected(model: string): Promise<(name: string) => Promise<Tensor>> {
  const { tensors } = await readSafetensorsHeader(resolve(golden, model, 'expected.safetensors'));
  return (name) => readTensor(tensors.get(name)!);
}

const config = (path: string): unknown => JSON.parse(readFileSync(resolve(golden, path), 'utf8'));
const error = (got: Tensor | undefined, want: Tensor): number => {
  expect(got?.shape).toEqual(want.shape);
  return relativeError((got as FloatTensor).data, (want as FloatTensor).data);
};

describe.each(models)('%s with the weights of diffusers', (model) => {
  it.each([
    ['every layer', 0, 'last_hidden_state'],
    ['the last layer left out (Clip skip 2)', 1, 'penultimate'],
  ] as const)('the text encoder agrees, %s', async (_, skipLayers, key) => {
    const want = await expected(model);
    const text = parseClipTextConfig(config(`${model}/text_encoder/config.json`), 'config.json');
    const graph = clipText(text, { ref: await weights(`${model}/text_encoder/model.safetensors`), skipLayers });
    const { last_hidden_state: states } = await run(graph, { input_ids: await want('input_ids') });
    expect(error(states, await want(key))).toBeLessThan(networkTolerance.textEncoder);
  });

  it.each(forms.flatMap((form) => [[form, ''] as const, [form, '_odd'] as const]))(
    'the UNet agrees with %s attention, input%s',
    async (attention, tag) => {
      const want = await expected(model);
      const names = ['sample', 'timestep', 'encoder_hidden_states'] as const;
      const feeds = Object.fromEntries(
        await Promise.all(names.map(async (name) => [name, await want(name + tag)] as const)),
      );
      const [height, width] = feeds['sample']!.shape.slice(2) as [number, number];
      const graph = unet(parseUNetConfig(config(`${model}/unet/config.json`), 'config.json'), {
        ref: await weights(`${model}/unet/diffusion_pytorch_model.safetensors`),
        height,
        width,
        textTokens: 77,
        attention,
      });
      const { out_sample: prediction } = await run(graph, feeds);
      expect(error(prediction, await want(`out_sample${tag}`))).toBeLessThan(networkTolerance.unet);
    },
  );

  it.each(forms)('the autoencoder agrees both ways with %s attention', async (attention) => {
    const want = await expected(model);
    const vae = parseAutoencoderConfig(config(`${model}/vae/config.json`), 'config.json');
    const ref = await weights(`${model}/vae/diffusion_pytorch_model.safetensors`);
    const options = { ref, height: 8, width: 12, attention };
    const { image } = await run(vaeDecoder(vae, options), { latent: await want('latent') });
    expect(error(image, await want('decoded'))).toBeLessThan(networkTolerance.autoencoder);
    const { mean, logvar } = await run(vaeEncoder(vae, options), { sample: await want('image') });
    expect(error(mean, await want('mean'))).toBeLessThan(networkTolerance.autoencoder);
    expect(error(logvar, await want('logvar'))).toBeLessThan(networkTolerance.autoencoder);
  });
});

describe('a network that cannot be built', () => {
  it('names the file, the tensor and both shapes when a weight has the wrong shape', async () => {
    const text = parseClipTextConfig(config('tiny-sd1/text_encoder/config.json'), 'config.json');
    const ref = await weights('tiny-sd1/text_encoder/model.safetensors');
    expect(() => clipText({ ...text, hiddenSize: 64 }, { ref })).toThrow(
      /model\.safetensors: tensor text_model\.embeddings\.token_embedding\.weight has shape \[512, 32\].*\[512, 64\]/s,
    );
  });

  it('refuses a clip skip that leaves no layer', async () => {
    const text = parseClipTextConfig(config('tiny-sd1/text_encoder/config.json'), 'config.json');
    const ref = await weights('tiny-sd1/text_encoder/model.safetensors');
    expect(() => clipText(text, { ref, skipLayers: 3 })).toThrow(/at least one of 3 layers, got 4/);
  });
});
