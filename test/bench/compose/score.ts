// Scores against the truth and their statistics. The score that decides is fixed in advance: per picture, the harmonic mean of the
// probability of the asked subject and that of the asked styles; methods are compared picture by picture.
import type { Composition } from './compositions.ts';
import { featureDistance, type Evaluator, type Verdict } from './evaluator.ts';

export interface Score {
  readonly composition: Composition;
  readonly seed: number;
  /** Probability of the asked subject; of all asked styles and none of the others. */
  readonly subject: number;
  readonly style: number;
  readonly harmonic: number;
  readonly top1: boolean;
  readonly top5: boolean;
  /** All asked styles found and no other. */
  readonly styled: boolean;
  readonly both: boolean;
  /** Distance to the nearest true drawing. */
  readonly distance: number;
}

export function scoreOf(
  { subjects, styles: known }: Pick<Evaluator, 'subjects' | 'styles'>,
  { subjects: probabilities, styles, features }: Verdict,
  composition: Composition,
  seed: number,
  truth: readonly Float32Array[],
): Score {
  const own = probabilities[subjects.indexOf(composition.subject)]!;
  const rank = probabilities.filter((p) => p > own).length;
  // The probability of exactly the asked styles would be a product; the least of its factors is no smaller for two styles than one.
  const right = styles.map((p, i) => (composition.styles.includes(known[i]!) ? p : 1 - p));
  const style = Math.min(...right);
  const styled = right.every((p) => p > 0.5);
  return {
    composition,
    seed,
    subject: own,
    style,
    harmonic: own + style === 0 ? 0 : (2 * own * style) / (own + style),
    top1: rank === 0,
    top5: rank < 5,
    styled,
    both: rank === 0 && styled,
    distance: Math.min(...truth.map((one) => featureDistance(features, one))),
  };
}

/** Those of a subject in one style, or of a subject alone. */
export const onPairs = (scores: readonly Score[]): readonly Score[] =>
  scores.filter(({ composition }) => composition.styles.length < 2);

export const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length;

/** What a method reached over a set of pictures. */
export interface Summary {
  readonly pictures: number;
  readonly top1: number;
  readonly top5: number;
  readonly styled: number;
  readonly both: number;
  readonly harmonic: number;
  /** Harmonic mean of the shares of pictures with the subject and with the style. */
  readonly harmonicOfShares: number;
  readonly distance: number;
}

export function summary(scores: readonly Score[]): Summary {
  const share = (pick: (score: Score) => boolean): number => mean(scores.map((score) => (pick(score) ? 1 : 0)));
  const [top1, styled] = [share((s) => s.top1), share((s) => s.styled)];
  return {
    pictures: scores.length,
    top1,
    top5: share((s) => s.top5),
    styled,
    both: share((s) => s.both),
    harmonic: mean(scores.map((s) => s.harmonic)),
    harmonicOfShares: top1 + styled === 0 ? 0 : (2 * top1 * styled) / (top1 + styled),
    distance: mean(scores.map((s) => s.distance)),
  };
}

export interface Difference {
  readonly mean: number;
  /** 95 % bootstrap interval. */
  readonly low: number;
  readonly high: number;
}

/**
 * `a` minus `b`, paired by composition and seed. The bootstrap draws whole compositions, then seeds within them: pictures of one
 * composition are alike.
 */
export function difference(
  a: readonly Score[],
  b: readonly Score[],
  of: (score: Score) => number,
  rounds = 4000,
): Difference {
  const other = new Map(b.map((score) => [`${score.composition.name} ${score.seed}`, of(score)]));
  const byComposition = new Map<string, number[]>();
  for (const score of a) {
    const { name } = score.composition;
    const against = other.get(`${name} ${score.seed}`);
    if (against === undefined) continue;
    byComposition.set(name, [...(byComposition.get(name) ?? []), of(score) - against]);
  }
  const groups = [...byComposition.values()];
  const random = generator(1);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const means = Array.from({ length: rounds }, () =>
    mean(
      groups.map(() => {
        const group = pick(groups);
        return mean(group.map(() => pick(group)));
      }),
    ),
  ).sort((x, y) => x - y);
  return {
    mean: mean(groups.map(mean)),
    low: means[Math.floor(rounds * 0.025)]!,
    high: means[Math.ceil(rounds * 0.975) - 1]!,
  };
}

/** mulberry32: the same intervals for every run. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
