// PyTorch's CPU random generator, so that an artist's seed means the same noise here as in diffusers or
// AUTOMATIC1111 (RNG: CPU). Words: mt19937 (Matsumoto & Nishimura 1998, doi:10.1145/272991.272995). Normals: ATen's
// two Box-Muller paths (github.com/pytorch/pytorch, aten/src/ATen/native/cpu/DistributionTemplates.h and
// aten/src/ATen/core/DistributionsHelper.h). Words, uniforms and integers are torch's bit for bit; normals of 16 elements
// or more are within three ulp of torch on AVX2 and AVX-512 (torch without AVX2 is itself 2e-6 away from those).
import { elementCount, showShape, type Shape } from './shape.ts';
import { floatTensor, type FloatTensor } from './tensor.ts';

const stateWords = 624;
const shift = 397;
/** From this many elements on torch fills uniforms first and transforms them in groups of 16. */
const fillThreshold = 16;

/** Everything a generator remembers; a plain value, so that a job can save and resume it. */
export interface GeneratorState {
  /** The 624 words of mt19937. */
  readonly words: Uint32Array;
  /** Words already used of this block, 0..624. */
  readonly used: number;
  /** Second normal of the last double-precision Box-Muller pair, if one is waiting. */
  readonly nextNormal: number | undefined;
}

/** torch.Generator('cpu').manual_seed(seed): the same draws in the same order. */
export class TorchGenerator {
  readonly #words = new Uint32Array(stateWords);
  #used = stateWords;
  #nextNormal: number | undefined;

  /**
   * `seed` is an integer; like torch, only its low 32 bits count (two's complement, so -1 equals 2^32 - 1).
   * Throws a RangeError for a fraction, NaN, or a number too large to be exact (pass those as bigint).
   */
  constructor(seed: bigint | number) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed)) {
      throw new RangeError(`A seed is an integer, got ${seed}. Seeds beyond 2^53 are passed as bigint.`);
    }
    this.#words[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let j = 1; j < stateWords; j++) {
      const previous = this.#words[j - 1]!;
      this.#words[j] = Math.imul(1812433253, previous ^ (previous >>> 30)) + j;
    }
  }

  /** A copy of the present state. */
  save(): GeneratorState {
    return { words: this.#words.slice(), used: this.#used, nextNormal: this.#nextNormal };
  }

  /** Continues from a saved state. Throws a RangeError when it does not hold 624 words. */
  restore(state: GeneratorState): void {
    if (state.words.length !== stateWords) {
      throw new RangeError(`A generator state holds ${stateWords} words, got ${state.words.length}.`);
    }
    this.#words.set(state.words);
    this.#used = state.used;
    this.#nextNormal = state.nextNormal;
  }

  /** An independent generator that will draw what this one would have drawn. */
  clone(): TorchGenerator {
    const copy = new TorchGenerator(0);
    copy.restore(this.save());
    return copy;
  }

  /**
   * torch.randn(shape): float32, mean 0, deviation 1. Below 16 elements equal to torch; from 16 on 83 % of the values are
   * equal, 98 % within one ulp and all within three (4e-7). Throws a RangeError on sizes that are no whole numbers.
   */
  randn(shape: Shape): FloatTensor {
    const size = elementCount(shape);
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RangeError(`Sizes of a tensor are whole numbers from 0 on, got ${showShape(shape)}.`);
    }
    const data = new Float32Array(size);
    if (size < fillThreshold) {
      for (let i = 0; i < size; i++) data[i] = this.#normal();
    } else {
      this.#fillNormal(data);
    }
    return floatTensor(shape, data);
  }

  /** torch.rand(shape): float32 in [0, 1), 24 random bits each. Equal to torch bit for bit. */
  rand(shape: Shape): FloatTensor {
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) data[i] = this.#uniform24();
    return floatTensor(shape, data);
  }

  /** torch.randint(low, high, [count]): integers in [low, high). Throws when the range is empty or above 2^53. */
  randint(low: number, high: number, count: number): number[] {
    const range = high - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || range < 1 || !Number.isSafeInteger(range)) {
      throw new RangeError(`randint needs integers low < high at most 2^53 apart, got ${low} and ${high}.`);
    }
    return Array.from({ length: count }, () => low + this.#below(range));
  }

  /** torch.randperm(n): a permutation of 0..n-1, for n below 2^32 / 20. Forward Fisher-Yates, as torch does it. */
  randperm(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = 0; i < n - 1; i++) {
      const j = i + (this.#word() % (n - i));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }

  /** Next tempered word, 0..2^32-1. */
  #word(): number {
    if (this.#used === stateWords) this.#nextBlock();
    let y = this.#words[this.#used++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #nextBlock(): void {
    const w = this.#words;
    for (let i = 0; i < stateWords; i++) {
      const y = (w[i]! & 0x80000000) | (w[(i + 1) % stateWords]! & 0x7fffffff);
      w[i] = w[(i + shift) % stateWords]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#used = 0;
  }

  /** Uniform in [0, 1) with 24 bits: float32 draws of torch. */
  #uniform24(): number {
    return (this.#word() & 0xffffff) / 2 ** 24;
  }

  /** Uniform in [0, 1) with 53 bits from two words, the high one first: float64 draws of torch. */
  #uniform53(): number {
    const high = this.#word() & 0x1fffff;
    return (high * 2 ** 32 + this.#word()) / 2 ** 53;
  }

  #below(range: number): number {
    // ATen takes 64 bits from 2^28 on, so that the modulo's bias stays negligible.
    if (range < 2 ** 28) return this.#word() % range;
    const high = BigInt(this.#word());
    return Number(((high << 32n) | BigInt(this.#word())) % BigInt(range));
  }

  /** at::normal_distribution<double>: a pair per two uniforms, the sine kept for the next call. */
  #normal(): number {
    if (this.#nextNormal !== undefined) {
      const kept = this.#nextNormal;
      this.#nextNormal = undefined;
      return kept;
    }
    const u1 = this.#uniform53();
    const u2 = this.#uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-u2));
    this.#nextNormal = radius * Math.sin(2 * Math.PI * u1);
    return radius * Math.cos(2 * Math.PI * u1);
  }

  /** at::native::normal_fill: uniforms first, then groups of 16; a ragged tail redraws the last 16 places. */
  #fillNormal(data: Float32Array): void {
    for (let i = 0; i < data.length; i++) data[i] = this.#uniform24();
    for (let i = 0; i + 16 <= data.length; i += 16) boxMuller16(data.subarray(i, i + 16));
    if (data.length % 16 !== 0) {
      const tail = data.subarray(data.length - 16);
      for (let i = 0; i < 16; i++) tail[i] = this.#uniform24();
      boxMuller16(tail);
    }
  }
}

/** Turns 16 uniforms into normals in place: radii from the first 8, angles from the last 8, each step in float32. */
function boxMuller16(group: Float32Array): void {
  const f = Math.fround;
  for (let j = 0; j < 8; j++) {
    const u1 = f(1 - group[j]!); // [0, 1) becomes (0, 1], so that the logarithm is finite
    const radius = f(Math.sqrt(f(-2 * f(Math.log(u1)))));
    const theta = f(f(2 * Math.PI) * group[j + 8]!);
    group[j] = radius * f(Math.cos(theta));
    group[j + 8] = radius * f(Math.sin(theta));
  }
}

/** Noise for a batch and the generators that drew it, which go on to draw the step noise of their image. */
export interface BatchNoise {
  /** [B, ...shape] */
  readonly noise: FloatTensor;
  readonly generators: readonly TorchGenerator[];
}

/** A second seed mixed into the first one's noise (AUTOMATIC1111's "variation seed"). */
export interface Variation {
  readonly seeds: readonly (bigint | number)[];
  /** 0 keeps the image's own noise, 1 takes the variation's. */
  readonly strength: number;
}

/**
 * Starting noise of a batch: image i draws `shape` ([C, H, W]) from a generator of its own, seeded `seeds[i]`, so a
 * picture does not depend on its neighbours. AUTOMATIC1111 seeds image i with seed + i; `imageSeeds` makes that list.
 */
export function batchNoise(seeds: readonly (bigint | number)[], shape: Shape, variation?: Variation): BatchNoise {
  const generators = seeds.map((seed) => new TorchGenerator(seed));
  const images = generators.map((generator, i) => {
    const own = generator.randn(shape);
    if (variation === undefined || variation.strength === 0) return own;
    // As A1111: an image beyond the end of the list gets variation seed 0.
    return slerp(variation.strength, own, new TorchGenerator(variation.seeds[i] ?? 0).randn(shape));
  });
  return { noise: stack(images, shape), generators };
}

/** seed, seed + 1, ...: the seeds of `count` images made in one go. */
export function imageSeeds(seed: bigint | number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => BigInt(seed) + BigInt(i));
}

/** Joins equally shaped tensors along a new first axis: [B, ...shape]. */
export function stack(images: readonly FloatTensor[], shape: Shape): FloatTensor {
  const size = elementCount(shape);
  const data = new Float32Array(images.length * size);
  images.forEach((image, i) => {
    data.set(image.data, i * size);
  });
  return floatTensor([images.length, ...shape], data);
}

/**
 * Spherical interpolation of two noises of shape [C, H, W]; `fraction` 0 gives `low`, 1 gives `high`. Angles are taken
 * per column (axis 1), as A1111 does, so that a variation seed gives its picture. Nearly parallel noises (mean cosine
 * above 0.9995) are mixed linearly. Source: Shoemake 1985, doi:10.1145/325334.325242.
 */
export function slerp(fraction: number, low: FloatTensor, high: FloatTensor): FloatTensor {
  const [channels, height, width] = low.shape;
  if (low.shape.length !== 3 || width === undefined || showShape(low.shape) !== showShape(high.shape)) {
    throw new RangeError(
      `slerp needs two [C, H, W] tensors alike, got ${showShape(low.shape)}, ${showShape(high.shape)}.`,
    );
  }
  const columns = channels! * width;
  const start = (column: number) => Math.floor(column / width) * height! * width + (column % width);
  const cosines = Float64Array.from({ length: columns }, (_, column) => {
    let [ll, hh, lh] = [0, 0, 0];
    for (let y = 0, i = start(column); y < height!; y++, i += width) {
      ll += low.data[i]! ** 2;
      hh += high.data[i]! ** 2;
      lh += low.data[i]! * high.data[i]!;
    }
    return lh / Math.sqrt(ll * hh);
  });
  const parallel = cosines.reduce((sum, cosine) => sum + cosine, 0) / columns > 0.9995;
  const out = new Float32Array(low.data.length);
  for (let column = 0; column < columns; column++) {
    const omega = Math.acos(Math.min(1, Math.max(-1, cosines[column]!)));
    const toLow = parallel ? 1 - fraction : Math.sin((1 - fraction) * omega) / Math.sin(omega);
    const toHigh = parallel ? fraction : Math.sin(fraction * omega) / Math.sin(omega);
    for (let y = 0, i = start(column); y < height!; y++, i += width) {
      out[i] = toLow * low.data[i]! + toHigh * high.data[i]!;
    }
  }
  return floatTensor(low.shape, out);
}
