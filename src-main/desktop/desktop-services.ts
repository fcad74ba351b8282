// What the gallery asks of the system: its trash, its file manager, its dialog for folders, and files dragged out of the window.
import { BrowserWindow, dialog, nativeImage, shell } from 'electron';
import type { DesktopServices } from '../host/desk.ts';

/** Pixels of the picture under the pointer. */
const dragSide = 96;

/** Dialogs and drags belong to the window in front, whichever it is then. */
export function desktopServices(): DesktopServices {
  const front = () => BrowserWindow.getFocusedWindow() ?? BrowserWindow.getAllWindows()[0];
  return {
    trash: (path) => shell.trashItem(path),
    reveal: (path) => {
      shell.showItemInFolder(path);
    },
    chooseFolder: async () => {
      const window = front();
      if (window === undefined) return undefined;
      const { canceled, filePaths } = await dialog.showOpenDialog(window, {
        properties: ['openDirectory', 'createDirectory'],
      });
      return canceled ? undefined : filePaths[0];
    },
    drag: (paths) => {
      const [file] = paths;
      if (file === undefined) return Promise.resolve();
      const picture = nativeImage.createFromPath(file);
      // An empty picture is refused; WebP is not always understood.
      const icon = picture.isEmpty() ? nativeImage.createFromDataURL(blankIcon) : picture.resize({ height: dragSide });
      front()?.webContents.startDrag({ file, files: [...paths], icon });
      return Promise.resolve();
    },
  };
}

/** A grey pixel. */
const blankIcon =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAADElEQVQImWPo6OgAAAM0AZmUse0HAAAAAElFTkSuQmCC';
