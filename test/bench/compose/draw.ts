// Draws what a method makes of a composition, once: pictures stay in results/ (git-ignored), so that an interrupted benchmark goes on.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateRequestSchema } from '../../../src-main/contract/generation.ts';
import { generateImage } from '../../../src-main/engine/generate-image.ts';
import type { Mixture } from '../../../src-main/engine/mixture.ts';
import { folder, type Composition } from './compositions.ts';
import type { Bench, Method } from './methods.ts';

/** The same for every method. */
export const drawing = { steps: 10, sampler: 'dpmpp-2m', cfgScale: 4 } as const;

export const results = join(folder, 'results');
export const pictureOf = (method: string, composition: Composition, seed: number): string =>
  join(results, method, `${composition.name}-${seed}.png`);

/** Draws what is missing of `method` and returns how many pictures that were. */
export async function draw(
  bench: Bench,
  method: Method,
  asked: readonly Composition[],
  seeds: readonly number[],
  modelPath: string,
): Promise<number> {
  const own = join(results, method.id);
  mkdirSync(own, { recursive: true });
  let count = 0;
  for (const composition of asked) {
    const missing = seeds.filter((seed) => !existsSync(pictureOf(method.id, composition, seed)));
    if (missing.length === 0) continue;
    const mixture = await method.mixture(bench, composition);
    for (const seed of missing) {
      await drawOne(bench, mixture, method.id, composition, seed, modelPath);
      count++;
    }
  }
  return count;
}

async function drawOne(
  bench: Bench,
  mixture: Mixture,
  method: string,
  composition: Composition,
  seed: number,
  modelPath: string,
): Promise<void> {
  await drawn(bench, mixture, composition.prompt, seed, modelPath, ({ pictures, timings }) => {
    const target = pictureOf(method, composition, seed);
    const times = `${target.slice(0, -4)}.json`;
    writeFileSync(times, JSON.stringify(timings));
    renameSync(pictures[0]!.path, target);
  });
}

/** What `use` makes of one picture, which is gone afterwards unless it was moved. */
export async function drawn<T>(
  bench: Bench,
  mixture: Mixture,
  prompt: string,
  seed: number,
  modelPath: string,
  use: (outcome: Awaited<ReturnType<typeof generateImage>>) => T | Promise<T>,
): Promise<T> {
  const scratch = mkdtempSync(join(results, 'drawing-'));
  try {
    const request = generateRequestSchema.parse({
      model: modelPath,
      prompt,
      seed,
      ...drawing,
      output: { folder: scratch, metadata: false },
    });
    const context = { signal: new AbortController().signal, emit: () => undefined };
    return await use(await generateImage(request, bench.model, mixture, context, 64e9));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Seconds of the denoising of a picture that was drawn. */
export function secondsOf(method: string, composition: Composition, seed: number): number {
  const file = `${pictureOf(method, composition, seed).slice(0, -4)}.json`;
  return (JSON.parse(readFileSync(file, 'utf8')) as { denoiseMs: number }).denoiseMs / 1000;
}
