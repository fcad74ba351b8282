// Sample pictures of a training so far, every so many updates: an artist sees what is learnt before it is finished.
import type { FinishedPicture } from '../contract/generation.ts';
import type { TrainEvent } from '../contract/training.ts';
import type { Arrays } from '../training/optimizer.ts';
import type { JobContext } from './engine.ts';

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
