// Hashes as A1111 defines them (modules/hashes.py): `sha256` over the file, `addnet_hash_safetensors` over what follows
// 8 + header length, `model_hash` over 0x10000 bytes at 0x100000. Expected values are worked out here from the bytes.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fileHashes, fileSha256, modelHash } from '../../src-main/engine/file-hashes.ts';

const folder = mkdtempSync(join(tmpdir(), 'atelier-hashes-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
};

/** 8 + `header` + `data` bytes, all different enough that a byte more or less changes each hash. */
function safetensors(header: number, data: number): Buffer {
  const bytes = Buffer.alloc(8 + header + data);
  for (let i = 8; i < bytes.length; i++) bytes[i] = (i * 31 + (i >> 8) * 7) & 0xff;
  bytes.writeBigUInt64LE(BigInt(header));
  return bytes;
}

describe('hashes of a file', () => {
  it.each([
    ['smaller than 1 MiB', 64, 1000],
    ['with 64 KiB past 1 MiB', 500, 2 ** 21],
    ['that ends within those 64 KiB', 120, 0x100000 + 0x8000],
    ['whose header ends in the second read', 5 * 2 ** 20, 2 ** 20],
  ])('%s', async (name, header, data) => {
    const bytes = safetensors(header, data);
    const path = put(name, bytes);
    const whole = sha256(bytes);
    const weights = sha256(bytes.subarray(8 + header));
    expect(await fileHashes(path)).toEqual({
      sha256: whole,
      autoV2: whole.slice(0, 10),
      autoV3: weights,
      short: weights.slice(0, 12),
      legacy: sha256(bytes.subarray(0x100000, 0x110000)).slice(0, 8),
    });
    expect(await fileSha256(path)).toBe(whole);
    expect(await modelHash(path)).toBe(whole.slice(0, 10));
  });

  it('a published value: SHA-256 of "abc" (FIPS 180-4)', async () => {
    const expected = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    expect(await fileSha256(put('abc', Buffer.from('abc')))).toBe(expected);
    // Too short to have a header: no weights, and nothing at 1 MiB. SHA-256 of nothing begins with e3b0c442.
    expect(await fileHashes(join(folder, 'abc'))).toMatchObject({
      sha256: expected,
      short: 'e3b0c44298fc',
      legacy: 'e3b0c442',
    });
  });

  it('a changed file gets new hashes', async () => {
    const path = put('changing', Buffer.from('one'));
    const before = await fileSha256(path);
    put('changing', Buffer.from('other'));
    expect(await fileSha256(path)).not.toBe(before);
    expect(await fileSha256(path)).toBe(sha256(Buffer.from('other')));
  });

  it('stops when it is cancelled', async () => {
    const path = put('long', safetensors(8, 2 ** 24));
    await expect(fileHashes(path, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('a missing file is an error, but no model hash', async () => {
    await expect(fileSha256(join(folder, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await modelHash(join(folder, 'absent'))).toBeUndefined();
    expect(await modelHash(folder)).toBeUndefined();
  });
});
