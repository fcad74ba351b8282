// What a training would need in memory, said before anything is opened: the model's headers are enough.
import type { z } from 'zod';
import type { methodSchemas } from '../contract/channels.ts';
import type { TrainingMemory } from '../contract/training.ts';
import { openCheckpoint } from './checkpoint.ts';
import { trainingActivationBytes } from './memory.ts';

/**
 * Bytes that a training on squares of `resolution` pixels (by default the model's own) needs, weights included, beside the
 * `availableBytes`. Throws SafetensorsError, CheckpointError.
 */
export async function trainingMemory(
  { model, vae: ownVae, resolution, batch, recompute }: z.output<typeof methodSchemas.trainingMemory>,
  availableBytes: number,
): Promise<TrainingMemory> {
  const { unet, vae, weightBytes } = await openCheckpoint(model, ownVae === undefined ? {} : { vae: ownVae });
  const scale = vae.kind === 'kl' ? 2 ** (vae.config.blockOutChannels.length - 1) : 8;
  const step = scale * 2 ** (unet.config.blockOutChannels.length - 1);
  const wanted = resolution ?? unet.config.sampleSize * scale;
  const side = Math.max(step, Math.round(wanted / step) * step);
  const activations = trainingActivationBytes(unet.config, side / scale, side / scale, { batch, recompute });
  return { resolution: side, neededBytes: weightBytes.unet + weightBytes.textEncoder + activations, availableBytes };
}
