// Entry of the engine's own process: forked by Node (command line, web server) or started by Electron's utilityProcess
// (desktop). A process of its own because a run of onnxruntime blocks its thread, and a native fault ends its process.
import { createHandlers } from './handlers.ts';
import { hostEngine } from './host-engine.ts';
import { parentPortOfElectron } from './parent-port.ts';
import { probeByParent } from './probe-by-parent.ts';

const parentPort = parentPortOfElectron();
hostEngine(createHandlers(parentPort === undefined ? undefined : probeByParent(parentPort)));
