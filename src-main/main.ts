// Electron's main process: the host, the engine in a process of its own, and one window. No logic of its own.
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { app, BrowserWindow, dialog } from 'electron';
import packageJson from '../package.json' with { type: 'json' };
import { EngineClient } from './client/engine-client.ts';
import { answerAddress, declareAddress } from './desktop/address.ts';
import { openAppWindow } from './desktop/app-window.ts';
import { desktopServices } from './desktop/desktop-services.ts';
import { utilityEngine } from './desktop/engine-process.ts';
import { lockDown } from './desktop/lock-down.ts';
import { setMenu } from './desktop/menu.ts';
import { connectWindow } from './desktop/window-messages.ts';
import { bundledExpertPaths, bundledModelPath, rendererFolder } from './host/bundled-files.ts';
import { PictureShelf } from './host/picture-shelf.ts';
import { WindowHost } from './host/window-host.ts';

const built = import.meta.dirname;
/** Milliseconds after which the engine is started, when no window has asked for it yet. */
const engineRestMs = 1000;

async function start(): Promise<void> {
  await app.whenReady();
  lockDown();
  setMenu();
  const engine = { spawn: utilityEngine(join(built, 'engine.js'), join(built, 'probe.js')) };
  const client = new EngineClient(engine);
  const trainingClient = new EngineClient(engine);
  // The window first: it loads its page while the host opens its files.
  const hosting = setImmediate().then(() =>
    WindowHost.open({
      client,
      trainingClient,
      folder: join(app.getPath('pictures'), 'MoLE Atelier'),
      stateFolder: join(app.getPath('userData'), 'queue'),
      version: packageJson.version,
      place: 'desktop',
      model: bundledModelPath(),
      bundled: bundledExpertPaths(),
      desktop: desktopServices(),
    }),
  );
  let shelf = new PictureShelf();
  answerAddress(rendererFolder(), () => shelf);
  const open = (): void => {
    const window = openAppWindow({
      preload: join(built, '../preload/preload.cjs'),
      icon: iconPath(),
      place: join(app.getPath('userData'), 'window.json'),
    });
    connectWindow(window, hosting);
  };
  open();
  app.on('activate', () => {
    if (BrowserWindow.getAllWindows().length === 0) open();
  });
  app.on('second-instance', () => {
    const [window] = BrowserWindow.getAllWindows();
    if (window === undefined) {
      open();
      return;
    }
    if (window.isMinimized()) window.restore();
    window.focus();
  });
  const host = await hosting;
  shelf = host.shelf;
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
  // The engine takes a moment to start; the first picture should not wait for it, nor the window's first second.
  await setTimeout(engineRestMs);
  await client.request('tokenCount', { prompt: '' }).catch(() => undefined);
}

/** In the package it lies beside app.asar (see .electron-builder.mjs), in the repository among the assets. */
function iconPath(): string {
  return app.isPackaged ? join(process.resourcesPath, 'icon.png') : join(built, '../../assets/icon/sizes/512x512.png');
}

app.on('window-all-closed', () => {
  if (process.platform !== 'darwin') app.quit();
});

// The appId of .electron-builder.mjs: Windows puts the window under the installed program's button by it.
if (process.platform === 'win32') app.setAppUserModelId('app.mole-atelier.desktop');
if (app.requestSingleInstanceLock()) {
  declareAddress();
  start().catch((error: unknown) => {
    dialog.showErrorBox('MoLE Atelier could not start', error instanceof Error ? error.message : String(error));
    app.exit(1);
  });
} else {
  app.quit();
}
