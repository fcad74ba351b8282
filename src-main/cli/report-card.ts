// The report card of a LoRA in the terminal: facts in one column, long lists wrapped under their label. Every text comes
// from a stranger's file; the caller makes control characters visible.
import { basename } from 'node:path';
import type { AdapterReport, EmbeddingReport, FileHashes, Thumbnail } from '../contract/files.ts';

/** A label and its value, which may have several lines; undefined values are not shown. */
export type Fact = readonly [string, string | undefined];

/** Signs of a line of text. */
const lineWidth = 100;
const mostUnmatched = 8;
const longestDescription = 400;

/** What an artist wants to know of a LoRA, most important first. */
export function adapterFacts(adapter: AdapterReport): readonly Fact[] {
  const { modulesMatched: matched, modulesTotal: total, thumbnail } = adapter;
  return [
    ['title', line(adapter.title)],
    ['author', line(adapter.author)],
    ['licence', line(adapter.licence)],
    ['triggers', triggers(adapter)],
    ['about', adapter.description === undefined ? undefined : wrap(shorten(adapter.description))],
    ['weight', adapter.preferredWeight === undefined ? undefined : `${adapter.preferredWeight}, its owner's choice`],
    ['kinds', adapter.algorithms.length === 0 ? undefined : adapter.algorithms.join(', ')],
    ['rank', range(adapter.ranks)],
    ['alpha', range(adapter.alphas)],
    ['layers', total === 0 ? undefined : layers(adapter)],
    ['', adapter.truncatedModules === 0 ? undefined : truncation(adapter.truncatedModules)],
    ['not used', unmatched(adapter)],
    ['training', columns(adapter.training)],
    ['picture', thumbnail === undefined ? undefined : pictureWords(thumbnail)],
    ['beside it', adapter.sidecars.length === 0 ? undefined : wrap(adapter.sidecars.map((file) => basename(file)).join(', '))], // prettier-ignore
  ];

  function layers({ textEncoder }: AdapterReport): string {
    const fit = matched === total ? `all ${total} fit` : `${matched} of ${total} fit`;
    return `${fit}, ${textEncoder ? 'some of them in the text encoder' : 'none in the text encoder'}`;
  }
}

/** Learned words, one a line. */
export function embeddingFacts(embeddings: readonly EmbeddingReport[]): readonly Fact[] {
  return embeddings.map(({ token, vectors, width }, i) => [
    i === 0 ? 'words' : '',
    `${token}  (${vectors} ${vectors === 1 ? 'vector' : 'vectors'} of ${width})`,
  ]);
}

/** Hashes with the names they go by. */
export function hashFacts({ sha256, autoV2, autoV3, short, legacy }: FileHashes): readonly Fact[] {
  return [
    ['sha256', sha256],
    ['AutoV2', autoV2],
    ['AutoV3', autoV3],
    ['A1111', `${short} (LoRA), ${legacy} (oldest)`],
  ];
}

function triggers({ triggerWords, triggerSource }: AdapterReport): string | undefined {
  if (triggerWords.length === 0) return undefined;
  const from = triggerSource === undefined ? '' : `\n(${triggerSource})`;
  const pieces = triggerWords.map((word, i) => (i === triggerWords.length - 1 ? word : `${word},`));
  return `${fill(pieces).join('\n')}${from}`;
}

function unmatched({ unmatched: names, unmatchedTotal: total }: AdapterReport): string | undefined {
  if (total === 0) return undefined;
  const shown = names.slice(0, mostUnmatched);
  const more = total - shown.length;
  return [
    ...shown.map(oneLine),
    ...(more > 0 ? [`and ${more.toLocaleString('en')} more; --json lists more`] : []),
  ].join('\n');
}

const truncation = (count: number): string =>
  `${count} of full rank: mixing keeps the largest part of each, generate says how much`;

function pictureWords({ where, path, format, bytes, width, height }: Thumbnail): string {
  const size = width === undefined || height === undefined ? '' : `${width}x${height}, `;
  const place = where === 'file' ? basename(path) : `in the file (${where})`;
  return `${place}: ${format.toUpperCase()}, ${size}${Math.ceil(bytes / 1000).toLocaleString('en')} kB`;
}

function range(values: readonly [number, number] | undefined): string | undefined {
  if (values === undefined) return undefined;
  const [least, most] = values.map((value) => String(Number(value.toPrecision(6))));
  return least === most ? least : `${least!} to ${most!}`;
}

function columns(rows: readonly (readonly [string, string])[]): string | undefined {
  if (rows.length === 0) return undefined;
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, value]) => `${label.padEnd(width)}${oneLine(value)}`).join('\n');
}

const line = (text: string | undefined): string | undefined => (text === undefined ? undefined : oneLine(text));

const oneLine = (text: string): string => text.replace(/\s+/g, ' ');

const shorten = (text: string): string =>
  text.length <= longestDescription ? text : `${text.slice(0, longestDescription)}... (--json shows more)`;

/** `text` in lines of at most 100 signs, broken at spaces; a longer word keeps a line for itself. */
export function wrap(text: string): string {
  return text
    .split('\n')
    .flatMap((paragraph) => fill(paragraph.split(/\s+/)))
    .join('\n');
}

/** Lines of whole pieces with spaces between them. */
function fill(pieces: readonly string[]): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const piece of pieces) {
    if (line !== '' && line.length + 1 + piece.length > lineWidth) {
      lines.push(line);
      line = piece;
    } else {
      line = line === '' ? piece : `${line} ${piece}`;
    }
  }
  return [...lines, line];
}
