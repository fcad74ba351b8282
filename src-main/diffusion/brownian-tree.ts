// Step noise as increments of one Brownian path over sigma, so that overlapping stretches agree and a picture changes
// little with the number of steps. The path is the one torchsde's BrownianTree draws for a seed (github.com/google-research/
// torchsde, _brownian/brownian_interval.py; bisection after Li et al. 2020, arXiv:2001.01328, Algorithm 3), which k-diffusion
// and A1111 use for the SDE samplers: the same seed gives the same noise there and here.
import { TorchGenerator } from '../tensor/random.ts';
import { elementCount, type Shape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { Sigma } from './noise-schedule.ts';
import type { NoiseSource } from './samplers/sampler.ts';
import { seedWords } from './seed-sequence.ts';
import { weightedSum } from './weighted-sum.ts';

/** torchsde resolves time to six decimals (tol 1e-6); Number.toFixed rounds the exact binary value, as Python does. */
const round = (time: number): number => Number(time.toFixed(6));

/** Words of entropy a seed is spread over: torchsde's pool_size. */
const poolSize = 24;

/** Increments kept in memory: both halves along the way down to two times, some 24 levels deep. */
const cacheSize = 96;

/**
 * Noise of `batch` = seeds.length images of `shape` ([C, H, W]) for runs between `sigmaMin` (the lowest level above 0) and
 * `sigmaMax`. Image i follows the path of seeds[i]. Seeds are integers from 0 on; throws a RangeError otherwise, and when
 * sigmaMin is not below sigmaMax. Levels outside the interval are clamped to it, as torchsde does.
 */
export function brownianNoise(
  seeds: readonly (bigint | number)[],
  shape: Shape,
  sigmaMin: Sigma,
  sigmaMax: Sigma,
): NoiseSource {
  if (!(sigmaMin >= 0 && sigmaMin < sigmaMax)) {
    throw new RangeError(`A Brownian path needs 0 <= sigmaMin < sigmaMax, got ${sigmaMin} and ${sigmaMax}.`);
  }
  const paths = seeds.map((seed) => new BrownianPath(seed, shape, Math.fround(sigmaMin), Math.fround(sigmaMax)));
  const size = elementCount(shape);
  return (sigma, sigmaNext) => {
    // k-diffusion holds its levels in float32; the sixth decimal of a large one depends on that.
    const [low, high] = [Math.fround(sigmaNext), Math.fround(sigma)];
    // Negative: the path is walked from high noise to low.
    const scale = -1 / Math.sqrt(high - low);
    const data = new Float32Array(paths.length * size);
    paths.forEach((path, i) => {
      data.set(weightedSum([scale, path.increment(low, high)]).data, i * size);
    });
    return floatTensor([paths.length, ...shape], data);
  };
}

/** A stretch of time and its place in the tree: `key` spells the turns from the root (0 left, 1 right). */
interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly parent: Stretch | undefined;
  readonly key: number;
  readonly depth: number;
  children?: readonly [Stretch, Stretch];
}

/** One path: W(end) - W(start) over any stretch, by halving [start, end] until the ends fall on grid points. */
class BrownianPath {
  readonly #seed: bigint;
  readonly #shape: Shape;
  readonly #root: Stretch;
  readonly #whole: FloatTensor;
  readonly #cache = new Map<Stretch, FloatTensor>();

  constructor(seed: bigint | number, shape: Shape, start: number, end: number) {
    this.#seed = BigInt(seed);
    this.#shape = shape;
    this.#root = { start: round(start), end: round(end), parent: undefined, key: 0, depth: 0 };
    const [wordOfWhole] = seedWords(this.#seed, [], poolSize, 1);
    this.#whole = weightedSum([Math.sqrt(end - start), this.#normals(wordOfWhole!)]);
  }

  /** W(end) - W(start) in float32. */
  increment(start: number, end: number): FloatTensor {
    const clamp = (time: number) => round(Math.min(Math.max(time, this.#root.start), this.#root.end));
    const pieces: Stretch[] = [];
    this.#locate(this.#root, clamp(start), clamp(end), pieces);
    if (pieces.length === 0) return floatTensor(this.#shape);
    return pieces.map((piece) => this.#incrementOf(piece)).reduce((sum, piece) => weightedSum([1, sum], [1, piece]));
  }

  /** Collects the tree's stretches that make up [start, end], left to right, splitting as far as needed. */
  #locate(stretch: Stretch, start: number, end: number, out: Stretch[]): void {
    if (start >= end) return;
    if (start === stretch.start && end === stretch.end) {
      out.push(stretch);
      return;
    }
    const [left, right] = (stretch.children ??= halves(stretch));
    this.#locate(left, start, Math.min(end, left.end), out);
    this.#locate(right, Math.max(start, right.start), end, out);
  }

  #incrementOf(stretch: Stretch): FloatTensor {
    if (stretch.parent === undefined) return this.#whole;
    const known = this.#cache.get(stretch);
    if (known !== undefined) return known;
    this.#bridge(stretch.parent);
    return this.#cache.get(stretch)!;
  }

  /** Brownian bridge: given the parent's increment, its left half has mean in proportion and variance l r / (l + r). */
  #bridge(parent: Stretch): void {
    const whole = this.#incrementOf(parent).data;
    const [left, right] = parent.children!;
    const length = parent.end - parent.start;
    const share = (left.end - left.start) / length;
    const deviation = Math.sqrt(share * (right.end - right.start));
    const [word] = seedWords(this.#seed, [parent.key, parent.depth], poolSize, 1);
    const fresh = this.#normals(word!).data;
    const [toLeft, toRight] = [new Float32Array(whole.length), new Float32Array(whole.length)];
    for (let i = 0; i < whole.length; i++) {
      toLeft[i] = share * whole[i]! + deviation * fresh[i]!;
      toRight[i] = whole[i]! - toLeft[i]!;
    }
    // Both halves are kept: a step's lower end is the next step's upper one, reached from the other side.
    this.#cache.set(left, floatTensor(this.#shape, toLeft)).set(right, floatTensor(this.#shape, toRight));
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= cacheSize) break;
      this.#cache.delete(oldest);
    }
  }

  #normals(seed: number): FloatTensor {
    return new TorchGenerator(seed).randn(this.#shape);
  }
}

function halves(parent: Stretch): readonly [Stretch, Stretch] {
  const middle = round((parent.start + parent.end) / 2);
  const key = 2 * parent.key;
  const depth = parent.depth + 1;
  return [
    { start: parent.start, end: middle, parent, key, depth },
    { start: middle, end: parent.end, parent, key: key + 1, depth },
  ];
}
