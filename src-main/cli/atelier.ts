#!/usr/bin/env node
// `atelier`, the command line: finds the command, gives it an engine, and turns how it ended into an exit code.
import { EngineClient } from '../client/engine-client.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { nearest, parseArguments, UsageError } from './arguments.ts';
import { commandHelp, commonFlags, type Command } from './command.ts';
import { bakeCommand } from './bake.ts';
import { demoCommand } from './demo.ts';
import { devicesCommand } from './devices.ts';
import { exitCodeOf } from './exit-codes.ts';
import { generateCommand } from './generate.ts';
import { inspectCommand } from './inspect.ts';
import { networkCommand } from './network.ts';
import { recipeCommand } from './recipe.ts';
import { serveCommand } from './serve.ts';
import { Terminal } from './terminal.ts';
import { trainGateCommand } from './train-gate.ts';
import { trainLoraCommand } from './train-lora.ts';
import { tolerateClosedPipes, write } from './write.ts';

const commands: readonly Command[] = [
  generateCommand,
  serveCommand,
  trainGateCommand,
  trainLoraCommand,
  bakeCommand,
  recipeCommand,
  demoCommand,
  inspectCommand,
  networkCommand,
  devicesCommand,
];

function mainHelp(): string {
  return [
    'MoLE Atelier: pictures from prompts, with Stable Diffusion checkpoints as they are.',
    '',
    'Usage: atelier COMMAND [flags]',
    '',
    'Commands:',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(12)}${summary}`),
    '',
    '  atelier COMMAND --help   flags and examples of a command',
    '  atelier --version        the version',
    '',
    'Examples:',
    '  atelier demo',
    '  atelier serve',
    '  atelier generate --prompt "a red apple, noto style" --seed 7',
    '  atelier train-lora --images drawings --trigger inkstyle --out ink.safetensors',
    '  atelier inspect model.safetensors',
    '',
  ].join('\n');
}

/** Runs the command line `argv` (without node and the script); returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  if (first === undefined || first === '--help' || first === '-h') return say(mainHelp());
  if (first === '--version' || first === '-v') return say(`${packageJson.version}\n`);
  if (first === 'help') return rest[0] === undefined ? say(mainHelp()) : say(commandHelp(findCommand(rest[0])));
  const command = findCommand(first);
  if (rest.includes('--help') || rest.includes('-h')) return say(commandHelp(command));
  return runCommand(command, rest);
}

function say(text: string): number {
  write(process.stdout, text);
  return 0;
}

function findCommand(name: string): Command {
  const names = commands.map((command) => command.name);
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  if (name.startsWith('-')) throw new UsageError(`The command comes first: atelier generate ${name} ...`);
  const near = nearest(name, names);
  throw new UsageError(
    `There is no command "${name}"; there are ${names.join(', ')}.${near === undefined ? '' : ` Did you mean ${near}?`}`,
  );
}

async function runCommand(command: Command, rest: readonly string[]): Promise<number> {
  // Known before anything can go wrong, so that a wrong flag is reported in JSON too.
  const terminal = new Terminal({ json: rest.includes('--json'), quiet: rest.includes('--quiet') });
  let client: EngineClient | undefined;
  const controller = new AbortController();
  const interrupt = (): void => {
    if (controller.signal.aborted) {
      void client?.kill();
      return;
    }
    controller.abort();
    const { stopping = 'Stopping after this step and keeping finished pictures.' } = command;
    terminal.note(`${stopping} Ctrl-C again stops at once.`);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const args = parseArguments(rest, { ...command.flags, ...commonFlags });
    client = new EngineClient();
    return (await command.run({ args, client, terminal, signal: controller.signal })) ?? 0;
  } catch (error) {
    const failure = failureOf(error, command.name);
    terminal.failure(failure);
    return exitCodeOf(failure);
  } finally {
    terminal.done();
    await client?.close();
  }
}

function failureOf(error: unknown, command: string | undefined): Failure {
  if (error instanceof FailureError) return error.failure;
  if (error instanceof UsageError) {
    const help = command === undefined ? 'atelier --help' : `atelier ${command} --help`;
    return { kind: 'bad-request', message: `${error.message} (${help} shows how.)` };
  }
  const details = error instanceof Error ? error.stack : undefined;
  return {
    kind: 'internal',
    message: `${error instanceof Error ? error.message : String(error)} This is a mistake in the program; please report it.`,
    ...(details === undefined ? {} : { details }),
  };
}

tolerateClosedPipes();
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const failure = failureOf(error, undefined);
  new Terminal({ json: process.argv.includes('--json'), quiet: true }).failure(failure);
  process.exitCode = exitCodeOf(failure);
}
