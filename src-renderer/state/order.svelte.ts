// What the artist is about to order: the fields of the form, kept between sessions, and the token counter.
import type { MixRequest } from '../../src-main/contract/experts.ts';
import type { SamplerName, GenerateRequest } from '../../src-main/contract/generation.ts';
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';

export interface OrderFields {
  readonly prompt: string;
  readonly negative: string;
  readonly sampler: SamplerName;
  readonly schedule: NonNullable<GenerateRequest['schedule']>;
  readonly steps: number;
  readonly cfg: number;
  /** Pixels; undefined takes the model's own. */
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly batch: number;
  /** Undefined draws one for each job. */
  readonly seed: number | undefined;
}

const key = 'mole-atelier-order-v1';

const defaults: OrderFields = {
  prompt: '',
  negative: '',
  sampler: 'dpmpp-2m',
  schedule: 'automatic',
  steps: 20,
  cfg: 7,
  width: undefined,
  height: undefined,
  batch: 1,
  seed: undefined,
};

/** Steps between previews: often enough to follow, rarely enough to cost nothing. */
const previewEvery = 1;

export class Order {
  #fields = $state.raw<OrderFields>(stored());

  get fields(): OrderFields {
    return this.#fields;
  }

  /** Changes fields, and remembers them. */
  set(change: Partial<OrderFields>): void {
    this.#fields = { ...this.#fields, ...change };
    localStorage.setItem(key, JSON.stringify(this.#fields));
  }

  /** Adds a word to the end of the prompt, with a comma where there is something before it. */
  addWord(word: string): void {
    const before = this.#fields.prompt.trimEnd().replace(/,$/, '');
    this.set({ prompt: before === '' ? word : `${before}, ${word}` });
  }

  /** Takes over the settings of an order that was drawn. */
  restore(order: DrawOrder, seed: number): void {
    this.set({
      prompt: order.prompt,
      negative: order.negativePrompt ?? '',
      sampler: order.sampler ?? defaults.sampler,
      schedule: order.schedule ?? defaults.schedule,
      steps: order.steps ?? defaults.steps,
      cfg: order.cfgScale ?? defaults.cfg,
      width: order.width,
      height: order.height,
      seed,
    });
  }

  /** The order as the host takes it. */
  drawOrder(mix: MixRequest | undefined): DrawOrder {
    const { prompt, negative, sampler, schedule, steps, cfg, width, height, batch, seed } = this.#fields;
    return {
      prompt,
      negativePrompt: negative,
      sampler,
      schedule,
      steps,
      cfgScale: cfg,
      batch,
      previewEvery,
      ...(width === undefined ? {} : { width }),
      ...(height === undefined ? {} : { height }),
      ...(seed === undefined ? {} : { seed }),
      ...(mix === undefined ? {} : { mix }),
    };
  }
}

/** The fields of the last session; what is missing or of another type takes its default. */
function stored(): OrderFields {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? '{}');
    if (typeof value !== 'object' || value === null) return defaults;
    const kept = Object.entries(value).filter(([name, field]) => {
      const usual = Object.hasOwn(defaults, name) ? typeof defaults[name as keyof OrderFields] : 'none';
      return usual === typeof field || (usual === 'undefined' && typeof field === 'number');
    });
    return { ...defaults, ...Object.fromEntries(kept) };
  } catch {
    return defaults;
  }
}
