// What a command of `atelier` is, and how its help is laid out.
import type { EngineClient } from '../client/engine-client.ts';
import type { Flags, ParsedArguments } from './arguments.ts';
import type { Terminal } from './terminal.ts';

/** What a command works with. */
export interface CommandContext {
  readonly args: ParsedArguments;
  readonly client: EngineClient;
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface Command {
  readonly name: string;
  /** After the name, e.g. `FILE...`. */
  readonly positionals?: string;
  /** One line. */
  readonly summary: string;
  readonly flags: Flags;
  /** Lines that follow the flags. */
  readonly notes?: readonly string[];
  readonly examples: readonly string[];
  /** What the first Ctrl-C does, in a sentence; the default is that of commands that draw. */
  readonly stopping?: string;
  /** Returns the exit code when it is not 0. Throws UsageError and FailureError. */
  readonly run: (context: CommandContext) => Promise<number | undefined>;
}

/** Flags of every command. */
export const commonFlags: Flags = {
  json: { type: 'boolean', help: 'one JSON object per line on stdout: events, result, failure' },
  quiet: { type: 'boolean', help: 'no progress; results and errors alone' },
};

/** The text of `atelier NAME --help`. */
export function commandHelp(command: Command): string {
  const all = Object.entries({ ...command.flags, ...commonFlags });
  const left = all.map(([name, flag]) => `  --${name}${flag.type === 'string' ? ` ${flag.value ?? 'TEXT'}` : ''}`);
  const width = Math.min(26, Math.max(...left.map((text) => text.length)) + 2);
  const lines = all.map(([, flag], i) => {
    const start = left[i]!;
    return start.length >= width ? `${start}\n${' '.repeat(width)}${flag.help}` : start.padEnd(width) + flag.help;
  });
  const usage = [`atelier ${command.name}`, command.positionals, '[flags]'].filter((part) => part !== undefined);
  return [
    command.summary,
    '',
    `Usage: ${usage.join(' ')}`,
    '',
    'Flags:',
    ...lines,
    ...(command.notes === undefined ? [] : ['', ...command.notes]),
    '',
    'Examples:',
    ...command.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}
