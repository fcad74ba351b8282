// What the history keeps of a picture: from its order while it is fresh, from the file's own settings once they were read.
import { basename } from 'node:path';
import type { FinishedPicture, GenerateRequest } from '../contract/generation.ts';
import type { PictureReport } from '../contract/pictures.ts';
import type { HistoryPicture } from './history-database.ts';

/** Of a path or a name, without its ending. */
const stem = (name: string): string => basename(name).replace(/(\.mole)?\.safetensors$/i, '');

/** A picture that was just drawn. */
export function recordOfDrawn(picture: FinishedPicture, request: GenerateRequest, date: number): HistoryPicture {
  const { prompt, negativePrompt = '', model, mix } = request;
  return {
    ...picture,
    date,
    prompt,
    negative: negativePrompt,
    model: stem(model),
    mode: mix?.mode ?? '',
    experts: (mix?.experts ?? []).map(({ path }) => stem(path)),
    report: undefined,
    order: JSON.stringify(request),
  };
}

/**
 * A picture whose file was read. Where the file says nothing of its settings, those of its order are kept.
 */
export function recordOfRead(
  path: string,
  date: number,
  report: PictureReport,
  ordered: GenerateRequest | undefined,
): HistoryPicture {
  const { settings, mix, model, size } = report;
  const told = report.from !== 'none';
  const drawn = {
    path,
    seed: settings.seed ?? ordered?.seed ?? 0,
    width: size?.width ?? settings.width ?? 0,
    height: size?.height ?? settings.height ?? 0,
  };
  const known = ordered === undefined ? undefined : recordOfDrawn(drawn, ordered, date);
  return {
    ...drawn,
    date,
    prompt: told ? (settings.prompt ?? '') : (known?.prompt ?? ''),
    negative: told ? (settings.negativePrompt ?? '') : (known?.negative ?? ''),
    model: told ? stem(model?.name ?? '') : (known?.model ?? ''),
    mode: told ? (mix?.mode ?? '') : (known?.mode ?? ''),
    experts: told ? (mix?.experts ?? []).map(({ name }) => stem(name)) : (known?.experts ?? []),
    report: JSON.stringify(report),
    order: known?.order,
  };
}
