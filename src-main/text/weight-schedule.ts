// Strengths that change while a picture is drawn: `0.2@0.2,1@0.8` is 0.2 until a fifth of the steps, then rises to 1 at four
// fifths, as loractl and SD.Next write it; `0.8:start=5:stop=15` speaks only in a window, as LoRA Block Weight writes it.
// Facts: https://github.com/cheald/sd-webui-loractl#basic-usage, https://github.com/hako-mikan/sd-webui-lora-block-weight

/** A moment of a drawing. Steps count from 1; fraction 0 is the first step, 1 the last. */
export interface Place {
  readonly unit: 'fraction' | 'step';
  readonly at: number;
}

export interface WeightPoint extends Place {
  readonly weight: number;
}

/** At least one point, in the order as written. */
export interface WeightSchedule {
  readonly points: readonly WeightPoint[];
  /** First step that is heard; before it the weight is 0. */
  readonly start?: Place;
  /** First step that is no longer heard; from it on the weight is 0. */
  readonly stop?: Place;
}

/** A weight, schedule or list of block weights that cannot be read; the message quotes it. */
export class WeightTextError extends Error {
  override readonly name = 'WeightTextError';
}

/** Points of one schedule; nobody writes more, and the text is a stranger's. */
const mostPoints = 1000;

/** The schedule that is the same number at every step. */
export function constantWeight(weight: number): WeightSchedule {
  return { points: [{ weight, unit: 'fraction', at: 0 }] };
}

/**
 * Reads `0.8`, or points `weight@place` between commas or semicolons, in any order: a place up to 1 is a fraction of the
 * drawing, one above 1 is a step. Windows follow after colons: `:start=PLACE`, `:stop=PLACE`, `:step=PLACE-PLACE`, where a
 * place below 1 is a fraction and any other a step. Throws WeightTextError.
 */
export function parseWeightSchedule(text: string): WeightSchedule {
  const [points, ...windows] = text.split(':');
  let schedule: WeightSchedule = { points: parsePoints(points!, text) };
  for (const window of windows) schedule = { ...schedule, ...parseWindow(window, text) };
  return schedule;
}

function parsePoints(list: string, whole: string): WeightPoint[] {
  const parts = list.split(/[,;]/);
  if (parts.length > mostPoints) {
    throw new WeightTextError(`A schedule can have ${mostPoints} points, this one has ${parts.length}.`);
  }
  return parts.map((part): WeightPoint => {
    const [weightText, placeText, ...more] = part.split('@');
    const weight = parseDecimal(weightText!);
    if (weight === undefined || more.length > 0) throw unreadable(whole, part);
    if (placeText === undefined) {
      if (parts.length === 1) return { weight, unit: 'fraction', at: 0 };
      throw new WeightTextError(
        `"${shorten(whole)}": ${part.trim()} needs a place when there are several weights, such as ${part.trim()}@0.5.`,
      );
    }
    const at = parseDecimal(placeText);
    if (at === undefined || at < 0) throw unreadable(whole, part);
    return { weight, ...placeOf(at) };
  });
}

/** `start=5`, `stop=0.4` or `step=5-10`. */
function parseWindow(window: string, whole: string): Pick<WeightSchedule, 'start' | 'stop'> {
  const [, name, value] = /^\s*(start|stop|step)\s*=(.*)$/i.exec(window) ?? [];
  const places = value?.split('-').map((part) => parseDecimal(part)) ?? [];
  const isWhole = places.every((place) => place !== undefined && place >= 0);
  if (name === undefined || !isWhole || places.length !== (name.toLowerCase() === 'step' ? 2 : 1)) {
    throw new WeightTextError(
      `"${shorten(whole)}": "${shorten(window)}" is no window. Write start=5, stop=15 or step=5-15, in steps or as fractions below 1.`,
    );
  }
  // Here a 1 is the first step, as LoRA Block Weight counts, not the end of the drawing.
  const [first, last] = places.map((at): Place => ({ unit: at! > 0 && at! < 1 ? 'fraction' : 'step', at: at! }));
  if (name.toLowerCase() === 'step') return { start: first!, stop: last! };
  return name.toLowerCase() === 'start' ? { start: first! } : { stop: first! };
}

const placeOf = (at: number): Place => ({ unit: at > 1 ? 'step' : 'fraction', at });

/** A decimal number such as -1, .5 or 2e-1; undefined for anything else. */
export function parseDecimal(text: string): number | undefined {
  const number = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text) ? Number(text) : Number.NaN;
  return Number.isFinite(number) ? number : undefined;
}

function unreadable(whole: string, part: string): WeightTextError {
  const where = part.trim() === whole.trim() ? '' : `"${shorten(whole)}": `;
  return new WeightTextError(
    `${where}"${shorten(part.trim())}" is no weight. Write a number such as 0.8, or weights at fractions of the steps such as 0.2@0.2,1@0.8.`,
  );
}

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}…` : text);

/**
 * The weight at `step`, from 0, of `steps`: linear between points, the first or last one outside of them. Of two points in one
 * place the later one holds from there on, so that `0@10,1@10` is a jump.
 */
export function weightAt({ points, start, stop }: WeightSchedule, step: number, steps: number): number {
  const now = step + 1;
  // The step number of a place: fractions run from the first step to the last.
  const stepOf = ({ unit, at }: Place): number => (unit === 'step' ? at : 1 + at * (steps - 1));
  // Windows take a fraction of the number of steps, rounded, as LoRA Block Weight does.
  const edgeOf = ({ unit, at }: Place): number => (unit === 'step' ? at : Math.max(1, Math.round(at * steps)));
  if ((start !== undefined && now < edgeOf(start)) || (stop !== undefined && now >= edgeOf(stop))) return 0;
  const placed = points
    .map((point) => ({ weight: point.weight, at: stepOf(point) }))
    .sort((one, other) => one.at - other.at);
  const before = placed.findLast(({ at }) => at <= now);
  const after = placed.find(({ at }) => at > now);
  if (before === undefined || after === undefined) return (before ?? after)!.weight;
  return before.weight + ((now - before.at) / (after.at - before.at)) * (after.weight - before.weight);
}

/**
 * The one number that stands for a schedule where nothing is drawn step by step, such as the text encoder: the weight of the
 * first step, whatever the window. A1111 reads the prompt before the first step too.
 */
export function weightAtStart({ points }: WeightSchedule): number {
  return weightAt({ points }, 0, mostPoints);
}

/** The text that parseWeightSchedule reads as `schedule`. */
export function showWeightSchedule({ points, start, stop }: WeightSchedule): string {
  const [only] = points;
  const list = points.length === 1 ? String(only!.weight) : points.map(({ weight, at }) => `${weight}@${at}`).join(',');
  const window = (name: string, place: Place | undefined): string =>
    place === undefined ? '' : `:${name}=${place.at}`;
  return list + window('start', start) + window('stop', stop);
}
