// Resident memory of a process. On Linux from /proc, with its two halves apart: pages of its own (RssAnon), which only
// swap could take away, and mapped pages of files (RssFile), which the system shares and drops at will.
import { readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** The most that was ever resident. */
  readonly peakBytes: number;
  /** Present now; undefined where there is no /proc. */
  readonly anonBytes?: number;
  readonly fileBytes?: number;
}

/** Of this process; elsewhere than on Linux the peak alone. */
export function processMemory(): ProcessMemory {
  return memoryOf('self') ?? { peakBytes: process.resourceUsage().maxRSS * 1024 };
}

/** Of a running process; undefined where there is no /proc or no such process. */
export function memoryOf(pid: number | 'self'): Required<ProcessMemory> | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined;
  }
  const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  const memory = { peakBytes: bytes('VmHWM'), anonBytes: bytes('RssAnon'), fileBytes: bytes('RssFile') };
  // A process that is ending has no memory fields.
  return Number.isNaN(memory.peakBytes) ? undefined : memory;
}
