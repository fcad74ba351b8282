// Carries messages between the window and the host over Electron's IPC. A message counts only when it comes from the top
// frame of our own window at our own address; what it says is checked by the host.
import { ipcMain, type BrowserWindow } from 'electron';
import type { FromHost } from '../contract/window.ts';
import type { WindowHost } from '../host/window-host.ts';
import { appOrigin } from './address.ts';

/** Connects `window` to `host` until it is closed. */
export function connectWindow(window: BrowserWindow, host: WindowHost): void {
  const { webContents } = window;
  const send = (message: FromHost): void => {
    if (!webContents.isDestroyed()) webContents.send('from-host', message);
  };
  const detach = host.attach((message) => {
    showProgress(window, message);
    send(message);
  });
  const receive = (event: Electron.IpcMainEvent, message: unknown): void => {
    const { senderFrame } = event;
    const ours =
      senderFrame !== null && senderFrame === webContents.mainFrame && originOf(senderFrame.url) === appOrigin;
    if (ours) void host.receive(message, send);
  };
  ipcMain.on('to-host', receive);
  window.once('closed', () => {
    ipcMain.off('to-host', receive);
    detach();
  });
}

/** `URL.origin` is null for schemes that are not the web's own. */
function originOf(url: string): string | undefined {
  const parsed = URL.parse(url);
  return parsed === null ? undefined : `${parsed.protocol}//${parsed.host}`;
}

/** How far the running job is, in the taskbar. */
function showProgress(window: BrowserWindow, message: FromHost): void {
  if (message.kind !== 'news' || window.isDestroyed()) return;
  const { news } = message;
  if (news.kind === 'progress' && news.event.kind === 'step') {
    const { step, steps, index, batch } = news.event;
    window.setProgressBar((index + step / steps) / batch);
  } else if (news.kind === 'job' && news.job.state !== 'running') {
    window.setProgressBar(-1);
  }
}
