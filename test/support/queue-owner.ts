// A process that opens a queue, orders a batch of twelve and another job, and is killed by its test half-way.
import { join } from 'node:path';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import { JobQueue } from '../../src-main/client/job-queue.ts';
import { fakeRequest } from './fake-handlers.ts';

const [folder, engine] = process.argv.slice(2);
const queue = await JobQueue.open(folder!, new EngineClient({ spawn: forkedEngine(engine) }));
const pictures = join(folder!, 'pictures');
await queue.add(fakeRequest('apple', pictures, { batch: 12, seed: 100, steps: 6 }));
await queue.add(fakeRequest('pear', pictures, { seed: 200 }));
