// The engine as Electron's utilityProcess: a process of its own that needs no Node binary, and keeps working where the fuse
// that lets Electron run as Node is off. For the same reason its probes of providers are started here.
import { utilityProcess, type UtilityProcess } from 'electron';
import type { EngineSpawner } from '../client/engine-process-port.ts';
import { probeOrderSchema, type ProbeEnd, type ProbeOrder } from '../contract/probe.ts';

const longestLastWords = 4000;

/** Starts engines from the built file `engine`, and their probes from `probe`; only after the app is ready. */
export function utilityEngine(engine: string, probe: string): EngineSpawner {
  return ({ onMessage, onExit }) => {
    const child = utilityProcess.fork(engine, [], { serviceName: 'MoLE engine', stdio: ['ignore', 'ignore', 'pipe'] });
    const lastWords = lastWordsOf(child);
    child.on('message', (message) => {
      const order = probeOrderSchema.safeParse(message).data;
      if (order === undefined) onMessage(message);
      else {
        runProbe(probe, order, (end) => {
          // An engine that has ended meanwhile has no pid, and nobody waits.
          if (child.pid !== undefined) child.postMessage(end);
        });
      }
    });
    child.once('exit', (code) => {
      // Electron reports a signal as 128 + its number, as shells do.
      onExit({ code, signal: undefined, lastWords: lastWords() });
    });
    return {
      get pid() {
        return child.pid;
      },
      send: (message) => {
        child.postMessage(message);
      },
      kill: () => {
        endAtOnce(child);
      },
      disconnect: () => {
        child.kill();
      },
    };
  };
}

/** Starts probe.js at `path` and tells once how it ended. */
function runProbe(path: string, { probe, provider, timeoutMs }: ProbeOrder, tell: (end: ProbeEnd) => void): void {
  const child = utilityProcess.fork(path, [provider], {
    serviceName: 'MoLE probe',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const lastWords = lastWordsOf(child);
  let told = false;
  const end = (how: ProbeEnd['end']): void => {
    if (told) return;
    told = true;
    clearTimeout(timer);
    endAtOnce(child);
    tell({ kind: 'probe-ended', probe, end: how });
  };
  const timer = setTimeout(() => {
    end({ kind: 'timed-out' });
  }, timeoutMs);
  child.once('message', (message) => {
    end({ kind: 'said', message });
  });
  child.once('exit', (code) => {
    end({ kind: 'exited', code, lastWords: lastWords() });
  });
}

/** What it last wrote to stderr: native libraries say there why they gave up. */
function lastWordsOf(child: UtilityProcess): () => string {
  let words = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    words = (words + bytes.toString('utf8')).slice(-longestLastWords);
  });
  return () => words.trim();
}

/** kill() asks; a process inside a native call does not listen. */
function endAtOnce(child: UtilityProcess): void {
  if (child.pid === undefined) {
    child.kill();
    return;
  }
  try {
    process.kill(child.pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
