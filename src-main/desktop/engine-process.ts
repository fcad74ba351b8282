// The engine as Electron's utilityProcess: a process of its own that needs no Node binary, and keeps working where the fuse
// that lets Electron run as Node is off.
import { utilityProcess } from 'electron';
import type { EngineSpawner } from '../client/engine-process-port.ts';

const longestLastWords = 4000;

/** Starts engines from the built file `entry`; only after the app is ready. */
export function utilityEngine(entry: string): EngineSpawner {
  return ({ onMessage, onExit }) => {
    const child = utilityProcess.fork(entry, [], { serviceName: 'MoLE engine', stdio: ['ignore', 'ignore', 'pipe'] });
    let lastWords = '';
    child.stderr?.on('data', (bytes: Buffer) => {
      lastWords = (lastWords + bytes.toString('utf8')).slice(-longestLastWords);
    });
    child.on('message', onMessage);
    child.once('exit', (code) => {
      // Electron reports a signal as 128 + its number, as shells do.
      onExit({ code, signal: undefined, lastWords: lastWords.trim() });
    });
    return {
      get pid() {
        return child.pid;
      },
      send: (message) => {
        child.postMessage(message);
      },
      kill: () => {
        if (child.pid === undefined) child.kill();
        else endAtOnce(child.pid);
      },
      disconnect: () => {
        child.kill();
      },
    };
  };
}

/** kill() asks; a process inside a native call does not listen. */
function endAtOnce(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
