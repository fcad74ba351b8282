// How far the running work is, in the taskbar's button of the window.
import type { BrowserWindow } from 'electron';
import type { News } from '../contract/window.ts';

/** Shows on `window` what `tell` hears; each window has its own. */
export function taskbarProgress(window: BrowserWindow): (news: News) => void {
  let running: string | undefined;
  const show = (share: number): void => {
    if (!window.isDestroyed()) window.setProgressBar(share);
  };
  return (news) => {
    if (news.kind === 'progress' && news.event.kind === 'step') {
      const { step, steps, index, batch } = news.event;
      running = news.id;
      show((index + step / steps) / batch);
    } else if (news.kind === 'job' && news.job.id === running && news.job.state !== 'running') {
      running = undefined;
      show(-1);
    }
  };
}
