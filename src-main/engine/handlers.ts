// What the engine can do, method by method: each handler is a function of its own file, tied to the contract here.
import { FailureError } from '../contract/failure.ts';
import type { Handlers } from './engine.ts';

/** The product's handlers. */
export function createHandlers(): Handlers {
  return {
    generate: missing('generate'),
    inspect: missing('inspect'),
    network: missing('network'),
    noise: missing('noise'),
    devices: missing('devices'),
    tokenCount: missing('tokenCount'),
  };
}

function missing(method: string) {
  return (): Promise<never> =>
    Promise.reject(new FailureError({ kind: 'internal', message: `The engine has no ${method} yet.` }));
}
