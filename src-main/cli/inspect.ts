// `atelier inspect`: what files are.
import { resolve } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import type { FileReport } from '../contract/files.ts';
import { UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { exitCodeOf } from './exit-codes.ts';
import { visible } from './terminal.ts';

export const inspectCommand: Command = {
  name: 'inspect',
  positionals: 'FILE...',
  summary: 'Says what a checkpoint, LoRA, VAE, embedding or picture is, reading headers only.',
  flags: {},
  examples: [
    'atelier inspect ~/models/v1-5.safetensors',
    'atelier inspect loras/*.safetensors --json',
    'atelier inspect outputs/picture.png',
  ],
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length === 0) throw new UsageError('Name at least one file.');
    let exitCode: number | undefined;
    for (const [i, file] of args.positionals.entries()) {
      try {
        const report = await client.request('inspect', { path: resolve(file) }, { signal });
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
  const precision = Object.entries(report.precision ?? {}).map(([type, count]) => `${type} ${count}`);
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['kind', report.kind],
    ['base', report.base],
    ['family', report.family],
    ['size', showBytes(report.sizeBytes)],
    ['tensors', report.tensors?.toLocaleString('en')],
    ['parameters', report.parameters?.toLocaleString('en')],
    ['precision', precision.length === 0 ? undefined : precision.join(', ')],
  ];
  const metadata = Object.entries(report.metadata);
  return [
    visible(report.path),
    `  ${visible(report.summary)}`,
    ...facts.flatMap(([name, value]) => (value === undefined ? [] : [`  ${name.padEnd(11)}${visible(value)}`])),
    ...(metadata.length === 0 ? [] : ['  metadata']),
    ...metadata.slice(0, mostEntries).map(([key, value]) => `    ${visible(key)}: ${shorten(visible(value))}`),
    ...(metadata.length > mostEntries ? [`    and ${metadata.length - mostEntries} more; --json shows all`] : []),
    ...(report.problems.length === 0 ? [] : ['  problems']),
    ...report.problems.map((problem) => `    ${visible(problem)}`),
  ].join('\n');
}

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
