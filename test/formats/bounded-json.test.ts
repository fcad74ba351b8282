// JSON.parse's answers within limits, and Python's NaN, Infinity and long integers.
import { describe, expect, it } from 'vitest';
import { JsonError, parseBoundedJson } from '../../src-main/formats/bounded-json.ts';

const limits = { mostLength: 1000, mostDepth: 4, longIntegersAsText: true };

describe('parseBoundedJson', () => {
  it.each([
    '{"a": [1, -2.5e-3, true, null, "x\\"]}[[[[["], "b": {}}',
    '"NaN"',
    '[]',
    '-0',
    '[9007199254740991, 1.2345678901234567890, 1e20]',
    '{"k": "\\u0041\\\\ -Infinity 12345678901234567890", "12345678901234567890": ""}',
  ])('reads %s as JSON.parse does', (text) => {
    const want: unknown = JSON.parse(text.replace('9007199254740991', '"9007199254740991"'));
    expect(parseBoundedJson(text, limits)).toEqual(want);
  });

  it('reads NaN and the infinities as null, as Python writes them', () => {
    expect(parseBoundedJson('{"a": [NaN], "b": -Infinity, "c": Infinity, "d": "NaN"}', limits)).toEqual({
      ...{ a: [null], b: null, c: null, d: 'NaN' },
    });
  });

  it('keeps integers of 16 digits and more as text where asked, and as numbers elsewhere', () => {
    expect(parseBoundedJson('[18446744073709551615, -1234567890123456, 7]', limits)).toEqual([
      '18446744073709551615',
      '-1234567890123456',
      7,
    ]);
    expect(parseBoundedJson('[1234567890123456]', { mostLength: 99, mostDepth: 1 })).toEqual([1234567890123456]);
  });

  it('refuses what is too long, too deep or no JSON', () => {
    expect(() => parseBoundedJson('[[[[[', limits)).toThrow(/more than 4 levels/);
    expect(() => parseBoundedJson(' '.repeat(1001), limits)).toThrow(/1001 characters; at most 1000/);
    for (const text of ['', '{', '[1,]', '"open', '"\\', 'nul', '[-]', 'NaNa', '{"a":NaN', '--Infinity']) {
      expect(() => parseBoundedJson(text, limits), text).toThrow(JsonError);
    }
  });
});
