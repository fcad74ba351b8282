// `atelier inspect`: what files are.
import { resolve } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import type { FileReport } from '../contract/files.ts';
import { UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { exitCodeOf } from './exit-codes.ts';
import { gateFacts } from './gate-card.ts';
import { adapterFacts, embeddingFacts, hashFacts, wrap, type Fact } from './report-card.ts';
import { visible } from './terminal.ts';

export const inspectCommand: Command = {
  name: 'inspect',
  positionals: 'FILE...',
  summary: 'Says what a checkpoint, LoRA, gate, VAE, embedding or picture is, reading headers only.',
  flags: {
    model: { type: 'string', value: 'PATH', help: 'the model to compare LoRAs with, when it is no SD 1.5 or SD 2.1' },
    hashes: { type: 'boolean', help: 'sha256, AutoV2, AutoV3 and A1111 hashes too; reads the whole file' },
  },
  examples: [
    'atelier inspect ~/models/v1-5.safetensors',
    'atelier inspect loras/*.safetensors --json',
    'atelier inspect lora.safetensors --hashes',
    'atelier inspect outputs/picture.png',
  ],
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length === 0) throw new UsageError('Name at least one file.');
    const hashes = args.isOn('hashes');
    const named = args.text('model');
    const model = named === undefined ? {} : { model: resolve(named) };
    let exitCode: number | undefined;
    for (const [i, file] of args.positionals.entries()) {
      try {
        const report = await client.request('inspect', { path: resolve(file), hashes, ...model }, { signal });
        terminal.result(report);
        terminal.print(`${i === 0 ? '' : '\n'}${describe(report)}`);
      } catch (error) {
        if (!(error instanceof FailureError) || signal.aborted) throw error;
        // One bad file of many does not hide the others.
        terminal.failure({ file: resolve(file), ...error.failure });
        exitCode = Math.max(exitCode ?? 0, exitCodeOf(error.failure));
      }
    }
    return exitCode;
  },
};

function describe(report: FileReport): string {
  const { adapter, gate, embeddings = [], hashes } = report;
  const precision = Object.entries(report.precision ?? {}).map(([type, count]) => `${type} ${count}`);
  const facts: readonly Fact[] = [
    ['kind', report.kind],
    ['base', report.base],
    ['family', report.family],
    ...(adapter === undefined ? [] : adapterFacts(adapter)),
    ...(gate === undefined ? [] : gateFacts(gate)),
    ...embeddingFacts(embeddings),
    ['size', showBytes(report.sizeBytes)],
    ['tensors', report.tensors?.toLocaleString('en')],
    ['parameters', report.parameters?.toLocaleString('en')],
    ['precision', precision.length === 0 ? undefined : precision.join(', ')],
    ...(hashes === undefined ? [] : hashFacts(hashes)),
  ];
  return [
    visible(report.path),
    `  ${visible(report.summary)}`,
    ...facts.flatMap(([name, value]) => (value === undefined ? [] : [row(name, visible(value))])),
    ...describeMetadata(report),
    ...listed('warnings', adapter?.warnings ?? []),
    ...listed('problems', report.problems),
  ].join('\n');
}

const labelWidth = 12;

/** A label and its value, further lines of it under the first. */
function row(name: string, value: string): string {
  return `  ${name.padEnd(labelWidth)}${value.replaceAll('\n', `\n${' '.repeat(2 + labelWidth)}`)}`;
}

/** The report card of a LoRA or gate has said what its metadata says; of other files, the fields themselves are shown. */
function describeMetadata({ adapter, gate, metadata }: FileReport): readonly string[] {
  const entries = Object.entries(metadata);
  if (entries.length === 0) return [];
  if (adapter !== undefined || gate !== undefined) {
    return [
      row(
        'metadata',
        entries.length === 1 ? '1 field; --json shows it' : `${entries.length} fields; --json shows them`,
      ),
    ];
  }
  return [
    '  metadata',
    ...entries.slice(0, mostEntries).map(([key, value]) => `    ${visible(key)}: ${shorten(visible(value))}`),
    ...(entries.length > mostEntries ? [`    and ${entries.length - mostEntries} more; --json shows all`] : []),
  ];
}

const listed = (title: string, sentences: readonly string[]): readonly string[] =>
  sentences.length === 0
    ? []
    : [`  ${title}`, ...sentences.map((sentence) => `    ${wrap(visible(sentence)).replaceAll('\n', '\n    ')}`)];

const longestValue = 1000;
const mostEntries = 24;

/** Training tools write whole tables into metadata; --json shows them complete. */
function shorten(value: string): string {
  const text = value.replaceAll('\n', '\n      ');
  return text.length <= longestValue
    ? text
    : `${text.slice(0, longestValue)}... (${text.length} characters; --json shows all)`;
}

/** 1.99 GB, as file managers count (powers of 1000). */
export function showBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} bytes` : `${value.toPrecision(3)} ${units[unit]!}`;
}
