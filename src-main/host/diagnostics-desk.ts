// The diagnostics desk: the machine, its devices, the queue and the last lines of the log in one text, for "copy diagnostics".
import { cpus, freemem, homedir, release, totalmem } from 'node:os';
import type { DevicesReport } from '../contract/devices.ts';
import type { DiagnosticsMethods } from '../contract/window-diagnostics.ts';
import type { Desk, DeskSurroundings, Handlers } from './desk.ts';
import type { EventLog } from './event-log.ts';

/** Lines of the log that go into the text. */
const lastLines = 80;
/** Milliseconds that the engine may take to say which devices work; a busy one is not waited for. */
const patienceMs = 3000;

export class DiagnosticsDesk implements Desk<keyof DiagnosticsMethods> {
  readonly handlers: Handlers<keyof DiagnosticsMethods>;
  readonly #log: EventLog;

  constructor({ options }: DeskSurroundings, log: EventLog, jobStates: () => readonly string[]) {
    this.#log = log;
    this.handlers = {
      diagnostics: async () => {
        const { version, place, client } = options;
        const devices = await Promise.race([
          client.request('devices', {}).then(deviceLines, (error: unknown) => [`Devices: ${String(error)}`]),
          new Promise<readonly string[]>((resolve) =>
            setTimeout(resolve, patienceMs, ['Devices: the engine was busy.']).unref(),
          ),
        ]);
        const lines = [
          `MoLE Atelier ${version} (${place})`,
          `${process.platform} ${process.arch}, ${release()}`,
          Object.entries(process.versions)
            .filter(([name]) => ['node', 'electron', 'chrome', 'v8'].includes(name))
            .map(([name, number]) => `${name} ${String(number)}`)
            .join(', '),
          `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} threads, ` +
            `${gigabytes(freemem())} of ${gigabytes(totalmem())} GB free`,
          ...devices,
          `Bundled model: ${options.model === undefined ? 'not installed' : 'installed'}; bundled files: ${options.bundled.length}`,
          `Jobs: ${countsOf(jobStates())}`,
          '',
          ...(await log.tail(lastLines)),
        ];
        return { text: `${lines.join('\n').replaceAll(homedir(), '~')}\n`, logFolder: log.folder };
      },
    };
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);

function deviceLines(report: DevicesReport): readonly string[] {
  return [
    `Device: ${report.chosen}. ${report.chosenReason}`,
    ...report.providers.map(({ provider, state, reason }) => `- ${provider}: ${state}. ${reason}`),
  ];
}

/** "2 done, 1 failed". */
function countsOf(states: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ') || 'none';
}
