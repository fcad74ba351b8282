// The settings of a picture as lines to read: label and value, in the order of the form.
import type { GalleryDetails } from '../../src-main/contract/window-gallery.ts';
import { strings } from '../strings.ts';

/** Those that are known. */
export function settingLines({
  settings,
  order,
  mix,
  picture,
  startedFrom,
}: GalleryDetails): readonly (readonly [string, string])[] {
  const text = strings.gallery.details;
  const sampler = settings.sampler ?? order?.sampler;
  const schedule = settings.schedule ?? order?.schedule;
  const mode = mix?.mode ?? order?.mix?.mode;
  const { variation, clipSkip, cfgRescale } = settings;
  const number = (value: number | undefined): string | undefined => (value === undefined ? undefined : String(value));
  const lines: readonly (readonly [string, string | undefined])[] = [
    [text.sampler, sampler === undefined ? undefined : strings.samplers[sampler]],
    [text.schedule, schedule === undefined ? undefined : strings.schedules[schedule]],
    [text.steps, number(settings.steps ?? order?.steps)],
    [text.cfg, number(settings.cfgScale ?? order?.cfgScale)],
    [text.seed, number(settings.seed ?? order?.seed)],
    [text.size, picture.width === 0 ? undefined : `${picture.width} × ${picture.height}`],
    [text.mode, mode === undefined ? undefined : strings.modes[mode].label],
    [text.variation, variation === undefined ? undefined : text.variationValue(variation.seed, variation.strength)],
    [text.clipSkip, clipSkip === undefined || clipSkip === 1 ? undefined : String(clipSkip)],
    [text.cfgRescale, cfgRescale === undefined || cfgRescale === 0 ? undefined : String(cfgRescale)],
    [text.startedFrom, startedFrom === undefined ? undefined : text.startedFromValue(startedFrom)],
  ];
  return lines.flatMap(([label, value]) => (value === undefined ? [] : [[label, value] as const]));
}

/** All that can differ between two pictures: the lines, prompts, experts, gate and model. */
export function comparableLines(details: GalleryDetails): ReadonlyMap<string, string> {
  const text = strings.gallery.details;
  const { settings, order, mix, model } = details;
  return new Map([
    [text.prompt, settings.prompt ?? order?.prompt ?? ''],
    [text.negative, settings.negativePrompt ?? order?.negativePrompt ?? ''],
    ...settingLines(details),
    ...(mix?.experts ?? []).map(({ name, settings: row }) => {
      const weight = row.muted ? text.muted : text.weight(row.weight);
      return [name, weight] as const;
    }),
    [text.gate, mix?.gate?.name ?? ''],
    [text.model, model?.name ?? ''],
  ]);
}
