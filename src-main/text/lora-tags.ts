// <lora:name:te:unet> in a prompt, as people paste it: A1111's weights, loractl's schedules, and LoRA Block Weight's lbw=, start=,
// stop= and step=. Each tag becomes a row of the stack.
// Facts: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#extra-networks and the pages of the two extensions
import { isBlockPreset, parseBlockWeights, type BlockWeights } from './block-weights.ts';
import { extractTags, type PromptTag } from './prompt-tags.ts';
import {
  constantWeight,
  parseWeightSchedule,
  weightAtStart,
  WeightTextError,
  type WeightSchedule,
} from './weight-schedule.ts';

/** One LoRA that a prompt asks for. */
export interface LoraTag {
  /** As written, without quotes: the stem of a file, perhaps with its folder. */
  readonly name: string;
  readonly unetWeight: WeightSchedule;
  readonly textWeight: number;
  readonly blocks?: BlockWeights;
  /** The tag as written. */
  readonly source: string;
  /** Parameters that mean nothing here, as written (`dyn=256`, `hr=0.5`): to be shown. */
  readonly ignored: readonly string[];
}

export interface LoraTags {
  /** The prompt without any tags. */
  readonly prompt: string;
  /** In order; a name that is repeated comes repeatedly. */
  readonly loras: readonly LoraTag[];
  /** LoRA tags that cannot be read, with the reason as a sentence. */
  readonly unreadable: readonly { readonly source: string; readonly message: string }[];
  /** Tags of other kinds, such as <hypernet:…>. */
  readonly unknown: readonly PromptTag[];
}

/**
 * Takes the tags out of a prompt. `<lora:name>` has weight 1; one number is both weights; of two, the first is the text
 * encoder's. `te=` and `unet=` name them; `lbw=`, or a preset's name in any place, gives block weights; `start=`, `stop=` and
 * `step=a-b` limit the steps. Weights may be schedules; the text encoder takes the weight of the first step. `lyco` is the
 * same as `lora`. Never throws.
 */
export function loraTags(prompt: string): LoraTags {
  const { prompt: plain, tags } = extractTags(prompt);
  const loras: LoraTag[] = [];
  const unreadable: { source: string; message: string }[] = [];
  const unknown: PromptTag[] = [];
  for (const tag of tags) {
    if (!/^(lora|lyco)$/i.test(tag.type)) {
      unknown.push(tag);
      continue;
    }
    try {
      loras.push(readTag(tag));
    } catch (error) {
      if (!(error instanceof WeightTextError)) throw error;
      unreadable.push({ source: tag.source, message: error.message });
    }
  }
  return { prompt: plain, loras, unreadable, unknown };
}

function readTag({ values: [first, ...rest], source }: PromptTag): LoraTag {
  const name = first!.trim().replace(/^(["'])(.*)\1$/, '$2');
  if (name === '') throw new WeightTextError('It has no name.');
  const weights: (string | undefined)[] = [];
  const named = new Map<string, string>();
  const ignored: string[] = [];
  let blocks: BlockWeights | undefined;
  for (const value of rest) {
    const [, key, text] = /^\s*([a-z_]\w*)\s*=(.*)$/is.exec(value) ?? [];
    if (key === undefined || text === undefined) {
      if (isBlockPreset(value)) blocks = parseBlockWeights(value);
      else if (weights.length < 2) weights.push(value.trim() === '' ? undefined : value);
      else ignored.push(value);
    } else if (/^(te|unet|start|stop|step)$/i.test(key)) {
      named.set(key.toLowerCase(), text);
    } else if (/^(lbw|w)$/i.test(key)) {
      blocks = parseBlockWeights(text);
    } else {
      ignored.push(value);
    }
  }
  const te = schedule(named.get('te') ?? weights[0]);
  const unet = schedule(named.get('unet') ?? weights[1]);
  const windows = ['start', 'stop', 'step'].flatMap((key) => (named.has(key) ? [`${key}=${named.get(key)!}`] : []));
  const { start, stop } = parseWeightSchedule(['1', ...windows].join(':'));
  return {
    name,
    unetWeight: {
      ...(unet ?? te ?? constantWeight(1)),
      ...(start === undefined ? {} : { start }),
      ...(stop === undefined ? {} : { stop }),
    },
    // `unet=` alone leaves the text encoder at 1, as in A1111.
    textWeight: te === undefined ? 1 : weightAtStart(te),
    ...(blocks === undefined ? {} : { blocks }),
    source,
    ignored,
  };
}

const schedule = (text: string | undefined): WeightSchedule | undefined =>
  text === undefined ? undefined : parseWeightSchedule(text);
