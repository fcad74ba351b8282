// Ties the request server to the process it runs in: child_process.fork's channel or Electron's parentPort. The process
// lives as long as its parent listens, and an error nobody caught ends it, after the parent was told.
import type { FromEngine } from '../contract/channels.ts';
import { failureOf } from './failure-of.ts';
import { parentPortOfElectron } from './parent-port.ts';
import type { Handlers } from './engine.ts';
import { serveRequests, type EnginePort } from './serve-requests.ts';

/** Exit code of a process that an uncaught error ended. */
export const uncaughtExitCode = 70;

/** Serves `handlers` to this process's parent until the parent goes. Throws when there is no parent to talk to. */
export function hostEngine(handlers: Handlers): void {
  // Ctrl-C reaches every process of the terminal; what it means is the parent's to say.
  process.on('SIGINT', () => undefined);
  const server = serveRequests(portOfProcess(), handlers);
  const dieOf = (error: unknown): void => {
    server.failAll(failureOf(error));
    process.exitCode = uncaughtExitCode;
    // The channel is written in order: once it has closed, the last words have left.
    if (process.connected) process.disconnect();
    else leave();
  };
  process.on('uncaughtException', dieOf);
  process.on('unhandledRejection', dieOf);
  process.on('disconnect', leave);
}

function leave(): void {
  process.exit();
}

function portOfProcess(): EnginePort {
  const parentPort = parentPortOfElectron();
  if (parentPort !== undefined) {
    return {
      send: (message) => {
        parentPort.postMessage(message);
      },
      onMessage: (listener) => {
        parentPort.on('message', ({ data }) => {
          listener(data);
        });
      },
    };
  }
  const send = process.send?.bind(process);
  if (send === undefined) {
    throw new Error('The engine is started by the atelier command or the app, not by hand.');
  }
  return {
    send: (message: FromEngine) => {
      // A parent that has gone is noticed by 'disconnect'; what was meant for it is dropped.
      if (process.connected) send(message, undefined, undefined, () => undefined);
    },
    onMessage: (listener) => {
      process.on('message', listener);
    },
  };
}
