// The session over onnxruntime: weights read where they lie, feeds checked by name, runs and releases in order.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, TensorRef } from '../../src-main/graph/ir.ts';
import { compiledProviders, RuntimeFailure, runtimeVersion, Session } from '../../src-main/runtime/session.ts';
import type { DType } from '../../src-main/tensor/dtype.ts';
import { toFloat16 } from '../../src-main/tensor/float16.ts';
import { floatTensor, intTensor } from '../../src-main/tensor/tensor.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-session-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const cpu = { provider: 'cpu', threads: 1 } as const;

/** y = x + 1 on two numbers. */
function plusOne(name = 'adder'): Graph {
  const b = new GraphBuilder(name);
  b.output('y', b.Add(b.input('x', [2]), b.constant(1)));
  return b.build();
}

/** Two weights behind one another in one file, at `offset`; y is their sum. */
function stored(dtype: DType, bytes: Uint8Array, offset: number, file = join(folder, `${dtype}-${offset}.bin`)): Graph {
  writeFileSync(file, Buffer.concat([Buffer.alloc(offset, 0xff), bytes]));
  const half = bytes.length / 2;
  const ref = (i: number): TensorRef => ({ file, dtype, shape: [2], offset: offset + i * half, length: half });
  const b = new GraphBuilder('stored weights');
  const sum = b.Add(b.weight('a', ref(0), [2]), b.weight('b', ref(1), [2]));
  b.output('y', b.Mul(sum, b.input('x', [1])));
  return b.build();
}

const one = { x: floatTensor([1], Float32Array.of(1)) };

const float32 = new Uint8Array(Float32Array.of(1.5, -2, 0.25, 3).buffer);
const float16 = new Uint8Array(Uint16Array.from([1.5, -2, 0.25, 3], toFloat16).buffer);
const bfloat16 = new Uint8Array(Uint16Array.of(0x3fc0, 0xc000, 0x3e80, 0x4040).buffer);
const float64 = new Uint8Array(Float64Array.of(1.5, -2, 0.25, 3).buffer);

async function resultOf(graph: Graph, feeds = one): Promise<number[]> {
  const session = await Session.open(graph, cpu);
  try {
    return [...((await session.run(feeds))['y']!.data as Float32Array)];
  } finally {
    await session.release();
  }
}

describe('weights in a file', () => {
  it.each([
    ['float32', float32],
    ['float16', float16],
    ['bfloat16', bfloat16],
    ['float64', float64],
  ] as const)('%s is read right at aligned and odd offsets', async (dtype, bytes) => {
    for (const offset of [0, 8, 71, 4097]) expect(await resultOf(stored(dtype, bytes, offset))).toEqual([1.75, 1]);
  });

  it('is read through a symbolic link, of the file and of its folder', async () => {
    const real = join(folder, 'real');
    mkdirSync(real);
    const graph = stored('float32', float32, 3, join(real, 'w.bin'));
    symlinkSync(real, join(folder, 'linked'));
    symlinkSync(join(real, 'w.bin'), join(folder, 'link.bin'));
    for (const path of [join(folder, 'linked/w.bin'), join(folder, 'link.bin')]) {
      const initializers = graph.initializers.map((initializer) =>
        initializer.kind === 'external' ? { ...initializer, ref: { ...initializer.ref, file: path } } : initializer,
      );
      expect(await resultOf({ ...graph, initializers })).toEqual([1.75, 1]);
    }
  });

  it('is read from a path with spaces and other scripts', async () => {
    const inner = join(folder, 'мои модели 絵');
    mkdirSync(inner);
    expect(await resultOf(stored('float16', float16, 9, join(inner, 'a b.bin')))).toEqual([1.75, 1]);
  });

  it('a missing file is a RuntimeFailure that names it', async () => {
    const file = join(folder, 'gone.bin');
    const graph = stored('float32', float32, 0, file);
    rmSync(file);
    const attempt = Session.open(graph, cpu);
    await expect(attempt).rejects.toBeInstanceOf(RuntimeFailure);
    await expect(attempt).rejects.toThrow(/stored weights.*gone\.bin/s);
  });

  it('a file that ends before its weight is a RuntimeFailure', async () => {
    const file = join(folder, 'short.bin');
    const graph = stored('float32', float32, 0, file);
    writeFileSync(file, float32.subarray(0, 10));
    const attempt = Session.open(graph, cpu);
    await expect(attempt).rejects.toBeInstanceOf(RuntimeFailure);
    await expect(attempt).rejects.toThrow(/short\.bin/);
  });
});

describe('feeds', () => {
  it('a missing one is named with its shape', async () => {
    const session = await Session.open(plusOne(), cpu);
    await expect(session.run({})).rejects.toThrow('The adder needs an input named x [2]');
    await session.release();
  });

  it('one of another shape or type is named with both', async () => {
    const session = await Session.open(plusOne(), cpu);
    await expect(session.run({ x: floatTensor([3]) })).rejects.toThrow(
      'Input x of the adder must be float32 [2], got float32 [3]',
    );
    await expect(session.run({ x: intTensor([2], [1, 2]) })).rejects.toThrow('must be float32 [2], got int64 [2]');
    await session.release();
  });

  it('a symbolic size takes any length, also none', async () => {
    const b = new GraphBuilder('any');
    b.output('y', b.Exp(b.input('x', ['N', 2])));
    const session = await Session.open(b.build(), cpu);
    for (const n of [0, 1, 5]) expect((await session.run({ x: floatTensor([n, 2]) }))['y']!.shape).toEqual([n, 2]);
    await session.release();
  });

  it('are not written to, and results are not overwritten by later runs', async () => {
    const session = await Session.open(plusOne(), cpu);
    const x = floatTensor([2], Float32Array.of(1, 2));
    const first = await session.run({ x });
    x.data.fill(7);
    const second = await session.run({ x });
    expect([...(first['y']!.data as Float32Array)]).toEqual([2, 3]);
    expect([...(second['y']!.data as Float32Array)]).toEqual([8, 8]);
    expect([...x.data]).toEqual([7, 7]);
    await session.release();
  });

  it('a name with a feed of the right shape in a view of a larger buffer is read right', async () => {
    const session = await Session.open(plusOne(), cpu);
    const x = floatTensor([2], Float32Array.of(9, 4, 5, 9).subarray(1, 3));
    expect([...((await session.run({ x }))['y']!.data as Float32Array)]).toEqual([5, 6]);
    await session.release();
  });

  it('int64 goes in and out exactly', async () => {
    const b = new GraphBuilder('integers');
    b.output('y', b.Concat([b.input('x', [1], 'int64'), b.integers([-5])], 0));
    const session = await Session.open(b.build(), cpu);
    const { y } = await session.run({ x: intTensor([1], BigInt64Array.of(2n ** 60n + 1n)) });
    expect(y).toEqual({ dtype: 'int64', shape: [2], data: BigInt64Array.of(2n ** 60n + 1n, -5n) });
    await session.release();
  });
});

describe('order', () => {
  it('concurrent runs on one session and on two give each its own result', async () => {
    const sessions = await Promise.all([Session.open(plusOne(), cpu), Session.open(plusOne('other'), cpu)]);
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => sessions[i % 2]!.run({ x: floatTensor([2], Float32Array.of(i, -i)) })),
    );
    expect(results.map(({ y }) => [...(y!.data as Float32Array)])).toEqual(
      Array.from({ length: 20 }, (_, i) => [i + 1, 1 - i]),
    );
    await Promise.all(sessions.map((session) => session.release()));
  });

  it('a release waits for the run before it', async () => {
    const session = await Session.open(plusOne(), cpu);
    const running = session.run({ x: floatTensor([2]) });
    await session.release();
    expect([...((await running)['y']!.data as Float32Array)]).toEqual([1, 1]);
  });

  it('a second release does nothing', async () => {
    const session = await Session.open(plusOne(), cpu);
    await session.release();
    await expect(session.release()).resolves.toBeUndefined();
  });

  it('a run after release is refused', async () => {
    const session = await Session.open(plusOne(), cpu);
    await session.release();
    await expect(session.run({ x: floatTensor([2]) })).rejects.toThrow('The adder was released');
  });

  it('a failed run leaves the queue working', async () => {
    const b = new GraphBuilder('picker');
    b.output('y', b.Gather(b.constant([1, 2, 3]), b.input('i', [1], 'int64')));
    const session = await Session.open(b.build(), cpu);
    const bad = session.run({ i: intTensor([1], [99]) });
    const good = session.run({ i: intTensor([1], [2]) });
    await expect(bad).rejects.toBeInstanceOf(RuntimeFailure);
    await expect(bad).rejects.toThrow('The picker failed');
    expect([...((await good)['y']!.data as Float32Array)]).toEqual([3]);
    await session.release();
  });
});

describe('onnxruntime', () => {
  it('says its version and what it was compiled with', () => {
    expect(runtimeVersion()).toMatch(/^\d+\.\d+\.\d+$/);
    expect(compiledProviders()).toContain('cpu');
  });

  it('a provider that is not in this build is a RuntimeFailure naming graph and provider', async () => {
    const absent = (['dml', 'coreml'] as const).find((name) => !compiledProviders().includes(name))!;
    await expect(Session.open(plusOne(), { provider: absent })).rejects.toThrow(
      `The adder could not be opened on ${absent}`,
    );
  });

  it('a failed allocation is told from other failures', () => {
    expect(new RuntimeFailure('x', new Error('std::bad_alloc')).outOfMemory).toBe(true);
    expect(new RuntimeFailure('x', new Error('Failed to allocate memory for requested buffer')).outOfMemory).toBe(true);
    expect(new RuntimeFailure('x', new Error('shape mismatch')).outOfMemory).toBe(false);
  });

  it('a graph that asks for more memory than there is fails as out of memory, not as a crash', async () => {
    const b = new GraphBuilder('glutton');
    const x = b.input('x', [1]);
    b.output('y', b.ReduceSum(b.op('Expand', [x, b.integers([2 ** 20, 2 ** 20])])[0]!, [0, 1]));
    const session = await Session.open(b.build(), cpu);
    await expect(session.run({ x: floatTensor([1]) })).rejects.toMatchObject({ outOfMemory: true });
    await session.release();
  });
});
