// The fields of a config.json, read one by one: what is absent takes the value that diffusers or transformers would give it, and
// what has another type, or a value beyond reason, is refused by name. A config is a stranger's file.
import { CheckpointError } from './checkpoint-error.ts';

/** The fields of one config.json. Absent and null take the fallback; anything of another type is refused. */
export class Fields {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #file: string;

  constructor(json: unknown, file: string) {
    this.#file = file;
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      throw new CheckpointError(file, `expected a JSON object.`);
    this.#fields = json as Record<string, unknown>;
  }

  given(name: string): boolean {
    return (this.#fields[name] ?? null) !== null;
  }

  number(name: string, fallback: number): number {
    const value = this.#fields[name] ?? fallback;
    return typeof value === 'number' && Number.isFinite(value) ? value : this.#wrong(name, 'a number');
  }

  startsWith(name: string, start: string): boolean {
    const value = this.#fields[name];
    return typeof value === 'string' && value.startsWith(start);
  }

  count(name: string, fallback: number, most = mostCount): number {
    const value = this.#fields[name] ?? fallback;
    return isCount(value) && value <= most ? value : this.#wrong(name, `a whole number from 1 to ${most}`);
  }

  /** A side length, or a list of two of which the larger counts. */
  side(name: string, fallback: number): number {
    return Math.max(...this.counts(name, undefined, [fallback]));
  }

  divides(name: string, size: number, by: string, parts: number): void {
    if (size % parts === 0) return;
    throw new CheckpointError(this.#file, `"${name}" ${size} does not divide by "${by}" ${parts}.`);
  }

  /** One value per level, where a single number stands for all; any length up to 16 where `levels` is not known. */
  counts(name: string, levels: number | undefined, fallback: readonly number[], most = mostCount): readonly number[] {
    const value = this.#fields[name] ?? fallback;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    const spread = list.length === 1 && levels !== undefined ? Array.from({ length: levels }, () => list[0]) : list;
    const fits = levels === undefined ? spread.length >= 1 && spread.length <= 16 : spread.length === levels;
    return fits && spread.every(isCount) && spread.every((value) => value <= most)
      ? spread
      : this.#wrong(name, `${levels ?? '1 to 16'} whole numbers`);
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.#fields[name] ?? fallback;
    return typeof value === 'boolean' ? value : this.#wrong(name, 'true or false');
  }

  oneOf<T extends string>(name: string, allowed: readonly T[], fallback: T): T {
    const value = this.#fields[name] ?? fallback;
    return allowed.find((one) => one === value) ?? this.#wrong(name, allowed.join(' or '));
  }

  listOf(name: string, allowed: readonly string[], length: number, fallback: readonly string[]): readonly string[] {
    const value = this.#fields[name] ?? fallback;
    const good =
      Array.isArray(value) && value.length === length && value.every((one) => allowed.includes(one as string));
    return good ? (value as readonly string[]) : this.#wrong(name, `${length} of ${allowed.join(', ')}`);
  }

  /** Refuses a value outside `allowed`; an absent field is the first of them. */
  only(name: string, allowed: readonly unknown[], why = 'That is not supported.'): void {
    const value = this.#fields[name] ?? null;
    if (value === null || allowed.includes(value)) return;
    if (Array.isArray(value) && value.length > 0 && value.every((one) => allowed.includes(one))) return;
    throw new CheckpointError(this.#file, `"${name}" is ${show(value)}. ${why}`);
  }

  #wrong(name: string, expected: string): never {
    throw new CheckpointError(this.#file, `"${name}" is ${show(this.#fields[name])}, expected ${expected}.`);
  }
}

/** Limits of a config, so that a hostile one is refused before anything as large is built. */
const mostCount = 2 ** 20;
export const mostLayers = 200;

const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= mostCount;

const show = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value)).slice(0, 80);
