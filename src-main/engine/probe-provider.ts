// Tries one execution provider in a throw-away child process and tells how it ended: answered, aborted or hung.
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ProviderName } from '../contract/devices.ts';
import { probeMessageSchema, type ProbeMessage } from './probe-message.ts';

/** How a probe ended. */
export type ProbeOutcome =
  | ProbeMessage
  /** The process ended without an answer, as native aborts do. */
  | { readonly kind: 'crashed'; readonly how: string; readonly lastWords: string }
  | { readonly kind: 'timed-out'; readonly milliseconds: number };

/** Milliseconds a probe may take; a first compilation of shaders takes seconds. */
export const probeTimeoutMs = 60_000;

export interface LaunchOptions {
  /** Path of the built probe.js; found beside this code when undefined. */
  readonly script?: string;
  /** The probe is killed after this time; default probeTimeoutMs. */
  readonly timeoutMs?: number;
}

/** Runs the self-test of `provider` in a child. Never rejects for what the child does; throws when probe.js is missing. */
export function launchProbe(provider: ProviderName, options: LaunchOptions = {}): Promise<ProbeOutcome> {
  const script = options.script ?? findProbe();
  const milliseconds = options.timeoutMs ?? probeTimeoutMs;
  return new Promise((resolve) => {
    const child = fork(script, [provider], { execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let lastWords = '';
    const end = (outcome: ProbeOutcome): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      end({ kind: 'timed-out', milliseconds });
    }, milliseconds);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      lastWords = (lastWords + text).slice(-2000);
    });
    child.on('message', (message) => {
      const parsed = probeMessageSchema.safeParse(message);
      end(parsed.success ? parsed.data : { kind: 'crashed', how: 'sent an unreadable answer', lastWords });
    });
    child.on('error', (error) => {
      end({ kind: 'crashed', how: `could not be started (${error.message})`, lastWords });
    });
    child.on('close', (code, signal) => {
      end({ kind: 'crashed', how: signal === null ? `ended with code ${code}` : `ended on ${signal}`, lastWords });
    });
  });
}

/**
 * The built probe.js: beside this code, or above it, since the bundler puts shared code into chunks/; from the sources it
 * is found in out/main. Throws when it was not built.
 */
export function findProbe(from: string = import.meta.url): string {
  const start = dirname(fileURLToPath(from));
  for (let folder = start; ; folder = dirname(folder)) {
    const found = [join(folder, 'probe.js'), join(folder, 'out/main/probe.js')].find((path) => existsSync(path));
    if (found !== undefined) return found;
    if (dirname(folder) === folder) throw new Error(`probe.js was not found beside or above ${start}; run the build.`);
  }
}
