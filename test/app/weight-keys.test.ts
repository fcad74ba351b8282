// Weights by keys, as in A1111: what a press makes of the text and what is selected afterwards. | marks the cursor or selection.
import { describe, expect, it } from 'vitest';
import { changeWeight } from '../../src-renderer/components/weight-keys.ts';

/** `text` after a press, marks and all; the same text when nothing is to be weighed. */
function press(marked: string, step: number): string {
  const [before, selected, after] = marked.split('|') as [string, string, string?];
  const [text, start] = [before + (after === undefined ? '' : selected) + (after ?? selected), before.length];
  const end = after === undefined ? start : start + selected.length;
  const change = changeWeight(text, start, end, step);
  if (change === undefined) return marked;
  const changed = text.slice(0, change.from) + change.text + text.slice(change.to);
  const [from, to] = change.selection;
  return `${changed.slice(0, from)}|${changed.slice(from, to)}|${changed.slice(to)}`;
}

describe('Ctrl+Up', () => {
  it.each<[string, string]>([
    ['a re|d fox', 'a (|red|:1.1) fox'],
    ['|red fox', '(|red|:1.1) fox'],
    ['red fox|', 'red (|fox|:1.1)'],
    ['a |red fox|, night', 'a (|red fox|:1.1), night'],
    ['a | red fox |, night', 'a  (|red fox|:1.1) , night'],
    ['a (|red|:1.1) fox', 'a (|red|:1.2) fox'],
    ['a (re|d:1.1) fox', 'a (|red|:1.2) fox'],
    ['a |(red:1.1)| fox', 'a (|red|:1.2) fox'],
    ['a (re|d) fox', 'a (|red|:1.2) fox'],
    ['a (r|ed:0.9) fox', 'a |red| fox'],
    ['((re|d:1.3) fox:1.1)', '((|red|:1.4) fox:1.1)'],
    ['((red:1.3) f|ox:1.1)', '(|(red:1.3) fox|:1.2)'],
    ['((red:1.3) |fox|:1.1)', '((red:1.3) (|fox|:1.1):1.1)'],
    ['ganyu \\(gen|shin\\), x', '(|ganyu \\(genshin\\)|:1.1), x'.replace('(|ganyu ', 'ganyu (|')],
    ['<lora:ink:0|.8>, fox', '<lora:ink||:0.85>, fox'],
    ['<lora:in|k>, fox', '<lora:ink||:1.05>, fox'],
    ['a ,| b', 'a ,| b'],
    ['|', '|'],
    ['(re|d', '((|red|:1.1)'],
  ])('makes %j to %j', (before, after) => {
    expect(press(before, 0.1)).toBe(after);
  });
});

describe('Ctrl+Down', () => {
  it.each<[string, string]>([
    ['re|d', '(|red|:0.9)'],
    ['(|red|:1.1)', '|red|'],
    ['(|red|)', '|red|'],
    ['(|red|:0.05)', '(|red|:0)'],
  ])('makes %j to %j', (before, after) => {
    expect(press(before, -0.1)).toBe(after);
  });

  it('takes back what Ctrl+Up did, however often', () => {
    let text = 'a |red fox|, night';
    for (let i = 0; i < 7; i++) text = press(text, 0.1);
    expect(text).toBe('a (|red fox|:1.7), night');
    for (let i = 0; i < 7; i++) text = press(text, -0.1);
    expect(text).toBe('a |red fox|, night');
  });
});
