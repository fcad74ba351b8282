// <lora:name:0.8> in a prompt becomes an expert of the stack: the name is the stem of a file in the artist's folders, as in A1111.
// What cannot be found or read is told, never dropped silently.
import type { ExpertRequest } from '../contract/experts.ts';
import { showBlockWeights } from '../text/block-weights.ts';
import { loraTags, type LoraTag } from '../text/lora-tags.ts';
import { showWeightSchedule } from '../text/weight-schedule.ts';
import { listFiles, type ListedFile } from './list-files.ts';

export interface PromptExperts {
  /** The prompt without tags. */
  readonly prompt: string;
  /** In the order of the tags. */
  readonly experts: readonly ExpertRequest[];
  readonly warnings: readonly string[];
}

/** The experts that the tags of `prompt` name, found in `folders` and their sub-folders. Folders are read only if there are tags. */
export async function expertsOfPrompt(prompt: string, folders: readonly string[]): Promise<PromptExperts> {
  const { prompt: plain, loras, unreadable, unknown } = loraTags(prompt);
  const warnings = unreadable.map(({ source, message }) => `${source} is left out: ${message}`);
  if (unknown.length > 0) {
    warnings.push(`Left out, because only <lora:…> tags are known: ${unknown.map(({ source }) => source).join(' ')}`);
  }
  const files = loras.length > 0 ? await listFiles(folders) : [];
  const experts: ExpertRequest[] = [];
  for (const tag of loras) {
    const found = filesOf(tag, files);
    if (found.length === 0) {
      warnings.push(`${tag.source} is left out: ${whyMissing(tag, folders)}`);
      continue;
    }
    const [{ path }] = found as [ListedFile];
    if (found.length > 1) {
      const others = found.slice(1).map((other) => other.path);
      warnings.push(`${tag.source} is ${path}; ${others.join(', ')} has the same name. Write its folder to choose it.`);
    }
    if (tag.ignored.length > 0) warnings.push(`${tag.source}: ${tag.ignored.join(', ')} means nothing here.`);
    experts.push({
      path,
      weight: showWeightSchedule(tag.unetWeight),
      textWeight: tag.textWeight,
      ...(tag.blocks === undefined ? {} : { blocks: showBlockWeights(tag.blocks) }),
    });
  }
  return { prompt: plain, experts, warnings };
}

/** Files whose stem, or whose folder and stem, is the tag's name: as written, or else in any case. */
function filesOf({ name }: LoraTag, files: readonly ListedFile[]): readonly ListedFile[] {
  const wanted = name.replaceAll('\\', '/').replace(/\.safetensors$/i, '');
  const fits = (stem: string, target: string): boolean => stem === target || stem.endsWith(`/${target}`);
  const exact = files.filter(({ stem }) => fits(stem, wanted));
  return exact.length > 0 ? exact : files.filter(({ stem }) => fits(stem.toLowerCase(), wanted.toLowerCase()));
}

function whyMissing({ name }: LoraTag, folders: readonly string[]): string {
  return folders.length === 0
    ? `no folder of LoRAs is given to look for ${name}.safetensors in.`
    : `there is no ${name}.safetensors in ${folders.join(', ')}.`;
}
