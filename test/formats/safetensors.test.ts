// The safetensors reader and writer against files of the official library, and against hostile ones.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SafetensorsError } from '../../src-main/formats/safetensors-header.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { writeSafetensors } from '../../src-main/formats/safetensors-write.ts';
import { floatTensor, intTensor } from '../../src-main/tensor/tensor.ts';
import { readGolden } from '../support/read-golden.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-safetensors-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const golden = resolve(import.meta.dirname, '../golden/data/checkpoints');

/** Writes a file with `header` as its JSON (an object, or raw text) and `data` bytes of zeros. */
function hostile(header: unknown, data: number, length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'utf8');
  const bytes = Buffer.alloc(8 + json.length + data);
  bytes.writeBigUInt64LE(length ?? BigInt(json.length), 0);
  json.copy(bytes, 8);
  const path = join(folder, 'hostile.safetensors');
  writeFileSync(path, bytes);
  return path;
}

async function refusal(path: string): Promise<string> {
  const error: unknown = await readSafetensorsHeader(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SafetensorsError);
  expect((error as SafetensorsError).message).toContain(path);
  return (error as SafetensorsError).message;
}

describe('reading', () => {
  it('gives every element type the values that torch stored', async () => {
    const { tensors, metadata, warnings } = await readSafetensorsHeader(join(golden, 'dtypes.safetensors'));
    const expected = JSON.parse(readFileSync(join(golden, 'dtypes.json'), 'utf8')) as Record<
      string,
      (number | string)[]
    >;
    expect([...tensors.keys()].sort()).toEqual(Object.keys(expected).sort());
    for (const [name, values] of Object.entries(expected)) {
      const { data } = await readTensor(tensors.get(name)!);
      expect(Array.from<number | bigint>(data).map(Number), name).toEqual(values.map(Number));
    }
    expect(metadata).toEqual({ format: 'pt', 'ünïcode "quoted"': 'line\nbreak' });
    expect(warnings).toEqual([]);
  });

  it('reads a header of 2,000 tensors in under 50 ms', async () => {
    const tensors = Object.fromEntries(
      Array.from({ length: 2000 }, (_, i) => [
        `model.diffusion_model.input_blocks.${i}.0.in_layers.0.weight`,
        floatTensor([3, 2]),
      ]),
    );
    const path = join(folder, 'many.safetensors');
    await writeSafetensors(path, tensors);
    await readSafetensorsHeader(path);
    const start = performance.now();
    const header = await readSafetensorsHeader(path);
    expect(performance.now() - start).toBeLessThan(50);
    expect(header.tensors.size).toBe(2000);
  });

  it('keeps metadata that is not text, with a warning', async () => {
    const path = hostile({ __metadata__: { a: 'x', n: 3, o: { b: [1] } } }, 0);
    const { metadata, warnings } = await readSafetensorsHeader(path);
    expect(metadata).toEqual({ a: 'x', n: '3', o: '{"b":[1]}' });
    expect(warnings).toHaveLength(2);
  });
});

describe('writing', () => {
  it('comes back as written, aligned, also through the official layout', async () => {
    const path = join(folder, 'written.safetensors');
    const half = { dtype: 'float16', shape: [3], bytes: Uint8Array.of(0, 0x3c, 0, 0xc0, 1, 0) } as const;
    const tensors = {
      ids: intTensor([2], BigInt64Array.of(-1n, 9007199254740993n)),
      x: floatTensor([2, 2], Float32Array.of(1, -2, 3.5, NaN)),
      half,
      empty: floatTensor([0, 4]),
      __proto__x: floatTensor([], Float32Array.of(7)),
    };
    expect(await writeSafetensors(path, tensors, { note: 'ünï "q"' })).toBe(path);
    const header = await readSafetensorsHeader(path);
    expect(header.metadata).toEqual({ note: 'ünï "q"' });
    for (const ref of header.tensors.values()) expect(ref.offset % 2).toBe(0);
    expect((await readTensor(header.tensors.get('x')!)).data).toEqual(tensors.x.data);
    expect((await readTensor(header.tensors.get('ids')!)).data).toEqual(tensors.ids.data);
    expect((await readTensor(header.tensors.get('half')!)).data).toEqual(Float32Array.of(1, -2, 2 ** -24));
    expect((await readTensor(header.tensors.get('empty')!)).data).toEqual(new Float32Array(0));
  });

  it('refuses bytes that do not fit the shape, and leaves no file', async () => {
    const path = join(folder, 'wrong.safetensors');
    const raw = { dtype: 'float16', shape: [3], bytes: new Uint8Array(5) } as const;
    await expect(writeSafetensors(path, { raw })).rejects.toThrow(/"raw".*needs 6 bytes, got 5/);
    expect(existsSync(path)).toBe(false);
  });
});

describe('refusals say what is wrong', () => {
  const entry = (over: Record<string, unknown> = {}): Record<string, unknown> => ({
    a: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...over },
  });
  it.each([
    ['unknown element type', entry({ dtype: 'F4' }), 8, /element type "F4"/],
    ['offsets against shape', entry({ shape: [3] }), 8, /needs 12 bytes; its offsets give 8/],
    ['negative size', entry({ shape: [-2] }), 8, /whole numbers.*"-2"/],
    ['fraction', '{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', 8, /whole numbers.*"2.0"/],
    ['NaN', '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', 8, /whole numbers.*"NaN"/],
    ['overflow', entry({ shape: [2 ** 40, 2 ** 40] }), 8, /more bytes than can be counted/],
    [
      'overflow hidden by a zero',
      entry({ shape: [2 ** 40, 2 ** 40, 0], data_offsets: [0, 0] }),
      0,
      /more bytes than can/,
    ],
    ['2^64', '{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}}', 8, /whole numbers/],
    ['begin after end', entry({ data_offsets: [8, 0] }), 8, /begins at byte 8, after its end 0/],
    ['beyond the end', entry(), 4, /cut short: tensor "a" ends at byte 8 of the data, the file holds 4/],
    ['bytes after the last', entry(), 12, /4 bytes after its last tensor/],
    ['a hole', entry({ data_offsets: [4, 12] }), 12, /bytes 0 to 4 before tensor "a"/],
    ['an overlap', { ...entry(), b: { dtype: 'F32', shape: [2], data_offsets: [4, 12] } }, 12, /"b" overlaps/],
    ['a tensor twice', '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}', 0, /names tensor "a" twice/],
    ['missing field', { a: { dtype: 'F32', shape: [2] } }, 0, /lacks/],
    ['no object', '[1,2]', 0, /does not start with|JSON text/],
    ['half JSON', '{"a":', 0, /not the JSON/],
    ['bad UTF-8 escapes', '{"a\\x":1}', 0, /bad escape/],
  ])('%s', async (_, header, data, message) => {
    expect(await refusal(hostile(header, data))).toMatch(message);
  });

  it('header length beyond the file, beyond the cap, and with bad UTF-8', async () => {
    expect(await refusal(hostile('{}', 0, 2n ** 63n))).toMatch(/claims \d+ bytes, at most 2 are possible/);
    expect(await refusal(hostile('{}', 0, 3n))).toMatch(/claims 3 bytes/);
    const path = hostile('{"a":1}', 0);
    const bytes = readFileSync(path);
    bytes[10] = 0xff;
    writeFileSync(path, bytes);
    expect(await refusal(path)).toMatch(/UTF-8/);
  });

  it('deep JSON and more than 100,000 tensors, quickly', async () => {
    const start = performance.now();
    expect(await refusal(hostile(`{"a":{"x":${'['.repeat(1_000_000)}`, 0))).toMatch(/nested more than 16/);
    const deepMetadata = `{"__metadata__":${'{"a":'.repeat(1_000_000)}`;
    expect(await refusal(hostile(deepMetadata, 0))).toMatch(/nested more than 16/);
    const many = Array.from({ length: 100_001 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`);
    expect(await refusal(hostile(`{${many.join(',')}}`, 0))).toMatch(/more than 100000 tensors/);
    const lists = `{"a":{"dtype":"U8","shape":[${'0,'.repeat(5_000_000)}0],"data_offsets":[0,0]}}`;
    expect(await refusal(hostile(lists, 0))).toMatch(/more than 32 numbers/);
    expect(performance.now() - start).toBeLessThan(4000);
  });

  it.each([
    ['model.ckpt', 'PK\x03\x04 archive/data.pkl', /zip of pickled objects.*Convert/],
    ['model.bin', '\x80\x02ctorch._utils', /pickled PyTorch file.*not opened/],
    ['model.pt', 'anything else', /\.pt files are pickled/],
    ['model.safetensors', '<!DOCTYPE html><html>404', /web page/],
    ['model.safetensors', 'version https://git-lfs.github.com/spec/v1\noid', /git lfs pull/],
    ['model.gguf', 'GGUF\x03\0\0\0', /GGUF/],
    ['model.safetensors', '', /empty/],
    ['model.safetensors', 'abc', /3 bytes/],
    ['picture.png', '\x89PNG\r\n\x1a\n', /picture/],
  ])('%s that holds %j', async (name, content, message) => {
    const path = join(folder, name);
    writeFileSync(path, content, 'latin1');
    expect(await refusal(path)).toMatch(message);
    rmSync(path);
  });

  it('a folder, an absent file, a named pipe, an unreadable file', async () => {
    mkdirSync(join(folder, 'sub'));
    expect(await refusal(join(folder, 'sub'))).toMatch(/folder/);
    expect(await refusal(join(folder, 'absent.safetensors'))).toMatch(/no such file/);
    if (process.platform === 'win32') return;
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect(await refusal(join(folder, 'pipe'))).toMatch(/no ordinary file/);
    if (process.getuid?.() === 0) return; // root reads everything
    const path = join(folder, 'secret.safetensors');
    writeFileSync(path, '{}');
    chmodSync(path, 0);
    expect(await refusal(path)).toMatch(/permissions/);
  });
});

it('agrees with the golden reader of the tests', async () => {
  const path = resolve(golden, '../networks/tiny-sd1/expected.safetensors');
  const { tensors } = await readSafetensorsHeader(path);
  const read = readGolden('networks/tiny-sd1/expected.safetensors');
  expect((await readTensor(tensors.get('out_sample')!)).data).toEqual(read('out_sample').data);
});
