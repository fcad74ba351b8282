// One network, raw tensors in and out: so that anyone can compare it with another implementation.
import { FailureError } from '../contract/failure.ts';
import type { NetworkName } from '../contract/channels.ts';
import { readSafetensorsHeader, readTensor } from '../formats/safetensors.ts';
import { writeSafetensors } from '../formats/safetensors-write.ts';
import { showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../tensor/tensor.ts';
import type { LoadedModel } from './loaded-model.ts';

/** What each network reads; `[B, 4, H, W]` and so on are in networks/. */
const inputs = {
  'text-encoder': ['input_ids'],
  unet: ['sample', 'timestep', 'encoder_hidden_states'],
  'vae-encoder': ['sample'],
  'vae-decoder': ['latent'],
} as const satisfies Record<NetworkName, readonly string[]>;

export interface NetworkRun {
  readonly network: NetworkName;
  /** Files: .safetensors. */
  readonly input: string;
  readonly output: string;
  readonly clipSkip: number;
  /** A .safetensors file for the gates of the unet or the text encoder. */
  readonly gatesOut?: string | undefined;
}

/**
 * Reads the inputs from `run.input`, runs the network, writes its outputs to `run.output` and returns their shapes.
 * `vae-encoder` takes pixels in [-1, 1] and gives mean and logvar; `vae-decoder` takes unscaled latents. A timestep of one
 * element serves the whole batch. Throws FailureError 'bad-request' naming the tensors that are missing or misshapen.
 */
export async function runNetwork(
  run: NetworkRun,
  model: LoadedModel,
): Promise<{ readonly outputs: Readonly<Record<string, readonly number[]>>; readonly elapsedMs: number }> {
  const feeds = await readInputs(run);
  const start = performance.now();
  const outputs = await compute(run, feeds, model);
  const elapsedMs = performance.now() - start;
  await writeSafetensors(run.output, outputs, { network: run.network });
  if (run.gatesOut !== undefined) await writeGates(run.gatesOut, run, model);
  return { outputs: Object.fromEntries(Object.entries(outputs).map(([name, { shape }]) => [name, shape])), elapsedMs };
}

/** What the gates of the last run were: `gates` [B, G, N], and in the metadata what G and N stand for. */
async function writeGates(path: string, { network }: NetworkRun, model: LoadedModel): Promise<void> {
  const gates = network === 'unet' ? model.unetGates : network === 'text-encoder' ? model.textGates : undefined;
  if (gates === undefined) {
    throw new FailureError({
      kind: 'bad-request',
      message: `The ${network} has no gates here: give experts and a gate file that speaks in it.`,
    });
  }
  const groups = model.gateGroups(network === 'unet' ? 'unet' : 'text_encoder');
  const rows = model.rows(network === 'unet' ? 'unet' : 'text_encoder');
  await writeSafetensors(
    path,
    { gates },
    {
      network,
      groups: JSON.stringify(groups.map(({ name, members }) => ({ name, row: rows.rowOf(members[0]!.name) }))),
      experts: JSON.stringify(model.expertNames),
    },
  );
}

async function readInputs({ network, input }: NetworkRun): Promise<Readonly<Record<string, Tensor>>> {
  const { tensors } = await readSafetensorsHeader(input);
  const wanted = inputs[network];
  const missing = wanted.filter((name) => !tensors.has(name));
  if (missing.length > 0) {
    throw new FailureError({
      kind: 'bad-request',
      file: input,
      message:
        `${input}: the ${network} reads ${wanted.join(', ')}; ${missing.join(', ')} is missing. ` +
        `The file holds ${[...tensors.keys()].slice(0, 8).join(', ') || 'no tensor'}.`,
    });
  }
  const read: Record<string, Tensor> = {};
  for (const name of wanted) read[name] = await readTensor(tensors.get(name)!);
  return read;
}

async function compute(
  { network, clipSkip, input }: NetworkRun,
  feeds: Readonly<Record<string, Tensor>>,
  model: LoadedModel,
): Promise<Record<string, FloatTensor>> {
  const float = (name: string, rank: number): FloatTensor => {
    const tensor = feeds[name]!;
    if (tensor.dtype !== 'float32' || tensor.shape.length !== rank) {
      throw new FailureError({
        kind: 'bad-request',
        file: input,
        message: `${input}: ${name} must be a float tensor of rank ${rank}, got ${tensor.dtype} ${showShape(tensor.shape)}.`,
      });
    }
    return tensor;
  };
  switch (network) {
    case 'text-encoder': {
      const ids = feeds['input_ids']!;
      if (ids.dtype !== 'int64') {
        throw new FailureError({
          kind: 'bad-request',
          file: input,
          message: `${input}: input_ids must hold whole numbers (int64), got ${ids.dtype}.`,
        });
      }
      const skip = clipSkip - 1;
      return { last_hidden_state: await model.encodeText(ids, skip) };
    }
    case 'unet': {
      const sample = float('sample', 4);
      const batch = sample.shape[0]!;
      const given = feeds['timestep']!;
      const steps = Float32Array.from(given.data, Number);
      const timestep = floatTensor([batch], steps.length === 1 ? new Float32Array(batch).fill(steps[0]!) : steps);
      return { out_sample: (await model.predict(sample, timestep, float('encoder_hidden_states', 3))).prediction };
    }
    case 'vae-encoder':
      return { ...(await model.encodeMoments(float('sample', 4))) };
    case 'vae-decoder': {
      const latent = float('latent', 4);
      const scale = model.scalingFactor;
      return {
        image: await model.decode(
          floatTensor(
            latent.shape,
            latent.data.map((value) => value * scale),
          ),
        ),
      };
    }
  }
}
