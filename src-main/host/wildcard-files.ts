// Lists of words for prompts: .txt files of the app's own folder and of the artist's, whose lists stand instead of the app's where
// they have the same name. Files are read when they are needed, so that a change holds at once.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
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
  type Template,
  type WildcardLists,
} from '../text/wildcards.ts';
import { FailureError } from '../contract/failure.ts';
import type { ExpandedPrompt, Expansion } from '../contract/window-prompts.ts';

/** A collection of lists has some thousand files. */
const mostFiles = 20_000;
const deepest = 8;
const mostBytes = 8_000_000;

export interface ExpandOptions {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly mode: 'random' | 'all';
  readonly seed: number;
  readonly count: number;
  readonly limit: number;
}

/** Absolute paths of the lists in `folders` by their names; a later folder's list stands instead of an earlier one's. */
export async function findWildcards(folders: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  let entries = 0;
  const walk = async (folder: string, below: string, depth: number): Promise<void> => {
    const inside = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of inside) {
      entries += 1;
      if (entries > mostFiles || entry.name.startsWith('.')) continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory() && depth < deepest) await walk(path, `${below}${entry.name}/`, depth + 1);
      else if (/\.txt$/i.test(entry.name)) found.set(below + entry.name.replace(/\.txt$/i, ''), path);
    }
  };
  for (const folder of folders) await walk(folder, '', 0);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The entries of a list's file; none where it cannot be read. Throws FailureError for one above 8 MB. */
export async function readWildcard(path: string): Promise<readonly string[]> {
  const facts = await stat(path).catch(() => undefined);
  if (facts !== undefined && facts.size > mostBytes) {
    throw new FailureError({
      kind: 'bad-file',
      file: path,
      message: `${path} has ${facts.size} bytes; a list of words has at most ${mostBytes}. Split it.`,
    });
  }
  return wildcardEntries(await readFile(path, 'utf8').catch(() => ''));
}

/**
 * The prompts that a template stands for. Picture i of mode `random` is drawn by seed + i, so that it comes again with its own
 * seed; in mode `all` every picture has the same seed, and the negative prompt's choices change first. Throws FailureError for
 * a list that is missing, empty or contains itself.
 */
export async function expandPrompt(options: ExpandOptions, folders: readonly string[]): Promise<Expansion> {
  const { prompt, negativePrompt, mode, seed, count, limit } = options;
  const [positive, negative] = [parseTemplate(prompt), parseTemplate(negativePrompt)];
  const isTemplate = hasChoices(positive) || hasChoices(negative);
  try {
    const lists = isTemplate ? await listsFor([positive, negative], folders) : new Map<string, readonly string[]>();
    const total = countPrompts(positive, lists) * countPrompts(negative, lists);
    const prompts =
      mode === 'random'
        ? Array.from({ length: count }, (_, i): ExpandedPrompt => {
            const random = seededRandom(seed + i);
            // In this order: a change of the negative prompt leaves the prompt as it was.
            const drawn = randomPrompt(positive, lists, random);
            return { prompt: drawn, negativePrompt: randomPrompt(negative, lists, random), seed: seed + i };
          })
        : crossed(allPrompts(positive, lists, limit), allPrompts(negative, lists, limit), seed).slice(0, limit);
    return { isTemplate, prompts, total: Number.isFinite(total) ? total : null };
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const hint = error.message.startsWith('There is no list')
      ? ` Put ${folders.length === 0 ? 'it' : `it as a .txt file into ${folders.at(-1)!}`}, or write \\__ for the characters themselves.`
      : '';
    throw new FailureError({ kind: 'bad-request', message: `${error.message}${hint}` });
  }
}

const crossed = (prompts: readonly string[], negatives: readonly string[], seed: number): readonly ExpandedPrompt[] =>
  prompts.flatMap((prompt) => negatives.map((negativePrompt) => ({ prompt, negativePrompt, seed })));

/** The lists that the templates name, and those that these name in turn. */
async function listsFor(templates: readonly Template[], folders: readonly string[]): Promise<WildcardLists> {
  const files = await findWildcards(folders);
  const lists = new Map<string, readonly string[]>();
  let wanted = templates.flatMap((template) => [...listNames(template)]);
  while (wanted.length > 0) {
    const names = wanted.flatMap((name) => matchingLists(name, files.keys())).filter((name) => !lists.has(name));
    wanted = [];
    for (const name of new Set(names)) {
      const entries = await readWildcard(files.get(name)!);
      lists.set(name, entries);
      wanted.push(...entries.flatMap((entry) => [...listNames(parseTemplate(entry))]));
    }
  }
  return lists;
}
