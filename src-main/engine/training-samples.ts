// Sample pictures of a training so far, every so many updates: an artist sees what is learnt before it is finished.
import { generateRequestSchema, type FinishedPicture } from '../contract/generation.ts';
import type { TrainEvent } from '../contract/training.ts';
import type { Arrays } from '../training/optimizer.ts';
import type { JobContext } from './engine.ts';
import { generateImage } from './generate-image.ts';
import type { LoadedModel } from './loaded-model.ts';
import { noExperts, type Mixture } from './mixture.ts';

export type Sample = Omit<FinishedPicture, 'seed'>;

export interface SampleSettings {
  readonly sampleEvery: number;
  readonly samplePrompt?: string | undefined;
  readonly seed: number;
}

/** Calls `draw` after every `sampleEvery`th update and reports the picture; undefined when no samples are asked for. */
export function sampler(
  { sampleEvery, samplePrompt, seed }: SampleSettings,
  context: JobContext<TrainEvent>,
  draw: (parameters: Arrays, step: number) => Promise<Sample>,
): ((parameters: Arrays, step: number) => Promise<void>) | undefined {
  if (sampleEvery === 0 || samplePrompt === undefined) return undefined;
  return async (parameters, step) => {
    if (step % sampleEvery !== 0) return;
    context.emit({ kind: 'picture', step, picture: { seed, ...(await draw(parameters, step)) } });
  };
}

/** Draws the sample prompt with `mixture` beside the training's output, and leaves the model without experts. */
export async function drawSample(
  settings: SampleSettings & { readonly model: string; readonly output: string },
  model: LoadedModel,
  mixture: Mixture,
  { signal }: JobContext<TrainEvent>,
  availableBytes: number,
  step: number,
): Promise<Sample> {
  const request = generateRequestSchema.parse({
    model: settings.model,
    prompt: settings.samplePrompt,
    seed: settings.seed,
    output: { folder: `${settings.output}.samples`, pattern: `step-${String(step).padStart(6, '0')}` },
  });
  const { pictures } = await generateImage(request, model, mixture, { signal, emit: () => undefined }, availableBytes);
  model.useMixture(noExperts);
  return pictures[0]!;
}
