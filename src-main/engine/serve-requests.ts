// Serves the contract over a port: checks what comes in, runs the jobs that need the runtime one behind the other, and
// ends every request with exactly one result or failure. Knows nothing of processes, so tests drive it directly.
import { z } from 'zod';
import { methodSchemas, type FromEngine, type MethodName, type Methods } from '../contract/channels.ts';
import { checkParams } from '../contract/check.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import type { Handlers } from './engine.ts';
import { cancelled, failureOf } from './failure-of.ts';

/** Where messages go to and come from: a forked process's channel, Electron's parentPort, or a test. */
export interface EnginePort {
  readonly send: (message: FromEngine) => void;
  /** `listener` gets every message of the client, unchecked. */
  readonly onMessage: (listener: (message: unknown) => void) => void;
}

/** Methods that only read headers, count or make a picture small: they do not wait behind a picture. */
const lightMethods: ReadonlySet<MethodName> = new Set([
  'inspect',
  'readPicture',
  'thumbnail',
  'tokenCount',
  'trainingMemory',
]);

const methodNames = Object.keys(methodSchemas) as [MethodName, ...MethodName[]];
const toEngineSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('request'),
    id: z.number().int(),
    method: z.enum(methodNames),
    params: z.unknown().optional(),
  }),
  z.object({ kind: z.literal('cancel'), id: z.number().int() }),
]);

interface Job {
  readonly id: number;
  readonly controller: AbortController;
  readonly run: () => Promise<void>;
}

export interface RequestServer {
  /** Ends every open request with `failure`; nothing is answered after that. For the last words of a dying process. */
  readonly failAll: (failure: Failure) => void;
  /** Stops soft what runs and waits; resolves when the running job has ended. */
  readonly stop: () => Promise<void>;
}

/** Serves `handlers` over `port` from now on, and says 'ready'. */
export function serveRequests(port: EnginePort, handlers: Handlers): RequestServer {
  const open = new Map<number, Job>();
  const waiting: Job[] = [];
  let running: Promise<void> | undefined;

  /** The one door for endings: a request that has ended is never answered again. */
  const finish = (id: number, message: FromEngine): void => {
    if (!open.delete(id)) return;
    port.send(message);
  };

  const fail = (id: number, error: unknown): void => {
    finish(id, { kind: 'failure', id, failure: failureOf(error) });
  };

  const runNext = (): void => {
    if (running !== undefined) return;
    const job = waiting.shift();
    if (job === undefined) return;
    running = job.run().finally(() => {
      running = undefined;
      runNext();
    });
  };

  const start = (id: number, method: MethodName, params: unknown): void => {
    if (open.has(id)) return;
    const controller = new AbortController();
    const run = async (): Promise<void> => {
      try {
        const result = await call(handlers, method, params, controller.signal, (event) => {
          if (open.has(id)) port.send({ kind: 'event', id, event });
        });
        finish(id, { kind: 'result', id, result });
      } catch (error) {
        // Whatever a handler throws once it was told to stop, stopping is why.
        const wasStopped = controller.signal.aborted && !(error instanceof FailureError);
        fail(id, wasStopped ? new FailureError(cancelled) : error);
      }
    };
    const job: Job = { id, controller, run };
    open.set(id, job);
    if (lightMethods.has(method)) {
      void run();
    } else {
      waiting.push(job);
      runNext();
    }
  };

  const cancel = (id: number): void => {
    const job = open.get(id);
    if (job === undefined) return;
    job.controller.abort();
    const place = waiting.indexOf(job);
    if (place < 0) return;
    waiting.splice(place, 1);
    finish(id, { kind: 'failure', id, failure: cancelled });
  };

  port.onMessage((message) => {
    const parsed = toEngineSchema.safeParse(message);
    if (!parsed.success) {
      answerUnreadable(message, port);
    } else if (parsed.data.kind === 'cancel') {
      cancel(parsed.data.id);
    } else {
      start(parsed.data.id, parsed.data.method, parsed.data.params);
    }
  });
  port.send({ kind: 'ready' });

  return {
    failAll: (failure) => {
      waiting.length = 0;
      for (const id of [...open.keys()]) finish(id, { kind: 'failure', id, failure });
    },
    stop: async () => {
      for (const id of [...open.keys()]) cancel(id);
      await running;
    },
  };
}

async function call<Name extends MethodName>(
  handlers: Handlers,
  method: Name,
  params: unknown,
  signal: AbortSignal,
  emit: (event: Methods[Name]['event']) => void,
): Promise<unknown> {
  return handlers[method](checkParams(method, params), { signal, emit });
}

/** A message of another version, or of somebody else: answered when it has a number to answer to. */
function answerUnreadable(message: unknown, port: EnginePort): void {
  if (typeof message !== 'object' || message === null || !('id' in message) || typeof message.id !== 'number') return;
  const method = 'method' in message ? String(message.method) : 'none';
  port.send({
    kind: 'failure',
    id: message.id,
    failure: {
      kind: 'bad-request',
      message: `The engine has no method "${method}". It has ${methodNames.join(', ')}.`,
    },
  });
}
