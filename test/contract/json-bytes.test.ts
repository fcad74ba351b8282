// Messages over a WebSocket keep their bytes.
import { expect, it } from 'vitest';
import { fromJson, toJson } from '../../src-main/contract/json-bytes.ts';

it('a message comes back as it was, bytes of every value and any length included', () => {
  const rgb = Uint8Array.from({ length: 100_003 }, (_, i) => (i * 7) % 256);
  const message = { kind: 'news', deep: [{ preview: { width: 3, rgb }, none: null }], text: 'a “fox”' };
  expect(fromJson(toJson(message))).toEqual(message);
});

it('what is not JSON is a SyntaxError', () => {
  expect(() => fromJson('{"kind":')).toThrow(SyntaxError);
});
