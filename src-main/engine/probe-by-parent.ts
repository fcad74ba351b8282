// Tries an execution provider in a process that our parent starts, for an engine under Electron: the same probe.js, the same
// outcomes as probe-provider.ts, over the messages of contract/probe.ts.
import type { ProviderName } from '../contract/devices.ts';
import { probeEndSchema, type ProbeEnd, type ProbeOrder } from '../contract/probe.ts';
import type { ParentPort } from './parent-port.ts';
import { probeMessageSchema } from './probe-message.ts';
import { probeTimeoutMs, type LaunchOptions, type ProbeOutcome } from './probe-provider.ts';

/** A launcher for chooseDevice and probeDevices that asks the parent behind `port`. */
export function probeByParent(
  port: ParentPort,
): (provider: ProviderName, options: LaunchOptions) => Promise<ProbeOutcome> {
  const waiting = new Map<number, (end: ProbeEnd['end']) => void>();
  let count = 0;
  port.on('message', ({ data }) => {
    const { success, data: message } = probeEndSchema.safeParse(data);
    if (success) waiting.get(message.probe)?.(message.end);
  });
  return async (provider, { timeoutMs = probeTimeoutMs }) => {
    const probe = count++;
    const end = await new Promise<ProbeEnd['end']>((resolve) => {
      waiting.set(probe, resolve);
      port.postMessage({ kind: 'probe', probe, provider, timeoutMs } satisfies ProbeOrder);
    });
    waiting.delete(probe);
    return outcomeOf(end, timeoutMs);
  };
}

function outcomeOf(end: ProbeEnd['end'], milliseconds: number): ProbeOutcome {
  if (end.kind === 'timed-out') return { kind: 'timed-out', milliseconds };
  if (end.kind === 'exited') {
    return { kind: 'crashed', how: `ended with code ${end.code}`, lastWords: end.lastWords };
  }
  const parsed = probeMessageSchema.safeParse(end.message);
  return parsed.success ? parsed.data : { kind: 'crashed', how: 'sent an unreadable answer', lastWords: '' };
}
