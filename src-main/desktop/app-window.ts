// The window: sandboxed, without Node, shown when it has something to show. It goes nowhere else, opens nothing, and is
// given no permission.
import { join } from 'node:path';
import { BrowserWindow, session } from 'electron';
import { appOrigin } from './address.ts';

/** Denies every permission that a page could ask for: camera, notifications, the clipboard's content and so on. */
export function denyPermissions(): void {
  session.defaultSession.setPermissionRequestHandler((_, __, decide) => {
    decide(false);
  });
  session.defaultSession.setPermissionCheckHandler(() => false);
}

/** Opens the window; `preload` is the built preload script. */
export function openAppWindow(preload: string): BrowserWindow {
  const window = new BrowserWindow({
    width: 1280,
    height: 860,
    minWidth: 760,
    minHeight: 560,
    show: false,
    title: 'MoLE Atelier',
    backgroundColor: '#17181b',
    autoHideMenuBar: true,
    webPreferences: {
      preload: join(preload),
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      webviewTag: false,
      spellcheck: false,
    },
  });
  window.webContents.setWindowOpenHandler(() => ({ action: 'deny' }));
  window.webContents.on('will-navigate', (event) => {
    event.preventDefault();
  });
  window.webContents.on('will-frame-navigate', (event) => {
    event.preventDefault();
  });
  window.once('ready-to-show', () => {
    window.show();
  });
  void window.loadURL(`${appOrigin}/index.html`);
  return window;
}
