// The prompt desk: lists of words, templates that stand for many prompts, and <lora:…> tags on their way to rows of the stack.
import { join } from 'node:path';
import { drawSeed } from '../client/generate-with-retry.ts';
import type { PromptMethods, ReadTags, TagRow, WildcardList } from '../contract/window-prompts.ts';
import { showBlockWeights } from '../text/block-weights.ts';
import { loraTags, type LoraTag } from '../text/lora-tags.ts';
import { extractTags } from '../text/prompt-tags.ts';
import { showWeightSchedule, weightAtStart } from '../text/weight-schedule.ts';
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

/** Takes the <lora:…> tags out of `prompt`; those in braces belong to an alternative and stay. Never throws. */
export function readTags(prompt: string): ReadTags {
  const { masked, unmask } = withoutBraces(prompt);
  const rows: TagRow[] = [];
  const problems: string[] = [];
  let rest = masked;
  let cleaned = '';
  for (const { source } of extractTags(masked).tags) {
    const at = rest.indexOf(source);
    cleaned += rest.slice(0, at);
    rest = rest.slice(at + source.length);
    const { loras, unreadable } = loraTags(source);
    const [tag] = loras;
    if (tag === undefined || source.includes(maskMark)) {
      cleaned += source;
      if (!source.includes(maskMark)) problems.push(...unreadable.map(({ message }) => stays(source, message)));
      continue;
    }
    rows.push(rowOf(tag));
    if (tag.ignored.length > 0) problems.push(`${source}: ${tag.ignored.join(', ')} means nothing here.`);
    // The comma or space that stood after the tag goes with it.
    if (/(^|[,\s])$/.test(cleaned)) rest = rest.replace(/^[ \t]*,?[ \t]*/, '');
  }
  const tidy = rows.length === 0 ? cleaned + rest : (cleaned + rest).replace(/[ \t]*,?[ \t]*$/, '');
  return { prompt: unmask(tidy), rows, problems };
}

const stays = (source: string, message: string): string => `${source} stays in the prompt: ${message}`;

function rowOf({ name, unetWeight, textWeight, blocks, source }: LoraTag): TagRow {
  const { points, start, stop } = unetWeight;
  const isConstant = points.length === 1 && start === undefined && stop === undefined;
  return {
    name,
    weight: weightAtStart(unetWeight),
    ...(isConstant ? {} : { schedule: showWeightSchedule(unetWeight) }),
    textWeight,
    ...(blocks === undefined ? {} : { blocks: showBlockWeights(blocks) }),
    source,
  };
}

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
