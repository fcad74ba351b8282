// Learned words in the text encoder against transformers with a resized vocabulary (golden/embeddings.py).
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { Graph } from '../../src-main/graph/ir.ts';
import { clipText } from '../../src-main/networks/clip-text.ts';
import { parseClipTextConfig } from '../../src-main/networks/sd-configs.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';
import { relativeError } from '../support/read-golden.ts';
import { networkTolerance } from '../support/tolerances.ts';

const data = resolve(import.meta.dirname, '../golden/data');
const folder = resolve(data, 'networks/tiny-sd1/text_encoder');
const config = parseClipTextConfig(JSON.parse(readFileSync(resolve(folder, 'config.json'), 'utf8')), 'config.json');

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function encoder(extraEmbeddings: boolean, skipLayers = 0): Promise<Graph> {
  const { tensors } = await readSafetensorsHeader(resolve(folder, 'model.safetensors'));
  const ref = (name: string) => (tensors.get(name) ?? tensors.get(name.replace(/^text_model\./, '')))!;
  return clipText(config, { ref, skipLayers, extraEmbeddings });
}

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<FloatTensor> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return (await session.run(feeds))['last_hidden_state'] as FloatTensor;
}

async function golden(name: string, file = 'embeddings/tiny-sd1.safetensors'): Promise<Tensor> {
  const { tensors } = await readSafetensorsHeader(resolve(data, file));
  return readTensor(tensors.get(name)!);
}

describe('extra embeddings', () => {
  it.each([
    [0, 'last_hidden_state'],
    [1, 'penultimate'],
  ] as const)('are rows of the vocabulary, as transformers has them; %i layers skipped', async (skip, key) => {
    const feeds = { input_ids: await golden('input_ids'), extra_embeddings: await golden('extra_embeddings') };
    const states = await run(await encoder(true, skip), feeds);
    const want = (await golden(key)) as FloatTensor;
    expect(states.shape).toEqual(want.shape);
    expect(relativeError(states.data, want.data)).toBeLessThan(networkTolerance.textEncoder);
  });

  it('that no token means change nothing, bit for bit', async () => {
    const input_ids = await golden('input_ids', 'networks/tiny-sd1/expected.safetensors');
    const plain = await run(await encoder(false), { input_ids });
    const none = floatTensor([1, config.hiddenSize]);
    expect((await run(await encoder(true), { input_ids, extra_embeddings: none })).data).toEqual(plain.data);
  });

  it('end the run for an id beyond their table, instead of drawing something else', async () => {
    const short = floatTensor([1, config.hiddenSize]);
    const feeds = { input_ids: await golden('input_ids'), extra_embeddings: short };
    await expect(run(await encoder(true), feeds)).rejects.toThrow(/out of/i);
  });

  it('leave the vocabulary where it lies: the weights are those of the graph without them', async () => {
    const names = ({ initializers }: Graph): string[] =>
      initializers.flatMap(({ kind, value }) => (kind === 'external' ? [value.name] : []));
    expect(names(await encoder(true))).toEqual(names(await encoder(false)));
  });
});
