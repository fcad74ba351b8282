// numpy.random.SeedSequence: spreads a seed and a place in a tree of streams over a pool of words by hashing, so that
// neighbouring seeds give unrelated streams (O'Neill, https://www.pcg-random.org/posts/developing-a-seed_seq-alternative.html;
// numpy/random/bit_generator.pyx). brownian-tree.ts needs numpy's very words, to draw torchsde's noise.

/** A running multiplicative hash; its constant moves on with every word it has seen. */
function hasher(initial: number, multiplier: number): (value: number) => number {
  let constant = initial;
  return (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, multiplier);
    return foldHigh(Math.imul(mixed, constant));
  };
}

const foldHigh = (value: number): number => value ^ (value >>> 16);
const mix = (x: number, y: number): number => foldHigh(Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y));

/**
 * SeedSequence(entropy, spawn_key=spawnKey, pool_size=poolSize).generate_state(count): 32-bit words, 0..2^32-1.
 * Throws a RangeError for negative entropy, as numpy does. `spawnKey` holds words below 2^32.
 */
export function seedWords(entropy: bigint, spawnKey: readonly number[], poolSize: number, count: number): Uint32Array {
  if (entropy < 0n) throw new RangeError(`Seeds of a Brownian path are integers from 0 on, got ${entropy}.`);
  const words: number[] = [];
  for (let rest = entropy; rest > 0n || words.length === 0; rest >>= 32n) words.push(Number(rest & 0xffffffffn));
  if (spawnKey.length > 0) {
    // Padded, so that a long seed and a short seed with a spawn key cannot meet.
    while (words.length < poolSize) words.push(0);
    words.push(...spawnKey);
  }
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Int32Array.from({ length: poolSize }, (_, i) => hash(words[i] ?? 0));
  for (let from = 0; from < poolSize; from++) {
    for (let to = 0; to < poolSize; to++) {
      if (from !== to) pool[to] = mix(pool[to]!, hash(pool[from]!));
    }
  }
  for (const word of words.slice(poolSize)) {
    for (let to = 0; to < poolSize; to++) pool[to] = mix(pool[to]!, hash(word));
  }
  const output = hasher(0x8b51f9dd, 0x58f38ded);
  return Uint32Array.from({ length: count }, (_, i) => output(pool[i % poolSize]!));
}
