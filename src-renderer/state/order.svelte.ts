// What the artist is about to order: the fields of the form, kept between sessions.
import type { MixRequest } from '../../src-main/contract/experts.ts';
import type { DeviceChoice, SamplerName, GenerateRequest } from '../../src-main/contract/generation.ts';
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';
import type { TagRow } from '../../src-main/contract/window-prompts.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';

export interface OrderFields {
  readonly prompt: string;
  readonly negative: string;
  /** Whether alternatives are drawn by chance or all combined. */
  readonly expansion: 'random' | 'all';
  /** <lora:…> tags whose files were not found. */
  readonly missing: readonly TagRow[];
  /** Paths; undefined is the bundled model, its own autoencoder, and previews in quick colours. */
  readonly model: string | undefined;
  readonly vae: string | undefined;
  readonly previewDecoder: string | undefined;
  readonly device: DeviceChoice;
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
  expansion: 'random',
  missing: [],
  model: undefined,
  vae: undefined,
  previewDecoder: undefined,
  device: 'auto',
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

  /** Puts every field back that is not the artist's own work: prompts, model and missing experts stay. */
  reset(): void {
    const { prompt, negative, missing, model } = this.#fields;
    this.set({ ...defaults, prompt, negative, missing, model });
  }

  /** Adds a word to the end of the prompt, with a comma where there is something before it. */
  addWord(word: string): void {
    const before = this.#fields.prompt.trimEnd().replace(/,$/, '');
    this.set({ prompt: before === '' ? word : `${before}, ${word}` });
  }

  /** Takes over the settings of an order that was drawn. */
  restore(order: DrawOrder, seed: number): void {
    const bundled = connection.welcome?.model?.path;
    this.set({
      ...(order.model === undefined ? {} : { model: order.model === bundled ? undefined : order.model }),
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

  /** The model that LoRAs are compared with, as a part of a request; empty for the bundled one. */
  comparedWith(): { readonly model?: string } {
    const { model } = this.#fields;
    return model === undefined ? {} : { model };
  }

  /** The order as the host takes it. */
  drawOrder(mix: MixRequest | undefined): DrawOrder {
    const { prompt, negative, sampler, schedule, steps, cfg, width, height, batch, seed } = this.#fields;
    const { vae, previewDecoder, device } = this.#fields;
    return {
      ...this.comparedWith(),
      prompt,
      negativePrompt: negative,
      sampler,
      schedule,
      steps,
      cfgScale: cfg,
      batch,
      previewEvery,
      ...(device === 'auto' ? {} : { device }),
      ...(vae === undefined ? {} : { vae }),
      ...(previewDecoder === undefined ? {} : { previewDecoder }),
      ...(width === undefined ? {} : { width }),
      ...(height === undefined ? {} : { height }),
      ...(seed === undefined ? {} : { seed }),
      ...(mix === undefined ? {} : { mix }),
    };
  }
}

const isText = (value: unknown): boolean => typeof value === 'string';
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
const isOneOf =
  (names: object) =>
  (value: unknown): boolean =>
    typeof value === 'string' && Object.hasOwn(names, value);
const isTag = (value: unknown): boolean => {
  if (typeof value !== 'object' || value === null) return false;
  const { name, weight, schedule, textWeight, blocks, source } = value as Readonly<Record<string, unknown>>;
  const mayBeText = (field: unknown): boolean => field === undefined || isText(field);
  return (
    [name, source].every(isText) && [weight, textWeight].every(isNumber) && mayBeText(schedule) && mayBeText(blocks)
  );
};

/** What a field of the last session must be to be taken over. */
const checks: Readonly<Record<keyof OrderFields, (value: unknown) => boolean>> = {
  prompt: isText,
  negative: isText,
  expansion: (value) => value === 'random' || value === 'all',
  missing: (value) => Array.isArray(value) && value.every(isTag),
  model: isText,
  vae: isText,
  previewDecoder: isText,
  device: isOneOf(strings.orderTools.devices),
  sampler: isOneOf(strings.samplers),
  schedule: isOneOf(strings.schedules),
  steps: isNumber,
  cfg: isNumber,
  width: isNumber,
  height: isNumber,
  batch: isNumber,
  seed: isNumber,
};

/** The fields of the last session; what is missing or of another type takes its default. */
function stored(): OrderFields {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? '{}');
    if (typeof value !== 'object' || value === null) return defaults;
    const kept = Object.entries(value).filter(
      ([name, field]) => Object.hasOwn(checks, name) && checks[name as keyof OrderFields](field),
    );
    return { ...defaults, ...Object.fromEntries(kept) };
  } catch {
    return defaults;
  }
}
