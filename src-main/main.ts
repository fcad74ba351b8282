// Electron's main process: the host, the engine in a process of its own, and one window. No logic of its own.
import { join } from 'node:path';
import { app, BrowserWindow, dialog } from 'electron';
import packageJson from '../package.json' with { type: 'json' };
import { EngineClient } from './client/engine-client.ts';
import { answerAddress, declareAddress } from './desktop/address.ts';
import { denyPermissions, openAppWindow } from './desktop/app-window.ts';
import { utilityEngine } from './desktop/engine-process.ts';
import { connectWindow } from './desktop/window-messages.ts';
import { bundledExpertPaths, bundledModelPath, rendererFolder } from './host/bundled-files.ts';
import { WindowHost } from './host/window-host.ts';

const built = import.meta.dirname;

async function start(): Promise<void> {
  await app.whenReady();
  denyPermissions();
  const engine = { spawn: utilityEngine(join(built, 'engine.js')) };
  const client = new EngineClient(engine);
  const trainingClient = new EngineClient(engine);
  const host = await WindowHost.open({
    client,
    trainingClient,
    folder: join(app.getPath('pictures'), 'MoLE Atelier'),
    stateFolder: join(app.getPath('userData'), 'queue'),
    version: packageJson.version,
    place: 'desktop',
    model: bundledModelPath(),
    bundled: bundledExpertPaths(),
  });
  answerAddress(rendererFolder(), host.shelf);
  const open = (): void => {
    connectWindow(openAppWindow(join(built, '../preload/preload.cjs')), host);
  };
  open();
  app.on('activate', () => {
    if (BrowserWindow.getAllWindows().length === 0) open();
  });
  app.on('second-instance', () => {
    const [window] = BrowserWindow.getAllWindows();
    if (window === undefined) open();
    else window.focus();
  });
  let ended = false;
  app.on('before-quit', (event) => {
    if (ended) return;
    event.preventDefault();
    void host
      .close()
      .then(() => Promise.all([client.close(), trainingClient.close()]))
      .finally(() => {
        ended = true;
        app.quit();
      });
  });
}

app.on('window-all-closed', () => {
  if (process.platform !== 'darwin') app.quit();
});

if (app.requestSingleInstanceLock()) {
  declareAddress();
  start().catch((error: unknown) => {
    dialog.showErrorBox('MoLE Atelier could not start', error instanceof Error ? error.message : String(error));
    app.exit(1);
  });
} else {
  app.quit();
}
