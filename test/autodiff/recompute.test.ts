// Recomputation changes what is remembered, never what is computed.
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { withGradient } from '../../src-main/autodiff/gradient.ts';
import { withRecomputation } from '../../src-main/autodiff/recompute.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, Value } from '../../src-main/graph/ir.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import type { FloatTensor, Tensor } from '../../src-main/tensor/tensor.ts';
import { maxDifference, relativeError } from '../support/read-golden.ts';
import { gradientTolerance } from '../support/tolerances.ts';
import { lossGradient, tinyMixture, withLoss, type MixtureCase } from '../support/trained-network.ts';

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, FloatTensor>> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return (await session.run(feeds)) as Record<string, FloatTensor>;
}

const depth = 40;
const width = 1024;
const rows = 2048;

/** Residual blocks in a row, each with wide insides: x + tanh(w exp(-sin(x w)^2)); 8 MB per activation. */
function deepChain(): Graph {
  const b = new GraphBuilder('deep chain');
  let x: Value = b.input('x', [rows, width]);
  for (let block = 0; block < depth; block++) {
    const w = b.input(`w${block}`, [width]);
    const before = x;
    x = b.scope(`blocks.${block}`, () => {
      const inner = b.Sin(b.Mul(before, w));
      return b.Add(before, b.Tanh(b.Mul(b.Exp(b.Neg(b.Mul(inner, inner))), w)));
    });
  }
  b.output('loss', b.ReduceMean(b.Mul(x, x), [0, 1], false));
  return withGradient(b.build(), {
    of: [{ output: 'loss' }],
    withRespectTo: Array.from({ length: depth }, (_, block) => `w${block}`),
  });
}

const feeds = Object.fromEntries([
  ['x', new TorchGenerator(1).randn([rows, width])] as const,
  ...Array.from({ length: depth }, (_, i) => [`w${i}`, new TorchGenerator(2 + i).randn([width])] as const),
]);

/** Bytes by which a run raises the process's peak; undefined where the system cannot reset it. */
async function peakOf(
  graph: Graph,
): Promise<{ readonly bytes: number; readonly results: Record<string, FloatTensor> } | undefined> {
  const status = (field: string): number =>
    Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  try {
    try {
      writeFileSync('/proc/self/clear_refs', '5');
    } catch {
      return undefined;
    }
    const before = status('VmRSS');
    const results = (await session.run(feeds)) as Record<string, FloatTensor>;
    return { bytes: status('VmHWM') - before, results };
  } finally {
    await session.release();
  }
}

describe('recomputation', () => {
  it('gives the gradients of a UNet under gates', async () => {
    const golden = JSON.parse(
      readFileSync(new URL('../golden/data/autodiff/networks.json', import.meta.url), 'utf8'),
    ) as {
      readonly modules: { readonly 'tiny-sd1': { readonly unet: readonly string[] } };
      readonly ends: { readonly unet: MixtureCase };
    };
    const mixture = await tinyMixture('tiny-sd1', golden.ends.unet, golden.modules['tiny-sd1'].unet);
    const { graph, feeds: target } = withLoss(mixture.graph, mixture.output);
    const gradient = lossGradient(graph, ['encoder_hidden_states', ...mixture.factors, ...mixture.gates]);
    const all = { ...mixture.feeds, ...target };
    const [kept, again] = [await run(gradient, all), await run(withRecomputation(gradient), all)];
    expect(Object.keys(again)).toEqual(Object.keys(kept));
    for (const [name, { data }] of Object.entries(kept)) {
      expect(relativeError(again[name]!.data, data), name).toBeLessThan(gradientTolerance.recomputed);
    }
  });

  it('reads nothing from inside a segment after the segment has run', () => {
    const graph = withRecomputation(deepChain());
    const producer = new Map(graph.nodes.flatMap((node) => node.outputs.map((value) => [value, node.name] as const)));
    const borders = new Set(Array.from({ length: depth }, (_, block) => `blocks.${block}/Add`));
    const read = graph.nodes
      .filter(({ name }) => !name.startsWith('blocks.'))
      .flatMap(({ inputs }) => inputs.map((input) => (input === undefined ? '' : (producer.get(input) ?? ''))))
      .filter((name) => name.startsWith('blocks.') && !borders.has(name));
    // The first segment hangs on the graph's inputs alone, the last is read as soon as it has run: they are kept.
    const ends = ['blocks.0/', `blocks.${depth - 1}/`];
    expect(read.filter((name) => !ends.some((end) => name.startsWith(end)))).toEqual([]);
  });

  it('halves the peak memory of a deep chain at least', async ({ skip }) => {
    const gradient = deepChain();
    const again = await peakOf(withRecomputation(gradient));
    const kept = await peakOf(gradient);
    if (again === undefined || kept === undefined) {
      console.log('skipped: this system does not reset the peak memory of a process');
      skip();
      return;
    }
    for (const [name, { data }] of Object.entries(kept.results)) {
      expect(maxDifference(again.results[name]!.data, data), name).toBe(0);
    }
    expect(again.bytes).toBeLessThan(kept.bytes / 2);
  });
});
