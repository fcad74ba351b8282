// The prompt desk: lists of words, templates that stand for many prompts, and <lora:…> tags on their way to rows of the stack.
import { join } from 'node:path';
import { drawSeed } from '../client/generate-with-retry.ts';
import type { PromptMethods, ReadTags, TagRow, WildcardList } from '../contract/window-prompts.ts';
import { loraTags } from '../text/lora-tags.ts';
import { extractTags } from '../text/prompt-tags.ts';
import { weightAtStart, type WeightSchedule } from '../text/weight-schedule.ts';
import { bundledWildcardFolder } from './bundled-files.ts';
import type { Desk, DeskSurroundings, Handlers } from './desk.ts';
import { expandPrompt, findWildcards, readWildcard } from './wildcard-files.ts';

/** Entries of a list that are shown. */
const sampleSize = 3;

export class PromptDesk implements Desk<keyof PromptMethods> {
  readonly handlers: Handlers<keyof PromptMethods>;

  constructor({ options }: DeskSurroundings) {
    const bundled = bundledWildcardFolder();
    const folder = join(options.folder, 'wildcards');
    const folders = bundled === undefined ? [folder] : [bundled, folder];
    this.handlers = {
      wildcards: async () => ({ lists: await listsIn(folders, bundled), folder }),
      expandPrompt: ({ seed = drawSeed(), ...params }) => expandPrompt({ ...params, seed }, folders),
      readTags: ({ prompt }) => readTags(prompt),
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function listsIn(folders: readonly string[], bundled: string | undefined): Promise<readonly WildcardList[]> {
  const files = [...(await findWildcards(folders))];
  return Promise.all(
    files.map(async ([name, path]) => {
      const entries = await readWildcard(path).catch((): readonly string[] => []);
      const isBundled = bundled !== undefined && path.startsWith(bundled);
      return { name, entries: entries.length, sample: entries.slice(0, sampleSize), bundled: isBundled };
    }),
  );
}

/**
 * Takes the tags out of `prompt` that say no more than a row of the stack can: a name and two weights. Tags in braces belong to
 * an alternative and stay; so do those with weights over steps or blocks, which the engine reads. Never throws.
 */
export function readTags(prompt: string): ReadTags {
  const { masked, unmask } = withoutBraces(prompt);
  const rows: TagRow[] = [];
  const kept: string[] = [];
  const problems: string[] = [];
  let rest = masked;
  let cleaned = '';
  for (const { source } of extractTags(masked).tags) {
    const at = rest.indexOf(source);
    cleaned += rest.slice(0, at);
    rest = rest.slice(at + source.length);
    const { loras, unreadable } = loraTags(source);
    const [tag] = loras;
    const row = tag === undefined || source.includes(maskMark) ? undefined : rowOf(tag);
    if (row === undefined) {
      cleaned += source;
      if (unreadable[0] === undefined) kept.push(unmask(source));
      else problems.push(`${unmask(source)} stays in the prompt: ${unreadable[0].message}`);
    } else {
      rows.push(row);
      // The comma or space that stood after the tag goes with it.
      if (/(^|[,\s])$/.test(cleaned)) rest = rest.replace(/^[ \t]*,?[ \t]*/, '');
    }
  }
  const tidy = rows.length === 0 ? cleaned + rest : (cleaned + rest).replace(/[ \t]*,?[ \t]*$/, '');
  return { prompt: unmask(tidy), rows, kept, problems };
}

function rowOf(tag: ReturnType<typeof loraTags>['loras'][number]): TagRow | undefined {
  const { name, unetWeight, textWeight, blocks, ignored, source } = tag;
  if (!isConstant(unetWeight) || blocks !== undefined || ignored.length > 0) return undefined;
  return { name, weight: weightAtStart(unetWeight), textWeight, source };
}

/** One weight for all steps. */
const isConstant = ({ points, start, stop }: WeightSchedule): boolean =>
  points.length === 1 && start === undefined && stop === undefined;

/** No prompt holds it. */
const maskMark = '\u0000';

/** `prompt` with every outermost pair of braces and what is in it replaced by a mark, and the way back. */
function withoutBraces(prompt: string): { readonly masked: string; readonly unmask: (text: string) => string } {
  const groups: string[] = [];
  let masked = '';
  let depth = 0;
  let start = 0;
  const plain = prompt.replaceAll(maskMark, '');
  for (const match of plain.matchAll(/\\[{}]|[{}]/g)) {
    if (match[0] === '{' && depth++ === 0) {
      masked += plain.slice(start, match.index);
      start = match.index;
    } else if (match[0] === '}' && depth > 0 && --depth === 0) {
      masked += maskMark + String(groups.push(plain.slice(start, match.index + 1)) - 1) + maskMark;
      start = match.index + 1;
    }
  }
  const unmask = (text: string): string =>
    text.replace(new RegExp(`${maskMark}(\\d+)${maskMark}`, 'g'), (_, index: string) => groups[Number(index)]!);
  return { masked: masked + plain.slice(start), unmask };
}
