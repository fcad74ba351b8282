// Templates as people write them for Dynamic Prompts: what they stand for, how often, and that a seed always draws the same.
import { describe, expect, it } from 'vitest';
import {
  allPrompts,
  countPrompts,
  hasChoices,
  listNames,
  matchingLists,
  parseTemplate,
  randomPrompt,
  seededRandom,
  TemplateError,
  wildcardEntries,
  type WildcardLists,
} from '../../src-main/text/wildcards.ts';

const lists: WildcardLists = new Map([
  ['colour', ['red', 'green', 'blue']],
  ['season', ['summer', '{autumn|fall}', 'winter', 'spring']],
  ['pet', ['__pet/cat__', '3::dog']],
  ['pet/cat', ['tabby', 'tom']],
  ['loop', ['a __loop__']],
  ['empty', []],
]);

const all = (text: string, limit = 1000): readonly string[] => allPrompts(parseTemplate(text), lists, limit);
const count = (text: string): number => countPrompts(parseTemplate(text), lists);
const draw = (text: string, seed: number): string => randomPrompt(parseTemplate(text), lists, seededRandom(seed));

describe('a template', () => {
  it.each<[string, readonly string[]]>([
    ['a plain prompt, (word:1.2) [a|b] <lora:ink:0.5>', ['a plain prompt, (word:1.2) [a|b] <lora:ink:0.5>']],
    ['a {red|green} apple', ['a red apple', 'a green apple']],
    ['{a|b}{1|2}', ['a1', 'a2', 'b1', 'b2']],
    ['{a|{b|c}} x', ['a x', 'b x', 'c x']],
    ['{very |}old', ['very old', 'old']],
    ['{0.5::a|3::b|0::never}', ['a', 'b']],
    ['{2$$a|b|c}', ['a, b', 'a, c', 'b, a', 'b, c', 'c, a', 'c, b']],
    ['{2$$ and $$a|b}', ['a and b', 'b and a']],
    ['{1-2$$a|b}', ['a', 'b', 'a, b', 'b, a']],
    ['{-2$$a|b}', ['a', 'b', 'a, b', 'b, a']],
    ['{1-$$a|b}', ['a', 'b', 'a, b', 'b, a']],
    ['{4$$a|b}', ['a, b', 'b, a']],
    ['{2$$+$$a|{b|c}}', ['a+b', 'a+c', 'b+a', 'c+a']],
    ['__colour__ apple', ['red apple', 'green apple', 'blue apple']],
    ['in __season__', ['in summer', 'in autumn', 'in fall', 'in winter', 'in spring']],
    ['__pet__', ['tabby', 'tom', 'dog']],
    ['__pet/*__', ['tabby', 'tom']],
    ['{2$$__colour__}', ['red, green', 'red, blue', 'green, red', 'green, blue', 'blue, red', 'blue, green']],
    ['\\{a\\|b\\} \\__colour__ \\(x\\)', ['{a|b} __colour__ \\(x\\)']],
    ['{a\\|b|c}', ['a|b', 'c']],
    ['an open { brace|', ['an open { brace|']],
    ['a } b {c|d}', ['a } b c', 'a } b d']],
    ['${x=1} $5', ['$x=1 $5']],
    ['', ['']],
  ])('%s stands for %j', (text, prompts) => {
    expect(all(text)).toEqual(prompts);
    expect(count(text)).toBe(prompts.length);
    for (let seed = 0; seed < 20; seed++) expect(prompts).toContain(draw(text, seed));
  });

  it('is counted without being written out', () => {
    expect(count(Array.from({ length: 40 }, () => '{a|b|c}').join(''))).toBe(3 ** 40);
    expect(all(Array.from({ length: 40 }, () => '{a|b|c}').join(''), 5)).toHaveLength(5);
  });

  it('knows whether it has choices, and which lists it needs', () => {
    expect(hasChoices(parseTemplate('a red apple {'))).toBe(false);
    expect(hasChoices(parseTemplate('a __colour__ apple'))).toBe(true);
    expect([...listNames(parseTemplate('__a__ {b|__c/d*__} __a__'))]).toEqual(['a', 'c/d*']);
    expect(matchingLists('pet*', lists.keys())).toEqual(['pet', 'pet/cat']);
    expect(matchingLists('Colour', lists.keys())).toEqual(['colour']);
  });

  it('names the list that is missing, empty or contains itself', () => {
    expect(() => all('__flower__')).toThrow(new TemplateError('There is no list called flower.'));
    expect(() => count('{a|__loop__}')).toThrow('loop > loop');
    expect(() => count('__empty__')).toThrow('The list empty is empty.');
  });

  it('takes braces nested as deep as anybody likes', () => {
    expect(all('{'.repeat(30) + 'a|b' + '}'.repeat(30))).toEqual(['a', 'b']);
    expect(() => all('{'.repeat(20_000) + 'a' + '}'.repeat(20_000))).not.toThrow();
  });
});

describe('drawing by a seed', () => {
  it('gives the same prompt for the same seed, and other ones for others', () => {
    const text = '{2$$a|b|c|d} __colour__ __season__ {0.2::x|y}';
    const prompts = Array.from({ length: 50 }, (_, seed) => draw(text, seed));
    expect(Array.from({ length: 50 }, (_, seed) => draw(text, seed))).toEqual(prompts);
    expect(new Set(prompts).size).toBeGreaterThan(30);
  });

  it('follows SplitMix64, whose first numbers from seed 0 are known', () => {
    // 0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4: the reference code's output, its upper 53 bits.
    const random = seededRandom(0);
    expect(random() * 2 ** 53).toBe(Number(0xe220a8397b1dcdafn >> 11n));
    expect(random() * 2 ** 53).toBe(Number(0x6e789e6aa1b965f4n >> 11n));
  });

  it('takes options as often as their weights say', () => {
    const random = seededRandom(7);
    const template = parseTemplate('{3::a|b}');
    const taken = Array.from({ length: 4000 }, () => randomPrompt(template, lists, random));
    const share = taken.filter((text) => text === 'a').length / taken.length;
    expect(share).toBeGreaterThan(0.72);
    expect(share).toBeLessThan(0.78);
  });
});

describe('the file of a list', () => {
  it('has an entry a line, without comments and empty lines', () => {
    expect(wildcardEntries('\uFEFF# trees\r\noak\r\n\r\n  2::pine \n#elm\n')).toEqual(['oak', '2::pine']);
  });
});
