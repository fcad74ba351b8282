// <lora:…> tags as people paste them from A1111, loractl and LoRA Block Weight.
import { describe, expect, it } from 'vitest';
import { showBlockWeights, parseBlockWeights } from '../../src-main/text/block-weights.ts';
import { loraTags, type LoraTag } from '../../src-main/text/lora-tags.ts';
import { showWeightSchedule } from '../../src-main/text/weight-schedule.ts';

const one = (tag: string): LoraTag => {
  const { loras, unreadable } = loraTags(tag);
  expect(unreadable).toEqual([]);
  expect(loras).toHaveLength(1);
  return loras[0]!;
};

describe('a lora tag', () => {
  it.each<[string, string, string, number]>([
    ['<lora:ink>', 'ink', '1', 1],
    ['<lora:ink:0.8>', 'ink', '0.8', 0.8],
    ['<lora:ink:0.3:1.2>', 'ink', '1.2', 0.3],
    ['<lora:ink:te=0.3:unet=-1>', 'ink', '-1', 0.3],
    ['<lora:ink:te=0.3>', 'ink', '0.3', 0.3],
    ['<lora:ink:unet=0.3>', 'ink', '0.3', 1],
    ['<lora:ink:0.5:unet=2>', 'ink', '2', 0.5],
    ['<lora:ink:0.2@0.2,1@0.8>', 'ink', '0.2@0.2,1@0.8', 0.2],
    ['<lora:pixel:1:0@5,1@6>', 'pixel', '0@5,1@6', 1],
    ['<lora:"two words":1:stop=10>', 'two words', '1:stop=10', 1],
    ['<lora:styles/ink:0.7:step=5-10>', 'styles/ink', '0.7:start=5:stop=10', 0.7],
    ['<LyCO:ink:1>', 'ink', '1', 1],
  ])('%s is %s at %s in the UNet and %d in the text encoder', (text, name, unet, te) => {
    const tag = one(text);
    expect(tag.name).toBe(name);
    expect(showWeightSchedule(tag.unetWeight)).toBe(unet);
    expect(tag.textWeight).toBe(te);
    expect(tag.source).toBe(text);
  });

  it.each([
    '<lora:ink:1:lbw=INS>',
    '<lora:ink:1:1:ins>',
    '<lora:ink:1:IND:lbw=INS>',
    '<lora:ink:lbw=1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0>',
  ])('%s speaks in the first rows alone', (text) => {
    expect(showBlockWeights(one(text).blocks!)).toBe(showBlockWeights(parseBlockWeights('INS')));
  });

  it('shows the parameters that mean nothing here', () => {
    expect(one('<lora:ink:0.8:1:64:dyn=256:hr=0.5>').ignored).toEqual(['64', 'dyn=256', 'hr=0.5']);
  });

  it('comes in order and repeatedly, and leaves the rest of the prompt', () => {
    const { prompt, loras, unknown } = loraTags('a cat <lora:b:1>, <hypernet:x:0.5> ink <lora:a:0.5><lora:b:0.2>');
    expect(prompt).toBe('a cat ,  ink ');
    expect(loras.map(({ name, textWeight }) => [name, textWeight])).toEqual([
      ['b', 1],
      ['a', 0.5],
      ['b', 0.2],
    ]);
    expect(unknown.map(({ source }) => source)).toEqual(['<hypernet:x:0.5>']);
  });

  it.each<[string, RegExp]>([
    ['<lora:ink:strong>', /"strong" is no weight/],
    ['<lora:ink:1:lbw=MINE>', /"MINE" is no preset/],
    ['<lora:ink:1:lbw=R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>', /random/],
    ['<lora:ink:start=soon>', /"start=soon" is no window/],
    ['<lora: :1>', /no name/],
  ])('%s is left out, and why is said', (text, message) => {
    const { loras, unreadable } = loraTags(`x ${text}`);
    expect(loras).toEqual([]);
    expect(unreadable[0]!.source).toBe(text);
    expect(unreadable[0]!.message).toMatch(message);
  });
});
