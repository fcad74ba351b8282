// Does a provider compute what our networks need, and compute it right? Answered by running small graphs of every
// operator that they use and comparing with the CPU provider and, for convolution, normalisation and attention, with
// float64 arithmetic of our own (self-test-reference.ts), so that the CPU is on trial too.
// Why: onnxruntime 1.30's fused WebGPU attention returned 3-15 % wrong values on two drivers without any error.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Graph } from '../graph/ir.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { fusedAttentionCase, operatorCase, speedCase, type SelfTestCase } from './self-test-cases.ts';
import { Session, type Provider } from './session.ts';

/** Errors are max|a - b| / max|b| per output. */
export const selfTestLimits = {
  // float32 on GPUs lands at 1e-6 to 1e-4 (order of summation, fast exp), NVIDIA's default TF32 products near 1e-3;
  // wrong kernels were seen at 3e-2 to 1.5e-1. The limit lies between with room on both sides.
  error: 5e-3,
} as const;

/** What the self-test measured on a provider. */
export interface SelfTestResult {
  /** Largest error of any output; Infinity when one holds NaN. */
  readonly error: number;
  /** The output that `error` was found in. */
  readonly worst: string;
  /** Error of onnxruntime's MultiHeadAttention kernel; undefined when the provider cannot run it. */
  readonly fusedAttentionError?: number;
  /** Milliseconds of the same matrix products on this provider and on the CPU; undefined for the CPU itself. */
  readonly speed?: { readonly provider: number; readonly cpu: number };
}

/**
 * Runs the self-test on `provider` in this process. A native abort ends the process: call it in a throw-away child
 * (engine/probe-process.ts). Throws RuntimeFailure when the provider cannot be opened or fails while running.
 */
export async function selfTest(provider: Provider): Promise<SelfTestResult> {
  const folder = await mkdtemp(join(tmpdir(), 'atelier-self-test-'));
  try {
    const operators = await operatorCase(folder);
    const [error, worst] = worstOf(await errorsOf(operators, provider));
    const fusedAttentionError = await fusedError(provider);
    const speed = provider === 'cpu' || error > selfTestLimits.error ? undefined : await compareSpeed(provider);
    return {
      error,
      worst,
      ...(fusedAttentionError === undefined ? {} : { fusedAttentionError }),
      ...(speed === undefined ? {} : { speed }),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** max|a - b| / max|b|; Infinity when the lengths differ or either holds NaN. */
export function relativeToPeak(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let [difference, peak] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    const here = Math.abs(a[i]! - b[i]!);
    if (!(here < Infinity)) return Infinity;
    difference = Math.max(difference, here);
    peak = Math.max(peak, Math.abs(b[i]!));
  }
  return difference === 0 ? 0 : difference / peak;
}

async function fusedError(provider: Provider): Promise<number | undefined> {
  try {
    return worstOf(await errorsOf(fusedAttentionCase(), provider))[0];
  } catch {
    return undefined; // the provider has no such kernel, and our networks do without
  }
}

/** Error of each output of `test` on `provider`, against float64 where the case has it and against the CPU. */
async function errorsOf(test: SelfTestCase, provider: Provider): Promise<Map<string, number>> {
  const outputs = await runOnce(test.graph, test.feeds, provider);
  const onCpu = provider === 'cpu' ? undefined : await runOnce(test.graph, test.feeds, 'cpu');
  return new Map(
    Object.entries(outputs).map(([name, output]) => {
      const witnesses = [test.expected[name], onCpu?.[name]?.data].filter((witness) => witness !== undefined);
      return [name, Math.max(...witnesses.map((witness) => relativeToPeak(output.data, witness)))];
    }),
  );
}

function worstOf(errors: ReadonlyMap<string, number>): [number, string] {
  return [...errors].reduce<[number, string]>(
    (worst, [name, error]) => (error >= worst[0] ? [error, name] : worst),
    [0, ''],
  );
}

async function runOnce(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  provider: Provider,
): Promise<Record<string, FloatTensor>> {
  const session = await Session.open(graph, { provider });
  try {
    return (await session.run(feeds)) as Record<string, FloatTensor>;
  } finally {
    await session.release();
  }
}

/** A software adapter passes every check and is many times slower than the CPU itself: only a clock tells. */
async function compareSpeed(provider: Provider): Promise<{ provider: number; cpu: number }> {
  const test = speedCase();
  return { provider: await fastestRun(test, provider), cpu: await fastestRun(test, 'cpu') };
}

/** Milliseconds for the 4.3 GFLOP of the speed case: ten times what two CPU cores need. */
const plainlySlow = 1000;

async function fastestRun(test: SelfTestCase, provider: Provider): Promise<number> {
  const session = await Session.open(test.graph, { provider });
  try {
    let fastest = Infinity;
    for (let run = 0; run < 4; run++) {
      const start = performance.now();
      await session.run(test.feeds);
      const elapsed = performance.now() - start;
      // The first run compiles shaders and fills caches; one that takes this long is no accelerator's anyway.
      if (run > 0 || elapsed > plainlySlow) fastest = Math.min(fastest, elapsed);
      if (elapsed > plainlySlow) break;
    }
    return fastest;
  } finally {
    await session.release();
  }
}
