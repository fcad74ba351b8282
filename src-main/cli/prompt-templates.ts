// Alternatives and lists of words in a prompt of the command line, by the same rules as in the app: one by chance for each picture,
// or all combinations, one after the other.
import { resolve } from 'node:path';
import { drawSeed } from '../client/generate-with-retry.ts';
import type { GenerateRequest } from '../contract/generation.ts';
import { bundledWildcardFolder } from '../host/bundled-files.ts';
import { expandPrompt } from '../host/wildcard-files.ts';
import { UsageError, type Flags, type ParsedArguments } from './arguments.ts';

const mostCombinations = 1000;

export const templateFlags: Flags = {
  wildcards: {
    type: 'string',
    value: 'DIR',
    repeats: true,
    help: 'a folder of lists of words, .txt files, for __name__ in the prompt; may be repeated',
  },
  combinations: {
    type: 'string',
    value: 'N',
    help: 'draw all combinations of {a|b} and __name__, at most N, instead of one by chance for each picture',
  },
};

/** Lines for a command's help. */
export const templateNotes: readonly string[] = [
  'Alternatives in the prompts:',
  '  {red|green} one of both   {3::red|green} red more often   {2$$red|green|blue} two of them   __animal__ a word of a list',
];

/**
 * The requests that the prompts of `request` stand for: itself where they hold no alternatives. Throws UsageError for a count
 * that is none, FailureError for a list that is missing.
 */
export async function requestsOf(request: GenerateRequest, args: ParsedArguments): Promise<readonly GenerateRequest[]> {
  const { prompt, negativePrompt = '', batch = 1, seed = drawSeed() } = request;
  const limit = args.number('combinations');
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= mostCombinations)) {
    throw new UsageError(`--combinations must be a whole number from 1 to ${mostCombinations}, not ${limit}.`);
  }
  const bundled = bundledWildcardFolder();
  const folders = [
    ...(bundled === undefined ? [] : [bundled]),
    ...args.texts('wildcards').map((path) => resolve(path)),
  ];
  const mode = limit === undefined ? 'random' : 'all';
  const { isTemplate, prompts } = await expandPrompt(
    { prompt, negativePrompt, mode, seed, count: batch, limit: limit ?? mostCombinations },
    folders,
  );
  // Escaped braces are the characters themselves, also where nothing is drawn.
  if (!isTemplate) return [{ ...request, prompt: prompts[0]!.prompt, negativePrompt: prompts[0]!.negativePrompt }];
  return prompts.map((one) => ({
    ...request,
    ...one,
    batch: mode === 'all' ? batch : 1,
    template: { prompt, negativePrompt },
  }));
}
