// Two thousand damaged and lying safetensors files, the same ones on every run: each is either read consistently or
// refused with a SafetensorsError that names it; none is slow, and none makes the reader take memory for its lies.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { SafetensorsError } from '../../src-main/formats/safetensors-header.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { byteSize } from '../../src-main/tensor/dtype.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { elementCount } from '../../src-main/tensor/shape.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-fuzz-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const original = readFileSync(new URL('../golden/data/checkpoints/dtypes.safetensors', import.meta.url));
const headerLength = Number(original.readBigUInt64LE(0));
const headerText = original.toString('utf8', 8, 8 + headerLength);
const data = original.subarray(8 + headerLength);

const random = new TorchGenerator(2024);
const below = (high: number): number => random.randint(0, high, 1)[0]!;
const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;

/** A whole file around other header text. */
function withHeader(text: string): Buffer {
  const json = Buffer.from(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

const lies = ['-1', '1e999', 'NaN', 'Infinity', '1.5', '9007199254740993', '18446744073709551615', '4294967296', '[]', '{}',
  'null', 'true', '"x"', '[[[[1]]]]', '00', '0x10', '', '99999999999999999999999999999999', '0', '1']; // prettier-ignore

const mutations: Readonly<Record<string, () => Buffer>> = {
  'bytes changed anywhere': () => {
    const bytes = Buffer.from(original);
    for (let i = 0; i < 1 + below(8); i++) bytes[below(bytes.length)] = below(256);
    return bytes;
  },
  'bytes changed in the data': () => {
    const bytes = Buffer.from(original);
    for (let i = 0; i < 8; i++) bytes[8 + headerLength + below(data.length)] = below(256);
    return bytes;
  },
  'bytes changed in the header': () => {
    const bytes = Buffer.from(original);
    for (let i = 0; i < 1 + below(4); i++) bytes[below(8 + headerLength)] = below(256);
    return bytes;
  },
  'cut short': () => original.subarray(0, below(original.length)),
  'bytes added': () => Buffer.concat([original, Buffer.alloc(1 + below(100))]),
  'another header length': () => {
    const bytes = Buffer.from(original);
    const lengths = [
      0n,
      1n,
      2n,
      BigInt(headerLength - 1),
      BigInt(headerLength + 1),
      2n ** 31n,
      2n ** 53n,
      2n ** 64n - 1n,
    ];
    bytes.writeBigUInt64LE(below(2) === 0 ? pick(lengths) : BigInt(below(original.length)), 0);
    return bytes;
  },
  'a number replaced': () => {
    const numbers = [...headerText.matchAll(/\d+(?=[,\]])/g)];
    const { index, 0: number } = pick(numbers);
    return withHeader(headerText.slice(0, index) + pick(lies) + headerText.slice(index + number.length));
  },
  'offsets swapped or moved': () => {
    const found = [...headerText.matchAll(/"data_offsets":\[(\d+),(\d+)\]/g)];
    const one = pick(found);
    const other = pick(found);
    const moved = pick([
      `"data_offsets":[${one[2]!},${one[1]!}]`,
      other[0],
      `"data_offsets":[${Number(one[1]) + 1},${Number(one[2]) + 1}]`,
    ]);
    return withHeader(headerText.replace(one[0], moved));
  },
  'a piece of the header doubled': () => {
    const [a, b] = [below(headerText.length), below(headerText.length)].sort((x, y) => x - y) as [number, number];
    return withHeader(headerText.slice(0, b) + headerText.slice(a));
  },
  'a piece of the header dropped': () => {
    const a = below(headerText.length);
    return withHeader(headerText.slice(0, a) + headerText.slice(a + 1 + below(20)));
  },
  'a tensor twice': () => {
    const entry = /"(\w+)":\{"dtype"[^}]*\}/.exec(headerText)![0];
    return withHeader(headerText.replace(entry, `${entry},${entry}`));
  },
  'nested deep': () =>
    withHeader(headerText.replace('"dtype"', `"x":${pick(['[', '{"a":'])}`.padEnd(below(20_000), '[') + '"dtype"')),
  'signs of JSON in odd places': () => {
    const a = below(headerText.length);
    return withHeader(
      headerText.slice(0, a) +
        pick(['"', '\\', '{', '}', '[', ']', ',', ':', '\0', '\u{fffd}', '\\u0000']) +
        headerText.slice(a),
    );
  },
};

it('damaged files are read consistently or refused by name', { timeout: 120_000 }, async () => {
  const before = process.memoryUsage();
  let [read, refused, slowest] = [0, 0, 0];
  const kinds = Object.keys(mutations);
  for (let round = 0; round < 2000; round++) {
    const kind = kinds[round % kinds.length]!;
    const bytes = mutations[kind]!();
    const path = join(folder, `${round % 7}.safetensors`);
    writeFileSync(path, bytes);
    const start = performance.now();
    try {
      const { tensors, dataOffset } = await readSafetensorsHeader(path);
      let covered = 0;
      for (const ref of tensors.values()) {
        expect(ref.length).toBe(elementCount(ref.shape) * byteSize(ref.dtype));
        expect(ref.offset).toBeGreaterThanOrEqual(dataOffset);
        expect(ref.offset + ref.length).toBeLessThanOrEqual(bytes.length);
        covered += ref.length;
        if (below(20) === 0) expect((await readTensor(ref)).data).toHaveLength(elementCount(ref.shape));
      }
      expect(covered).toBe(bytes.length - dataOffset);
      read += 1;
    } catch (error) {
      if (!(error instanceof SafetensorsError))
        throw new Error(`round ${round}, ${kind}: ${String(error)}`, { cause: error });
      expect(error.message).toContain(path);
      refused += 1;
    }
    slowest = Math.max(slowest, performance.now() - start);
  }
  expect(read).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(1000);
  expect(slowest).toBeLessThan(2000);
  expect(process.memoryUsage().rss - before.rss).toBeLessThan(300e6);
});
