// Entry of a process with the fake handlers, the twin of engine/engine-process.ts.
import { hostEngine } from '../../src-main/engine/host-engine.ts';
import { fakeHandlers } from './fake-handlers.ts';

hostEngine(fakeHandlers);
