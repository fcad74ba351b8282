// Experts from files, mixed in the graph, against diffusers with PEFT on the same weights (test/golden/experts.py): every family,
// one and several adapters with weights, convolutions, both networks.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mixSchema } from '../../src-main/contract/experts.ts';
import { openCheckpoint } from '../../src-main/engine/checkpoint.ts';
import { completeMix } from '../../src-main/engine/complete-mix.ts';
import { buildMixture, ExpertStore } from '../../src-main/engine/expert-stack.ts';
import { LoadedModel } from '../../src-main/engine/loaded-model.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { FloatTensor, IntTensor } from '../../src-main/tensor/tensor.ts';
import { relativeError } from '../support/read-golden.ts';
import { expertTolerance } from '../support/tolerances.ts';

const golden = resolve(import.meta.dirname, '../golden/data');
type Cases = Readonly<
  Record<string, readonly { readonly file: string; readonly weight: number; readonly teWeight: number }[]>
>;

describe.each(['tiny-sd1', 'tiny-sd2'])('%s', (name) => {
  const folder = resolve(golden, 'experts', name);
  const cases = JSON.parse(readFileSync(resolve(folder, 'cases.json'), 'utf8')) as Cases;
  const store = new ExpertStore();
  let model: LoadedModel;
  beforeAll(async () => {
    model = new LoadedModel(await openCheckpoint(resolve(golden, 'networks', name)), {
      provider: 'cpu',
      fusedAttention: true,
    });
  });
  afterAll(() => model.release());

  const read = async (file: string, tensor: string) =>
    readTensor((await readSafetensorsHeader(resolve(folder, file))).tensors.get(tensor)!);

  it.each(Object.entries(cases))('%s: both networks are what diffusers and PEFT compute', async (title, stack) => {
    const experts = stack.map(({ file, weight, teWeight }) => ({
      path: resolve(folder, file === 'peft-folder' ? file : `${file}.safetensors`),
      weight,
      textWeight: teWeight,
    }));
    const { mix } = await completeMix(mixSchema.parse({ experts }), '');
    const context = { signal: new AbortController().signal, warn: () => undefined, prompt: '' };
    model.useMixture(await buildMixture(mix, model, store, context));
    const [sample, timestep, text] = await Promise.all(
      ['sample', 'timestep', 'encoder_hidden_states'].map((input) => read('inputs.safetensors', input)),
    );
    const { prediction } = await model.predict(sample as FloatTensor, timestep as FloatTensor, text as FloatTensor);
    const want = (await read('outputs.safetensors', `${title}.out_sample`)) as FloatTensor;
    expect(relativeError(prediction.data, want.data)).toBeLessThan(expertTolerance.network);
    // The experts of a case do change something.
    const plain = (await read('outputs.safetensors', 'none.out_sample')) as FloatTensor;
    if (stack.length > 0) expect(relativeError(plain.data, want.data)).toBeGreaterThan(30 * expertTolerance.network);
    const states = await model.encodeText((await read('inputs.safetensors', 'input_ids')) as IntTensor, 0);
    const wantStates = (await read('outputs.safetensors', `${title}.last_hidden_state`)) as FloatTensor;
    expect(relativeError(states.data, wantStates.data)).toBeLessThan(expertTolerance.network);
  });
});
