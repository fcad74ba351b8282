// Pictures that were drawn, judged against their true drawings.
import { existsSync } from 'node:fs';
import type { Composition } from './compositions.ts';
import { pictureOf } from './draw.ts';
import type { Evaluator } from './evaluator.ts';
import { scoreOf, type Score } from './score.ts';

const truths = new Map<string, readonly Float32Array[]>();

/** Scores of all pictures of `method` that exist. */
export async function judgeAll(
  evaluator: Evaluator,
  method: string,
  asked: readonly Composition[],
  seeds: readonly number[],
): Promise<readonly Score[]> {
  const scores: Score[] = [];
  for (const composition of asked) {
    for (const seed of seeds) {
      const file = pictureOf(method, composition, seed);
      if (!existsSync(file)) continue;
      const truth = truths.get(composition.name) ?? (await featuresOf(evaluator, composition.truth));
      truths.set(composition.name, truth);
      scores.push(scoreOf(evaluator, await evaluator.look(file), composition, seed, truth));
    }
  }
  return scores;
}

async function featuresOf(evaluator: Evaluator, files: readonly string[]): Promise<readonly Float32Array[]> {
  const found: Float32Array[] = [];
  for (const file of files) found.push((await evaluator.look(file)).features);
  return found;
}
