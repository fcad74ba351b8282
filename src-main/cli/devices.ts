// `atelier devices`: what this machine can compute on, as found by trying.
import type { DevicesReport } from '../contract/devices.ts';
import { UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { showBytes } from './inspect.ts';

export const devicesCommand: Command = {
  name: 'devices',
  summary: 'Tries every execution provider and says which work, which one is taken, and why the others are not.',
  flags: { refresh: { type: 'boolean', help: 'try again what was tried before' } },
  examples: ['atelier devices', 'atelier devices --refresh', 'atelier devices --json'],
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length > 0) throw new UsageError(`devices takes no "${args.positionals.join(' ')}".`);
    const report = await client.request('devices', { refresh: args.isOn('refresh') }, { signal });
    terminal.result(report);
    terminal.print(describe(report));
    return undefined;
  },
};

function describe({ chosen, chosenReason, providers, cpu, memory }: DevicesReport): string {
  const width = Math.max(...providers.map(({ provider }) => provider.length));
  const stateWidth = Math.max(...providers.map(({ state }) => state.length));
  return [
    ...providers.map(({ provider, state, reason }) => {
      const mark = provider === chosen ? '*' : ' ';
      return `${mark} ${provider.padEnd(width)}  ${state.replaceAll('-', ' ').padEnd(stateWidth)}  ${reason}`;
    }),
    '',
    chosenReason,
    `Processor: ${cpu.model}, ${cpu.cores} cores.`,
    `Memory: ${showBytes(memory.availableBytes)} of ${showBytes(memory.totalBytes)} available.`,
  ].join('\n');
}
