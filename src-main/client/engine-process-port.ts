// What the client needs of an engine process, whoever started it, and the way Node starts one.
// Electron's main process gives its own EngineSpawner over utilityProcess.fork.
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ToEngine } from '../contract/channels.ts';

/** How a process ended: an exit code, or the signal that ended it. */
export interface EngineExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** The last lines it wrote to stderr: native libraries say there why they gave up. */
  readonly lastWords: string;
}

/** A running engine process. */
export interface EngineProcess {
  readonly pid: number | undefined;
  readonly send: (message: ToEngine) => void;
  /** Ends it at once, also in the middle of a native call. */
  readonly kill: () => void;
  /** Asks it to end: it does when the call it is in has returned. */
  readonly disconnect: () => void;
}

export interface EngineListeners {
  readonly onMessage: (message: unknown) => void;
  /** Called once. */
  readonly onExit: (exit: EngineExit) => void;
}

export type EngineSpawner = (listeners: EngineListeners) => EngineProcess;

const longestLastWords = 4000;
/** How long they are waited for; a grandchild may hold the pipe open. */
const lastWordsMs = 200;

/** Starts engines with Node's fork from the built file `entry` (by default engine.js beside the built client). */
export function forkedEngine(entry?: string): EngineSpawner {
  return ({ onMessage, onExit }) => {
    const child = fork(entry ?? builtEngine(), [], {
      serialization: 'advanced',
      // Debugger flags of the parent would make both processes ask for one port.
      execArgv: [],
      // Its stdout is nobody's: a native library that prints must not end up among the lines of --json.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let lastWords = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      lastWords = (lastWords + text).slice(-longestLastWords);
      if (process.env['ATELIER_DEBUG'] === '1') process.stderr.write(text);
    });
    const end = (code: number | null, signal: string | null): void => {
      onExit({ code: code ?? undefined, signal: signal ?? undefined, lastWords: lastWords.trim() });
    };
    child.on('message', onMessage);
    child.on('exit', (code, signal) => {
      // What it wrote last may still be in the pipe. (Node's own 'close' never comes after a disconnect.)
      const stderr = child.stderr;
      if (stderr === null || stderr.readableEnded) {
        end(code, signal);
        return;
      }
      const timer = setTimeout(() => stderr.destroy(), lastWordsMs);
      stderr.once('close', () => {
        clearTimeout(timer);
        end(code, signal);
      });
    });
    child.on('error', (error) => {
      lastWords += error.message;
      // A process that never started has no 'exit'; a failed send to one that is ending has.
      if (child.pid === undefined) end(null, null);
    });
    return {
      pid: child.pid,
      send: (message) => {
        child.send(message, () => undefined);
      },
      kill: () => {
        child.kill('SIGKILL');
      },
      disconnect: () => {
        if (child.connected) child.disconnect();
      },
    };
  };
}

/** out/main/engine.js, seen from out/main or from one of its folders of shared chunks. Throws when it was not built. */
function builtEngine(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const found = [resolve(here, 'engine.js'), resolve(here, '../engine.js')].find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error(`The engine (engine.js) is not beside ${here}. Build it with: npm run build`);
  }
  return found;
}
