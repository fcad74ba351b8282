// Emphasis in AUTOMATIC1111's grammar: (x) times 1.1, [x] divided by 1.1, (x:1.2) times 1.2, nested as one likes;
// \( \) \[ \] \\ are the characters themselves; brackets left open close at the end; BREAK starts a new chunk.
// Facts: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis and its doctest examples.

/** A run of text with one weight, or the mark that fills up the current chunk. */
export type PromptPart =
  { readonly kind: 'text'; readonly text: string; readonly weight: number } | { readonly kind: 'break' };

/** Brackets open at once; one more is text. Nobody nests so deep, and every open bracket costs a pass over the prompt. */
const deepest = 200;

/** Far above any weight that still gives a picture; keeps a thousand nested brackets finite in float32. */
const largestWeight = 1e6;

/**
 * Splits a prompt into weighted runs; neighbours differ in weight. An empty prompt is one empty run. Weights are finite;
 * they are positive unless the prompt writes zero or a negative number, which A1111 allows too.
 *
 * Two things differ from A1111: BREAK inside brackets breaks (there it becomes the word "BREAK" with a negative weight),
 * and "(x:1.2.3)" is emphasis of the text "x:1.2.3" (there it is an error). Never throws.
 */
export function parseAttention(prompt: string): PromptPart[] {
  const parts: { text: string | undefined; weight: number }[] = [];
  const round: number[] = [];
  const square: number[] = [];
  const scaleFrom = (start: number, factor: number): void => {
    for (let index = start; index < parts.length; index++) parts[index]!.weight *= factor;
  };
  const add = (text: string): void => {
    text.split(/(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u).forEach((run, index, runs) => {
      if (index > 0) parts.push({ text: undefined, weight: 1 });
      const start = index > 0 ? run.trimStart() : run;
      parts.push({ text: index < runs.length - 1 ? start.trimEnd() : start, weight: 1 });
    });
  };

  for (const match of prompt.matchAll(/\\[()[\]\\]?|[([]|:\s*([+-]?[.\d]+)\s*\)|[)\]:]|[^\\()[\]:]+/g)) {
    const [token, number] = match;
    const factor = number === undefined ? Number.NaN : Number(number);
    if (token.startsWith('\\')) parts.push({ text: token.slice(1), weight: 1 });
    else if (token === '(' && round.length < deepest) round.push(parts.length);
    else if (token === '[' && square.length < deepest) square.push(parts.length);
    else if (number !== undefined && round.length > 0) {
      if (!Number.isFinite(factor)) add(token.slice(0, -1));
      scaleFrom(round.pop()!, Number.isFinite(factor) ? factor : 1.1);
    } else if (token === ')' && round.length > 0) scaleFrom(round.pop()!, 1.1);
    else if (token === ']' && square.length > 0) scaleFrom(square.pop()!, 1 / 1.1);
    else add(token);
  }
  for (const start of round) scaleFrom(start, 1.1);
  for (const start of square) scaleFrom(start, 1 / 1.1);

  const merged: PromptPart[] = [];
  for (const { text, weight: raw } of parts) {
    const weight = Math.max(-largestWeight, Math.min(largestWeight, raw));
    const last = merged.at(-1);
    if (text === undefined) merged.push({ kind: 'break' });
    else if (last?.kind === 'text' && last.weight === weight)
      merged[merged.length - 1] = { ...last, text: last.text + text };
    else merged.push({ kind: 'text', text, weight });
  }
  return merged.length > 0 ? merged : [{ kind: 'text', text: '', weight: 1 }];
}
