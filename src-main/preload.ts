// All that the page may touch of the app: one object, `window.mole`. Sandboxed; Electron's own objects stay here.
import { contextBridge, ipcRenderer, webUtils } from 'electron';
import type { FromHost, WindowPort } from './contract/window.ts';

/** Used by src-renderer/bridge.ts alone. */
const mole: WindowPort = {
  send: (message) => {
    ipcRenderer.send('to-host', message);
  },
  onMessage: (listener) => {
    const forward = (_: unknown, message: FromHost): void => {
      listener(message);
    };
    ipcRenderer.on('from-host', forward);
    return () => {
      ipcRenderer.off('from-host', forward);
    };
  },
  pathOf: (file) => webUtils.getPathForFile(file as Parameters<typeof webUtils.getPathForFile>[0]),
};

contextBridge.exposeInMainWorld('mole', mole);
