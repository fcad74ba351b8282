// The tiny CLIP of test/golden/clip_vision.py with a token table of CLIP's own vocabulary, so that it reads real captions. Its
// embeddings mean nothing; that they are right is tested elsewhere.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import type { Tensor } from '../../src-main/tensor/tensor.ts';

const golden = fileURLToPath(new URL('../golden/data/clip-vision', import.meta.url));
const vocabulary = 49408;

/** Writes the model into `folder`, which exists, without the tensors that `leaveOut` says yes to. */
export async function writeWideClip(folder: string, leaveOut: (name: string) => boolean = () => false): Promise<void> {
  const config = JSON.parse(readFileSync(join(golden, 'config.json'), 'utf8')) as { text_config: object };
  config.text_config = { ...config.text_config, vocab_size: vocabulary };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const { tensors } = await readSafetensorsHeader(join(golden, 'model.safetensors'));
  const written: Record<string, Tensor> = {};
  for (const [name, ref] of tensors) {
    if (leaveOut(name)) continue;
    const table = name === 'text_model.embeddings.token_embedding.weight';
    written[name] = table ? new TorchGenerator(3).randn([vocabulary, ref.shape[1]!]) : await readTensor(ref);
  }
  await writeSafetensors(join(folder, 'model.safetensors'), written);
}
