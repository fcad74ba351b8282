// The window: sandboxed, without Node, shown when it has something to show, where it stood the last time.
import { existsSync } from 'node:fs';
import { BrowserWindow } from 'electron';
import { appOrigin } from './address.ts';
import { readPlace, rememberPlace } from './window-place.ts';

export interface AppWindowOptions {
  /** The built preload script. */
  readonly preload: string;
  /** A PNG for systems that take a window's picture from the window; left out when it is not there. */
  readonly icon: string;
  /** The file that remembers where the window stood. */
  readonly place: string;
}

/** Milliseconds between two crashes of the page that are taken for two. */
const crashRestMs = 10_000;

/** Opens the window and loads the interface into it. */
export function openAppWindow({ preload, icon, place: placeFile }: AppWindowOptions): BrowserWindow {
  const place = readPlace(placeFile);
  const window = new BrowserWindow({
    width: 1280,
    height: 860,
    ...place?.bounds,
    minWidth: 760,
    minHeight: 560,
    show: false,
    title: 'MoLE Atelier',
    backgroundColor: '#18191b',
    autoHideMenuBar: true,
    ...(existsSync(icon) ? { icon } : {}),
    webPreferences: {
      preload,
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      webviewTag: false,
      spellcheck: false,
    },
  });
  window.once('ready-to-show', () => {
    if (place?.maximized === true) window.maximize();
    else window.show();
  });
  // The work goes on without its page; one that crashed is opened anew and shows it, unless it does nothing but crash.
  let crashedAt = -Infinity;
  window.webContents.on('render-process-gone', (_, { reason }) => {
    const again = Date.now() - crashedAt < crashRestMs;
    crashedAt = Date.now();
    if (reason === 'clean-exit' || again) return;
    // Within the event itself Electron ends with it.
    setImmediate(() => {
      if (!window.isDestroyed()) window.webContents.reload();
    });
  });
  rememberPlace(window, placeFile);
  void window.loadURL(`${appOrigin}/index.html`);
  return window;
}
