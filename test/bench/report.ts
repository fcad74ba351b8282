// RESULTS.md: a table per section, each with the command and the machine that made it. A section that was not measured stays as it was.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
export const seconds = (ms: number): string => {
  if (ms >= 60_000) return `${(ms / 60_000).toFixed(1)} min`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
};
export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** The rows of a section, printed as they come. */
export class Table {
  /** Versions of the other side's programs. */
  versions = '';
  readonly #rows: string[] = [];

  /** `ratio` is ours to theirs; `met` says whether `target` is. */
  row(what: string, mine: string, other: string, ratio: number | undefined, target: string, met?: boolean): void {
    const shown = ratio === undefined ? '' : ratio.toFixed(2);
    const verdict = met === undefined ? '' : met ? 'yes' : '**no**';
    const line = `| ${what} | ${mine} | ${other} | ${shown} | ${target} | ${verdict} |`;
    this.#rows.push(line);
    console.log(line);
  }

  get text(): string {
    return ['| what | ours | theirs | ratio | target | met |', '|---|---|---|---|---|---|', ...this.#rows].join('\n');
  }
}

/** Writes `sections` (heading -> text) into the file, over the sections of the same name; `order` is that of all headings. */
export function writeSections(
  path: string,
  head: string,
  sections: Readonly<Record<string, string>>,
  order: readonly string[],
): void {
  const before = existsSync(path) ? readFileSync(path, 'utf8').split(/^## /m).slice(1) : [];
  const known = new Map(
    before.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n')).trim()]),
  );
  for (const [heading, body] of Object.entries(sections)) known.set(heading, body);
  const parts = order.flatMap((heading) => (known.has(heading) ? [`## ${heading}\n\n${known.get(heading)!}\n`] : []));
  writeFileSync(path, [head, ...parts].join('\n'));
}
